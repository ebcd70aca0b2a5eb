"""What a killed openbell left running: jobs and their services, found by the scratch folder that was theirs.

Each job has a scratch folder that names the process it belongs to. When that process is gone, whatever still has the
folder in its environment or its command line was started for the job, and is ended; then the folder is removed.
"""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

import psutil

SCRATCH_PREFIX = "openbell-job-"
OWNER_FILE = "owner"
GRACE_S = 2.0


def mark_owner(scratch: Path) -> None:
    """Write down which process a scratch folder belongs to: its id and when it was started."""
    (scratch / OWNER_FILE).write_text(f"{os.getpid()} {psutil.Process().create_time()}")


def end_leftovers() -> int:
    """End what jobs of processes that are gone have left on this machine; returns how many processes that were."""
    orphaned = [folder for folder in _scratch_folders() if _is_orphaned(folder)]
    if not orphaned:
        return 0
    found = [process for process in psutil.process_iter() if any(_belongs(process, folder) for folder in orphaned)]
    for process in found:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    _, alive = psutil.wait_procs(found, timeout=GRACE_S)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    for folder in orphaned:
        shutil.rmtree(folder, ignore_errors=True)
    return len(found)


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
        return str(folder) in process.environ().get("TMPDIR", "")
    return False
