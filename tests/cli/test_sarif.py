"""`openbell sarif`: reports of other formats as SARIF, and what its exit code says of them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from openbell.adapters import sarif
from openbell.cli.parser import parse_and_run

Convert = Callable[[str], int]


@pytest.fixture
def convert(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Convert:
    monkeypatch.chdir(tmp_path)

    def run(lines: str) -> int:
        (tmp_path / "f.jsonl").write_text(lines)
        return parse_and_run(["sarif", "lines", "f.jsonl", "out.sarif", "--tool", "licences"])

    return run


def test_what_is_found_is_written_and_is_the_exit_code(convert: Convert, tmp_path: Path) -> None:
    assert convert('{"rule": "GPL", "message": "x is GPL", "key": "x"}\n') == 1
    found = sarif.read(tmp_path / "out.sarif")
    (one,) = found.sightings
    assert (one.tool, one.rule, one.severity, one.message) == ("licences", "GPL", "high", "x is GPL")
    assert one.key.startswith("own:")
    assert found.looks[0].whole


def test_nothing_found_is_a_look_all_the_same(convert: Convert, tmp_path: Path) -> None:
    assert convert("") == 0
    found = sarif.read(tmp_path / "out.sarif")
    assert (found.total, [(look.tool, look.whole) for look in found.looks]) == (0, [("licences", True)])


def test_what_could_not_be_looked_at_is_not_checked(
    convert: Convert, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert convert('{"rule": "GPL", "message": "m"}\n{"incomplete": "no network"}\n') == 75
    assert capsys.readouterr().out == "f.jsonl: 1 finding\nnot everything was looked at: no network\n"
    found = sarif.read(tmp_path / "out.sarif")
    assert (found.total, found.looks[0].whole) == (1, False)


def test_a_report_that_was_not_written_is_not_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = str(tmp_path / "audit.json")
    assert parse_and_run(["sarif", "pip-audit", missing, str(tmp_path / "out.sarif")]) == 75
    assert "audit.json was not written" in capsys.readouterr().err
    assert not (tmp_path / "out.sarif").exists()


def test_each_format_says_its_tool(tmp_path: Path) -> None:
    reports = {
        "pip-audit": {"dependencies": [{"name": "x", "version": "1", "vulns": [{"id": "A"}]}]},
        "betterleaks": {"findings": [{"rule_id": "A"}], "scan": {"state": "complete"}},
    }
    for name, report in reports.items():
        (tmp_path / name).write_text(json.dumps(report))
        assert parse_and_run(["sarif", name, str(tmp_path / name), str(tmp_path / "out.sarif")]) == 1
        assert [look.tool for look in sarif.read(tmp_path / "out.sarif").looks] == [name]
