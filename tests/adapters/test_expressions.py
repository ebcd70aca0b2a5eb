"""Expressions of strangers: what they find, and that none of them holds anybody up."""

import time
from pathlib import Path

import pytest

from openbell.adapters.expressions import first_lines

LINES = ["one", "two 2", "three", "two again"]
CATASTROPHE = "(a+)+$"


def test_each_pattern_gets_the_number_of_its_first_line() -> None:
    assert first_lines([r"two", r"^\d", r"e$", r"again"], LINES) == [2, 0, 1, 4]
    assert first_lines([], LINES) == []


@pytest.mark.slow
def test_what_takes_too_long_is_left_out_and_the_rest_is_found() -> None:
    lines = [*LINES, "a" * 60 + "!"]
    began_s = time.monotonic()
    assert first_lines(["two", CATASTROPHE, "three"], lines, limit_s=1.0) == [2, None, 3]
    assert time.monotonic() - began_s < 20


@pytest.mark.slow
def test_many_that_take_too_long_are_given_up_together() -> None:
    assert first_lines([CATASTROPHE] * 50, ["a" * 60 + "!"], limit_s=0.5) == [None] * 50


def test_nothing_of_the_folder_it_is_called_in_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "re.py").write_text("raise SystemExit('not mine')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert first_lines(["two"], LINES) == [2]


def test_lines_of_any_kind_are_passed_on() -> None:
    assert first_lines(["é\u2028x"], ["\ud800", 'quo"ted\\', "é\u2028x"]) == [3]
