"""The demo where it cannot be told; where it can, tests/e2e tell it."""

from pathlib import Path

import pytest

from openbell.cli.parser import parse_and_run


def test_outside_of_a_clone_the_way_to_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_and_run(["demo"]) == 2
    said = capsys.readouterr().err
    assert "there is no engine/openbell.toml here." in said
    assert "make demo" in said
    assert list(tmp_path.iterdir()) == []
