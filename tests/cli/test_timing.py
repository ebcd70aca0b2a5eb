"""`openbell timing`: where the time of a run went."""

import json
from pathlib import Path

import pytest

from openbell.cli.parser import parse_and_run
from tests.fakes.projects import ScratchProject, isolate

PROJECT = """
[project]
name = "slow"
[targets]
test_s = 1
[jobs.lint]
stage = "quality"
run = "sleep 0.3"
[jobs.unit]
stage = "test"
run = "sleep 1.2"
"""


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ScratchProject:
    isolate(monkeypatch, tmp_path)
    project = ScratchProject(tmp_path / "p", PROJECT)
    monkeypatch.chdir(project.root)
    return project


@pytest.mark.slow
def test_a_run_that_was_too_slow_says_so_and_where_the_time_went(
    slow: ScratchProject, capsys: pytest.CaptureFixture[str]
) -> None:
    assert parse_and_run(["run"]) == 0
    err = capsys.readouterr().err
    run = err.split()[1]
    assert err.splitlines()[-1].startswith("  Slow: test took 1.")
    assert err.splitlines()[-1].endswith(f" of 1 s. Where the time went: openbell timing {run}")
    assert parse_and_run(["timing", run]) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"run {run} took ")
    assert "2 jobs executed, 0 known already (0 %)" in told
    assert "after lint, which it needs" in told
    assert [line.split()[-1] for line in told.splitlines() if line.startswith(("  test ", "  total "))] == [
        "broken",
        "kept",
    ]
    assert parse_and_run(["timing", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [link["job"] for link in found["critical_path"]] == ["lint", "unit"]
    assert found["parts"]["execute_s"] >= 1.5
    assert found["stages"]["test"] >= 1.2


@pytest.mark.slow
def test_a_run_in_which_all_is_known_says_what_it_saved(
    slow: ScratchProject, capsys: pytest.CaptureFixture[str]
) -> None:
    parse_and_run(["run"])
    capsys.readouterr()
    parse_and_run(["run"])
    assert "Slow" not in capsys.readouterr().err
    parse_and_run(["timing"])
    assert "0 jobs executed, 2 known already (100 %), which saved 1." in capsys.readouterr().out


def test_a_run_that_is_not_there_is_refused(slow: ScratchProject, capsys: pytest.CaptureFixture[str]) -> None:
    assert parse_and_run(["timing", "nope"]) == 2
    assert 'there is no run "nope"' in capsys.readouterr().err
