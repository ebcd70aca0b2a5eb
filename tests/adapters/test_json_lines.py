"""Findings as lines of JSON: what they may say, and lines that are none."""

from pathlib import Path

import pytest

from openbell.adapters import json_lines
from openbell.core.sightings import Sighting
from openbell.ports import AdapterError


def test_lines_are_findings_and_may_say_that_something_is_missing(tmp_path: Path) -> None:
    file = tmp_path / "f.jsonl"
    file.write_text(
        '{"rule": "GPL", "message": "x: GPL-3.0"}\n\n'
        '{"rule": "R", "message": "m", "severity": "low", "path": "a.py", "line": 3, "key": "k"}\n'
    )
    found = (Sighting("own", "GPL", "high", "x: GPL-3.0"), Sighting("own", "R", "low", "m", "a.py", 3, key="k"))
    assert json_lines.read(file, "own") == (found, "")
    file.write_text('{"incomplete": "no network"}\n')
    assert json_lines.read(file, "own") == ((), "no network")
    file.write_text("")
    assert json_lines.read(file, "own") == ((), "")


@pytest.mark.parametrize(
    "line", ["nonsense", "[]", "{}", '{"rule": "R", "severity": "bad"}', '{"rul": "R"}', "[" * 9999]
)
def test_a_line_that_is_none_is_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "f.jsonl"
    file.write_text(f'{{"rule": "R"}}\n{line}\n')
    with pytest.raises(AdapterError, match=r"f\.jsonl:2 is no finding"):
        json_lines.read(file, "own")
