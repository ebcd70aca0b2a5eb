"""The record of a run: what a reader gets of it, whatever the writer had time for."""

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from openbell.core.pipeline import JobResult
from openbell.ports import AdapterError
from openbell.wiring import pipeline, run_record
from openbell.wiring.pipeline import RunRequest
from openbell.wiring.run_history import list_runs
from openbell.wiring.run_record import Recorder
from tests.fakes.projects import QUICK, ScratchProject, isolate

RESULT = JobResult("lint", "lint", "quality", "success", fingerprint="f", duration_s=0.5)


@pytest.fixture
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ScratchProject:
    isolate(monkeypatch, tmp_path)
    return ScratchProject(tmp_path / "p", QUICK)


def begin(project: ScratchProject, **request: Any) -> tuple[pipeline.PreparedRun, Recorder]:
    prepared = pipeline.prepare(project.open(), RunRequest(**request))
    return prepared, Recorder(prepared, deploys=False)


def record_of(prepared: pipeline.PreparedRun) -> run_record.RunRecord:
    found = run_record.read(prepared.place.state, prepared.workplace.run)
    assert found is not None
    return found


def test_a_record_says_what_was_asked_for_and_of_what(quick: ScratchProject) -> None:
    quick.repository.write({"a.txt": "changed\n", "new.txt": "new\n"})
    prepared, recorder = begin(quick, jobs=("lint",), parallel=3)
    recorder.job_ended(RESULT)
    found = record_of(prepared)
    assert found.began.request == RunRequest(jobs=("lint",), parallel=3)
    assert found.began.trigger.ref == "develop"
    assert found.began.configuration[0].text == QUICK
    assert list(found.began.changed) == ["a.txt", "new.txt"]
    assert list(found.began.jobs) == ["lint"]
    assert found.results == {"lint": RESULT}
    assert (found.state, found.began.deploys) == ("running", False)


def test_whatever_is_cut_off_leaves_a_true_beginning(quick: ScratchProject) -> None:
    prepared, recorder = begin(quick)
    recorder.job_ended(RESULT)
    file = prepared.workplace.folder / run_record.FILE_NAME
    whole = file.read_bytes()
    first, second = whole.splitlines(keepends=True)
    for length in range(len(whole) + 1):
        file.write_bytes(whole[:length])
        found = run_record.read(prepared.place.state, prepared.workplace.run)
        if length < len(first):
            assert found is None
        else:
            assert found is not None
            assert list(found.results) == (["lint"] if length == len(first) + len(second) else [])


def test_a_run_whose_process_is_gone_was_interrupted(quick: ScratchProject) -> None:
    prepared, _ = begin(quick)
    file = prepared.workplace.folder / run_record.FILE_NAME
    file.write_bytes(file.read_bytes().replace(f'"pid":{os.getpid()}'.encode(), b'"pid":999999999'))
    assert record_of(prepared).state == "interrupted"


def test_a_process_that_got_the_number_later_is_another_one(quick: ScratchProject) -> None:
    prepared, _ = begin(quick)
    began = record_of(prepared).began
    assert run_record.is_carried_out(began)
    assert not run_record.is_carried_out(msgspec.structs.replace(began, at_s=1.0))


def test_a_disk_that_takes_nothing_is_said_in_words(quick: ScratchProject) -> None:
    prepared, recorder = begin(quick)
    file = prepared.workplace.folder / run_record.FILE_NAME
    file.unlink()
    file.symlink_to("/dev/full")
    with pytest.raises(AdapterError, match=r"the run cannot be recorded in .*: No space left on device"):
        recorder.job_ended(RESULT)


def test_runs_are_listed_the_newest_first(quick: ScratchProject) -> None:
    first, _ = begin(quick)
    second, recorder = begin(quick)
    recorder.job_ended(RESULT)
    (quick.root / ".openbell/runs/none").mkdir()
    found = list_runs(quick.open(), limit=9).runs
    assert [summary.run for summary in found] == [second.workplace.run, first.workplace.run]
    assert (found[0].state, found[0].done, found[0].jobs) == ("running", 1, 4)
    assert len(list_runs(quick.open(), limit=1).runs) == 1
