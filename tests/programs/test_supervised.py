"""The program that supervisord starts in place of ours: it notes starts, leaves pipes alone, adopts survivors."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from openbell.programs import supervised

DEADLINE_S = 10.0


def specify(folder: Path, *command: str, **env: str) -> Path:
    path = folder / "program.json"
    specification = {
        "command": command,
        "env": {"PATH": os.environ["PATH"], **env},
        "folder": str(folder),
        "log": str(folder / "program.log"),
        "pid_file": str(folder / "program.pid"),
        "starts_file": str(folder / "program.starts"),
    }
    path.write_text(json.dumps(specification))
    return path


def start(specification: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-I", "-S", supervised.__file__, str(specification)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def wait_for(path: Path, text: str) -> str:
    deadline = time.monotonic() + DEADLINE_S
    while not path.exists() or text not in path.read_text():
        assert time.monotonic() < deadline, f"{path} does not say {text!r}"
        time.sleep(0.01)
    return path.read_text()


def test_it_becomes_the_program_and_notes_each_start(tmp_path: Path) -> None:
    specification = specify(tmp_path, "sh", "-c", 'echo "$GREETING from $(pwd)"', GREETING="hello")
    for count in (1, 2):
        process = start(specification)
        assert process.communicate(timeout=DEADLINE_S)[0] == b"", "the pipe to the supervisor stays silent"
        assert process.returncode == 0
        assert len((tmp_path / "program.starts").read_text().splitlines()) == count
        assert (tmp_path / "program.pid").read_text().split()[0] == str(process.pid)
    assert (tmp_path / "program.log").read_text().count(f"hello from {tmp_path}") == 2
    assert (tmp_path / "program.log").stat().st_mode & 0o077 == 0


def test_a_command_that_is_not_there_is_explained_in_the_log(tmp_path: Path) -> None:
    process = start(specify(tmp_path, "no-such-program"))
    process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 127
    assert "cannot run no-such-program: No such file or directory" in (tmp_path / "program.log").read_text()


def test_the_supervisor_sees_its_pipe_close_when_the_program_ends(tmp_path: Path) -> None:
    process = start(specify(tmp_path, "sh", "-c", "exec >/dev/null 2>&1; sleep 0.3"))
    assert process.stdout is not None
    begun = time.monotonic()
    assert process.stdout.read() == b""
    assert time.monotonic() - begun >= 0.2, "not before"
    process.communicate(timeout=DEADLINE_S)


def test_a_survivor_is_adopted_and_gets_the_signals(tmp_path: Path) -> None:
    specification = specify(
        tmp_path, "sh", "-c", "trap 'echo polite; exit 0' TERM; echo up; while :; do sleep 0.05; done"
    )
    survivor = start(specification)
    wait_for(tmp_path / "program.log", "up\n")
    guardian = start(specification)
    pid_file = str(tmp_path / "program.pid")
    assert supervised.living_process(pid_file) == survivor.pid
    assert len((tmp_path / "program.starts").read_text().splitlines()) == 1, "nothing was started"
    deadline = time.monotonic() + DEADLINE_S
    while b"SigCgt" not in (status := Path(f"/proc/{guardian.pid}/status").read_bytes()) or not (
        int(status.split(b"SigCgt:")[1].split()[0], 16) >> (signal.SIGTERM - 1) & 1
    ):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    guardian.terminate()
    guardian.communicate(timeout=DEADLINE_S)
    survivor.communicate(timeout=DEADLINE_S)
    assert survivor.returncode == 0
    assert "polite" in (tmp_path / "program.log").read_text()


@pytest.mark.parametrize(
    "content", ["", "nonsense", "1 2 3", "4194300 17", pytest.param(f"{os.getpid()} 1", id="ours")]
)
def test_a_stranger_with_the_same_process_id_is_not_adopted(tmp_path: Path, content: str) -> None:
    (tmp_path / "program.pid").write_text(content)
    assert supervised.living_process(str(tmp_path / "program.pid")) is None


def test_what_is_left_of_an_ended_process_is_not_alive() -> None:
    process = subprocess.Popen(["true"])
    deadline = time.monotonic() + DEADLINE_S
    while supervised.start_ticks(process.pid) is not None:  # a zombie, until it is waited for
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert Path(f"/proc/{process.pid}").exists()
    process.wait()
    assert supervised.start_ticks(os.getpid()) is not None
