"""What jobs left running, found by their scratch folders: daemons of a job, everything of a killed openbell.

What a job starts is ended by its reaper (`openbell.programs.reaper`), also when openbell is killed. This module is for
what that cannot know: services, which are no children of the job; systems other than Linux; a reaper that was killed.

Each job has a scratch folder that names the process it belongs to. A process with the folder in its environment was
started by the job and is ended with it. When the owner itself is gone, what has the folder in its command line
(services) is ended as well, and the folder removed. What cleans its environment out is not found this way.
"""

import contextlib
import os
import shutil
import tempfile
import time
from pathlib import Path

import psutil

SCRATCH_PREFIX = "openbell-job-"
OWNER_FILE = "owner"
JOB_VARIABLE = "OPENBELL_JOB"
"""Names a job's scratch folder to what the job starts, also where it sets TMPDIR itself."""

GRACE_S = 2.0
ROUNDS_MAX = 5
"""So often it is looked again for what was started meanwhile."""


def mark_owner(scratch: Path) -> None:
    """Write down which process a scratch folder belongs to: its id and when it was started."""
    (scratch / OWNER_FILE).write_text(f"{os.getpid()} {psutil.Process().create_time()}")


def end_leftovers() -> int:
    """End what jobs of processes that are gone have left on this machine; returns how many processes that were."""
    orphaned = [folder for folder in _scratch_folders() if _is_orphaned(folder)]
    if not orphaned:
        return 0
    found = [process for process in psutil.process_iter() if any(_belongs(process, folder) for folder in orphaned)]
    _end(found)
    for folder in orphaned:
        shutil.rmtree(folder, ignore_errors=True)
    return len(found)


def end_processes(scratch: Path) -> int:
    """End what a job that is over left running, daemons above all; returns how many processes that were.

    Its services are not touched: they were started for the job, not by it.
    """
    ended = 0
    for _ in range(ROUNDS_MAX):
        found = [process for process in psutil.process_iter() if _was_started_in(process, scratch)]
        if not found:
            break
        _end(found)
        ended += len(found)
    return ended


def _end(processes: list[psutil.Process]) -> None:
    """Ask, wait, and force."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    for process in _wait(processes):
        with contextlib.suppress(psutil.Error):
            process.kill()
    _wait(processes)


def _wait(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Wait until processes have ended, and return those that have not in time."""
    deadline_s = time.monotonic() + GRACE_S
    while (alive := [process for process in processes if _lives(process)]) and time.monotonic() < deadline_s:
        time.sleep(0.01)
    return alive


def _lives(process: psutil.Process) -> bool:
    """Say whether a process runs; the dead that nobody has collected yet do not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _scratch_folders() -> list[Path]:
    root = Path(tempfile.gettempdir())
    folders = []
    for folder in root.glob(f"{SCRATCH_PREFIX}*"):
        with contextlib.suppress(OSError):
            if folder.stat().st_uid == os.getuid():
                folders.append(folder)
    return folders


def _is_orphaned(folder: Path) -> bool:
    """Say whether the owner is known and gone; a folder without an owner may just be about to get one."""
    try:
        pid, started = (folder / OWNER_FILE).read_text().split()
        return psutil.Process(int(pid)).create_time() != float(started)
    except psutil.NoSuchProcess:
        return True
    except (OSError, ValueError, psutil.Error):
        return False


def _belongs(process: psutil.Process, folder: Path) -> bool:
    with contextlib.suppress(psutil.Error, OSError):
        if any(str(folder) in argument for argument in process.cmdline()):
            return True
    return _was_started_in(process, folder)


def _was_started_in(process: psutil.Process, folder: Path) -> bool:
    with contextlib.suppress(psutil.Error, OSError):
        env = process.environ()
        return any(str(folder) in env.get(name, "") for name in ("TMPDIR", JOB_VARIABLE))
    return False
