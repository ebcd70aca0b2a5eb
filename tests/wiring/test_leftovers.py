"""What a killed openbell leaves is ended by the next one, and nothing else is."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from openbell.wiring import leftovers
from tests.fakes.projects import ScratchProject, isolate

DEAD = "999999999 1.0"


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    isolate(monkeypatch, tmp_path)
    return folder


@pytest.fixture
def sleeper() -> Iterator[Callable[..., psutil.Process]]:
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str, **env: str) -> psutil.Process:
        started.append(subprocess.Popen(["sleep", "300", *arguments], env={**os.environ, **env}))
        process = psutil.Process(started[-1].pid)
        # A process that is just becoming another program has no environment for a moment.
        wait_until(lambda: bool(process.environ()))
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def scratch(temporary: Path, owner: str | None) -> Path:
    folder = temporary / f"{leftovers.SCRATCH_PREFIX}{owner and owner[:4]}"
    folder.mkdir()
    if owner is not None:
        (folder / leftovers.OWNER_FILE).write_text(owner)
    return folder


def test_what_belongs_to_a_dead_owner_is_ended(temporary: Path, sleeper: Callable[..., psutil.Process]) -> None:
    folder = scratch(temporary, DEAD)
    ours, other = sleeper(TMPDIR=f"{folder}/tmp"), sleeper(TMPDIR=str(temporary))
    assert leftovers.end_leftovers() == 1
    assert not runs(ours.pid)
    assert runs(other.pid)
    assert not folder.exists()


@pytest.mark.parametrize("owner", [None, "", "nonsense"])
def test_an_owner_that_is_not_known_is_left_alone(
    temporary: Path, sleeper: Callable[..., psutil.Process], owner: str | None
) -> None:
    folder = scratch(temporary, owner)
    process = sleeper(TMPDIR=f"{folder}/tmp")
    assert leftovers.end_leftovers() == 0
    assert runs(process.pid)
    assert folder.exists()


def test_a_living_owner_is_left_alone(temporary: Path, sleeper: Callable[..., psutil.Process]) -> None:
    folder = scratch(temporary, None)
    leftovers.mark_owner(folder)
    process = sleeper(TMPDIR=f"{folder}/tmp")
    assert leftovers.end_leftovers() == 0
    assert runs(process.pid)


def test_a_number_that_was_given_anew_is_another_process(temporary: Path) -> None:
    folder = scratch(temporary, f"{os.getpid()} 1.0")
    assert leftovers.end_leftovers() == 0
    assert not folder.exists()


@pytest.mark.slow
def test_a_killed_run_leaves_no_job_and_the_next_one_no_folder(tmp_path: Path, temporary: Path) -> None:
    script = f"echo $$ > {tmp_path}/pid; test -f {tmp_path}/quick || env -i setsid sleep 300"
    project = ScratchProject(tmp_path / "p", f'[project]\nname = "x"\n[jobs.a]\nstage = "test"\nrun = "{script}"\n')
    command = [sys.executable, "-m", "openbell", "run"]
    with subprocess.Popen(command, cwd=project.root, stderr=subprocess.DEVNULL) as running:
        wait_until(lambda: (tmp_path / "pid").exists() and bool((tmp_path / "pid").read_text()))
        running.send_signal(signal.SIGKILL)
    pid = int((tmp_path / "pid").read_text())
    wait_until(lambda: not runs(pid))
    assert list(temporary.glob(f"{leftovers.SCRATCH_PREFIX}*"))
    (tmp_path / "quick").touch()
    subprocess.run(command, cwd=project.root, check=True, capture_output=True)
    assert list(temporary.glob(f"{leftovers.SCRATCH_PREFIX}*")) == []


def test_what_a_job_started_is_ended_and_its_services_are_not(
    temporary: Path, sleeper: Callable[..., psutil.Process]
) -> None:
    folder = scratch(temporary, None)
    daemon, elsewhere = sleeper(TMPDIR=f"{folder}/tmp"), sleeper(TMPDIR="/tmp", **{leftovers.JOB_VARIABLE: str(folder)})
    service = subprocess.Popen(["sh", "-c", "sleep 300", f"{folder}/postgres"], start_new_session=True)
    try:
        assert leftovers.end_processes(folder) == 2
        assert [runs(process.pid) for process in (daemon, elsewhere, service)] == [False, False, True]
        assert folder.exists()
    finally:
        os.killpg(service.pid, signal.SIGKILL)
        service.wait()


def test_who_does_not_listen_is_killed(
    temporary: Path, sleeper: Callable[..., psutil.Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leftovers, "GRACE_S", 0.1)
    folder = scratch(temporary, None)
    stopped = sleeper(TMPDIR=f"{folder}/tmp")
    stopped.suspend()
    assert leftovers.end_processes(folder) == 1
    assert not runs(stopped.pid)
