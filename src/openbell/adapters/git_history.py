"""Git, where a job is to see the commits that led to its own: a bare clone, and the project's place in it.

Source: https://git-scm.com/docs/git-clone
"""

import os
import subprocess
from pathlib import Path

from openbell.ports import AdapterError

SYSTEM = "git"


def prefix(root: Path) -> str:
    """Return where a folder lies in its repository; "." at its top."""
    return _run(root, "rev-parse", "--show-prefix").rstrip("/") or "."


def clone_history(root: Path, commit: str, target: Path) -> None:
    """Clone the repository as a bare one whose HEAD is a commit.

    Objects are linked, not copied, where the file system can. What a shallow repository lacks is lacking there too.
    """
    _run(root, "clone", "--bare", "--quiet", "--local", _run(root, "rev-parse", "--show-toplevel"), str(target))
    _run(target, "update-ref", "--no-deref", "HEAD", commit)


def _run(root: Path, *arguments: str) -> str:
    env = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"}
    try:
        done = subprocess.run(["git", *arguments], cwd=root, env=env, capture_output=True, check=False)
    except OSError as error:
        message = f"git does not run: {error.strerror or error}"
        raise AdapterError(SYSTEM, arguments[0], message, effect="not_applied") from error
    if done.returncode:
        message = done.stderr.decode(errors="replace").strip().removeprefix("fatal: ")
        raise AdapterError(SYSTEM, arguments[0], message, effect="not_applied")
    return os.fsdecode(done.stdout).removesuffix("\n")
