"""Concurrency groups: which run cancels which, and that nothing of the older one is left."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from openbell.core.trigger import Trigger
from openbell.wiring import concurrency, pipeline
from openbell.wiring.pipeline import PreparedRun, RunRequest
from openbell.wiring.run_folder import superseded_by
from openbell.wiring.run_record import Recorder
from tests.fakes.projects import QUICK, ScratchProject, isolate

GROUP = '\n[concurrency]\ngroup = "{ref}"\n'


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)


def begin(project: ScratchProject, request: RunRequest | None = None) -> PreparedRun:
    prepared = pipeline.prepare(project.open(), request or RunRequest())
    Recorder(prepared, deploys=False, group=concurrency.group_of(prepared))
    return prepared


def test_the_group_of_a_run(tmp_path: Path) -> None:
    project = ScratchProject(tmp_path / "p", QUICK + GROUP.replace("{ref}", "{trigger} {ref} {target}"))
    prepared = pipeline.prepare(project.open(), RunRequest(kind="pull-request", target="main"))
    assert concurrency.group_of(prepared) == "pull-request develop main"
    assert concurrency.group_of(pipeline.prepare(project.open(), RunRequest(jobs=("lint",)))) == ""
    assert concurrency.group_of(pipeline.prepare(ScratchProject(tmp_path / "q", QUICK).open(), RunRequest())) == ""


def test_the_newer_run_cancels_the_older_whoever_looks_first(tmp_path: Path) -> None:
    project = ScratchProject(tmp_path / "p", QUICK + GROUP)
    older, newer = begin(project), begin(project)
    other = begin(project, RunRequest(jobs=("lint",)))
    assert concurrency.supersede_older(older) == ()
    assert superseded_by(older.workplace.folder) == newer.workplace.run
    assert concurrency.supersede_older(newer) == (older.workplace.run,)
    assert superseded_by(newer.workplace.folder) == ""
    assert superseded_by(other.workplace.folder) == ""


def test_another_group_is_let_alone(tmp_path: Path) -> None:
    project = ScratchProject(tmp_path / "p", QUICK + GROUP)
    begin(project)
    prepared = pipeline.prepare(project.open(), RunRequest())
    elsewhere = msgspec.structs.replace(prepared.plan, trigger=Trigger("push", "other"))
    newer = msgspec.structs.replace(prepared, plan=elsewhere)
    assert concurrency.supersede_older(newer) == ()


async def test_who_is_superseded_is_told_while_it_runs(tmp_path: Path) -> None:
    project = ScratchProject(tmp_path / "p", QUICK + GROUP)
    older, cancel = begin(project), asyncio.Event()
    async with asyncio.timeout(20), concurrency.looking_out(older, (), cancel):
        concurrency.supersede_older(begin(project))
        await cancel.wait()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_a_superseded_run_ends_as_cancelled_and_leaves_nothing(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    script = f"test -e {pid} && exit 0; env -i setsid sh -c 'echo $$ > {pid}; exec sleep 300' & sleep 300"
    job = f'[project]\nname = "x"\n[jobs.a]\nstage = "test"\nrun = """{script}"""\n'
    project = ScratchProject(tmp_path / "p", job + GROUP)
    command = [sys.executable, "-m", "openbell", "run", "--json"]
    with subprocess.Popen(command, cwd=project.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as older:
        wait_until(lambda: pid.exists() and pid.read_text().strip() != "")
        newer = subprocess.run(command, cwd=project.root, capture_output=True, check=True)
        out, err = older.communicate(timeout=30)
    found, by = json.loads(out), json.loads(newer.stdout)["run"]
    assert (older.returncode, found["outcome"], found["superseded_by"]) == (130, "cancelled", by)
    assert f"Superseded by run {by} of the same concurrency group." in err.decode()
    assert f"Of the same group: run {found['run']}, which ends for this one." in newer.stderr.decode()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
