"""Strict jobs: nothing is there but what a job declares, so that its result can depend on nothing else.

A strict job has no network and sees no file besides its copy of its inputs, its outputs and temporary files, what its
`tools` are made of and the system's own folders, these to read only. `{cache}` is a new and empty folder, and so is
HOME: what outlives a run would be an input that nobody declared.
"""

import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from openbell.adapters import bubblewrap
from openbell.core.pattern import fill
from openbell.core.pipeline import JobNode, JobResult
from openbell.wiring.surroundings import FIXED, PASSED

UNSHARED = ("/", "/usr", "/usr/local", "/tmp", "/var", "/home", "/root", "/opt")  # noqa: S108 (compared, not written)
"""Folders that are no program's own, though programs may be in a `bin` of them."""

_ABSENT = re.compile(
    r"no such file|not found|cannot (?:find|open|access|stat)|can't (?:find|open)|does not exist|ENOENT|FileNotFound"
    r"|no module named",
    re.IGNORECASE,
)
_PATH = re.compile(r"[\w@+-]*[\w@+./-]*\w")
_FOLDERS = ("", "src/", "lib/")
_MODULE = re.compile(r"No module named '([\w.]+)'")


def not_strict_here(node: JobNode) -> JobResult | None:
    """Return the result of a strict job on a machine that cannot enclose it: it is not run, and could not check."""
    why = bubblewrap.refusal()
    if not why:
        return None
    return JobResult(node.id, node.name, node.stage, "not-checked", f"not strict here: {why}")


def enclosure(node: JobNode, tree: Path, out: Path, scratch: Path, *, path: str) -> list[str]:
    """Compose what leads a strict job into its enclosure, and make its empty folders."""
    for name in ("home", "cache"):
        (scratch / name).mkdir(exist_ok=True)
    tools = dict.fromkeys(place for tool in node.job.tools for place in tool_places(fill(tool, node.values), path))
    return bubblewrap.enclosing(tree, readable=list(tools), writable=[tree, out, scratch])


def strict_environment(env: Mapping[str, str], scratch: Path) -> dict[str, str]:
    """Return a job's environment without what leads to this machine's network and caches."""
    kept = {name: value for name, value in env.items() if name not in PASSED or name in FIXED}
    return {**kept, "HOME": str(scratch / "home")}


def tool_places(tool: str, path: str) -> list[Path]:
    """Find what a tool is made of: the folder that its program is installed in, along all links and its interpreter."""
    places: dict[Path, bool] = {}
    pending = [shutil.which(tool, path=path)]
    seen: set[str] = set()
    while pending:
        name = pending.pop()
        if name is None or name in seen:
            continue
        seen.add(name)
        program = Path(name)
        places[_installation(program)] = True
        if program.is_symlink():
            pending.append(str(program.parent / program.readlink()))
        elif program.is_file():
            pending.append(_interpreter(program))
    return [place for place in places if not _is_system(place)]


def _installation(program: Path) -> Path:
    """The folder that a program is installed in; the program's own where that is everybody's."""
    folder = Path(*program.absolute().parts[:-1])
    whole = folder.parent
    if folder.name == "bin" and str(whole) not in UNSHARED and whole != Path.home():
        return whole
    return folder if str(folder) not in UNSHARED and folder != Path.home() else program


def _interpreter(program: Path) -> str | None:
    with program.open("rb") as file:
        line = file.readline(256)
    words: list[bytes] = line[2:].split() if line.startswith(b"#!/") else []
    return words[0].decode(errors="surrogateescape") if words else None


def _is_system(place: Path) -> bool:
    return any(place == Path(name) or place.is_relative_to(name) for name in bubblewrap.SYSTEM_FOLDERS)


def undeclared(lines: Iterable[str], tree: Path, whole: Path, declared: Sequence[str]) -> str | None:
    """Name a file of the project that a failed job missed because it is not among its inputs, from what it printed.

    `tree` is the job's copy, `whole` the tree that it was made from.
    """
    own = frozenset(declared)
    for line in lines:
        if not _ABSENT.search(line):
            continue
        names: list[str] = _PATH.findall(line.replace(f"{tree}/", " "))
        for name in (*_modules(line), *names):
            relative = name.removeprefix("./")
            if relative in own or ".." in relative or relative.startswith("/"):
                continue
            if (whole / relative).is_file():
                return relative
    return None


def _modules(line: str) -> list[str]:
    names = [name.replace(".", "/") for name in _MODULE.findall(line)]
    return [
        f"{folder}{name}{end}" for name in names for folder in ("", "src/", "lib/") for end in (".py", "/__init__.py")
    ]
