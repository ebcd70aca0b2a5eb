"""The folder of a run: made before its first job, in a state folder that git does not see."""

import contextlib
import secrets
from pathlib import Path

from openbell.ports import AdapterError
from openbell.wiring.project import OpenProject

SUPERSEDED_FILE = "superseded"


def make_state(place: OpenProject) -> None:
    """Make the state folder, in a way that git does not see it, before the tree is looked at."""
    ignore, index = place.state.root / ".gitignore", place.state.index(place.root).parent
    try:
        if not ignore.exists():
            place.state.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            ignore.write_text("*\n")
        index.mkdir(exist_ok=True, mode=0o700)
    except OSError as error:
        raise unrecordable(place, error) from error


def unrecordable(place: OpenProject, error: OSError) -> AdapterError:
    """Turn what the file system refuses into an error that says where and what to do."""
    why = error.strerror or str(error)
    message = f"the run cannot be recorded in {place.state.root}: {why}. Free space, or set OPENBELL_STATE."
    return AdapterError("openbell", "run", message, effect="not_applied")


def new_run(place: OpenProject) -> tuple[str, Path]:
    """Take a short name that no other run has."""
    try:
        for length in (2, 2, 2, 2, 4, 8):
            run = secrets.token_hex(length)
            folder = place.state.run(run)
            folder.parent.mkdir(exist_ok=True, mode=0o700)
            try:
                # What jobs print and leave is nobody else's.
                folder.mkdir(mode=0o700)
            except FileExistsError:
                continue
            return run, folder
    except OSError as error:
        raise unrecordable(place, error) from error
    raise AdapterError("openbell", "run", "no free name for a run", effect="not_applied")


def supersede(folder: Path, *, by: str) -> None:
    """Leave word for a run that a newer one takes its place; the first that does so is the one."""
    with contextlib.suppress(OSError), (folder / SUPERSEDED_FILE).open("x") as stream:
        stream.write(by)


def superseded_by(folder: Path) -> str:
    """Name the run that takes the place of this one; empty when there is none."""
    try:
        return (folder / SUPERSEDED_FILE).read_text()
    except OSError:
        return ""
