"""What the journal keeps of runs that have ended."""

from pathlib import Path

import msgspec
import pytest

from openbell.adapters.sqlite import read_now
from openbell.cli.parser import parse_and_run
from openbell.core.run_ended import KIND, STREAM, RunEnded
from tests.fakes.projects import QUICK, ScratchProject, isolate


def events(project: ScratchProject) -> list[RunEnded]:
    records = read_now(project.open().state.journal, STREAM)
    assert {record.kind for record in records} <= {KIND}
    return [msgspec.json.decode(record.payload, type=RunEnded) for record in records]


def test_each_run_that_ended_is_in_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    isolate(monkeypatch, tmp_path)
    project = ScratchProject(tmp_path / "p", QUICK)
    monkeypatch.chdir(project.root)
    parse_and_run(["run", "--trigger", "push"])
    parse_and_run(["run"])
    project.repository.write({"b.txt": "x"})
    (project.root / "a.txt").unlink()
    parse_and_run(["run"])
    first, second, third = events(project)
    assert (first.trigger, first.ref, first.outcome) == ("push", "develop", "success")
    assert first.commit == project.repository.git("rev-parse", "HEAD")
    assert (first.executed, first.known, second.executed, second.known) == (4, 0, 0, 4)
    assert first.release is not None
    assert first.stages_s.keys() == {"quality", "test", "build"}
    assert first.begin_at_s < first.end_at_s <= second.end_at_s <= third.end_at_s
    assert second.stages_s == {}
    assert (third.outcome, third.dirty) == ("failure", True)
    assert "lint" in third.failed


def test_a_journal_that_cannot_be_written_does_not_fail_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    isolate(monkeypatch, tmp_path)
    project = ScratchProject(tmp_path / "p", '[project]\nname = "x"\n[jobs.a]\nstage = "test"\nrun = "true"\n')
    monkeypatch.chdir(project.root)
    journal = project.open().state.journal
    journal.parent.mkdir(parents=True)
    journal.write_text("this is no database, and long enough to be read as one" * 20)
    assert parse_and_run(["run"]) == 0
    assert "The reports will lack this run: " in capsys.readouterr().err
