"""The program that matches expressions of strangers."""

import io
import json

import pytest

from openbell.programs import pattern_search


def test_it_answers_line_by_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked = {"lines": ["a", "b"], "patterns": ["b", "x", "."]}
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(asked)))
    pattern_search.main()
    assert capsys.readouterr().out == "2\n0\n1\n"
