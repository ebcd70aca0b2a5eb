"""`openbell init`: look at a folder, propose a configuration, and write it where none is yet."""

import re
from pathlib import Path

import msgspec

from openbell.adapters import git, go_project, python_project
from openbell.adapters.toml import ConfigurationError, assemble, parse
from openbell.core.proposal import Facts, Proposal, propose
from openbell.files import write_whole
from openbell.ports import AdapterError
from openbell.wiring.project import FILE_NAME
from openbell.wiring.surroundings import search_path

SKIPPED = frozenset(
    {".git", ".venv", "venv", "node_modules", "__pycache__", ".tox", ".nox", ".openbell", "build", "dist"}
)
FILES_MAX = 50_000
_INTERPRETER = re.compile(r"python(3\.\d+)")


class InitError(Exception):
    """Nothing was written; the message says why and what to do."""


class Initialised(msgspec.Struct, frozen=True):
    """What was found and written."""

    words: str
    proposal: Proposal
    file: Path


def initialise(folder: Path, *, force: bool) -> Initialised:
    """Write `openbell.toml` for the project in a folder; an existing one is replaced only with `force`.

    What is written is sound: it is validated first. Raises `InitError`.
    """
    target = folder / FILE_NAME
    if target.exists() and not force:
        raise InitError(f"{FILE_NAME} is there already. Replace it with --force, or look at it with: openbell check")
    facts = look(folder)
    proposal = propose(facts)
    if proposal is None:
        message = "found neither a Python project (pyproject.toml, setup.py, setup.cfg, requirements.txt) nor a go.mod"
        raise InitError(f"{message} in {folder}. Go to the project's folder, or write {FILE_NAME} by hand.")
    try:
        assemble([parse(FILE_NAME, proposal.text)])
    except ConfigurationError as error:
        message = "nothing was written: what was found here makes no sound configuration"
        raise InitError(f"{message} ({'; '.join(error.problems)}). Write {FILE_NAME} by hand.") from None
    try:
        write_whole(target, proposal.text.encode(), mode=0o644)
    except AdapterError as error:
        raise InitError(f"nothing was written: {error.message}") from error
    return Initialised(describe(facts), proposal, target)


def look(folder: Path) -> Facts:
    """Find out what is in a folder."""
    # A name that is no text, or has control characters, could not be written into a configuration.
    files = [name for name in list_files(folder) if name.isprintable()]
    dockerfile = next((name for name in ("Dockerfile", "Containerfile") if name in files), None)
    return Facts(
        python=python_project.detect(folder, files, available_pythons()),
        go=go_project.detect(folder, files),
        dockerfile=dockerfile,
    )


def list_files(folder: Path) -> list[str]:
    """List the files of a project: those that git sees, or all but the usual leftovers where there is no git."""
    try:
        return list(git.list_files(folder))
    except AdapterError:
        found = (path for path in folder.rglob("*") if not SKIPPED.intersection(path.relative_to(folder).parts))
        files = sorted(path.relative_to(folder).as_posix() for path in found if path.is_file())
        if len(files) > FILES_MAX:
            raise InitError(
                f"{folder} has more than {FILES_MAX} files and no git repository. Is it a project?"
            ) from None
        return files


def available_pythons() -> list[str]:
    """List the Pythons that jobs find on this machine, oldest first."""
    found: set[str] = set()
    for entry in search_path().split(":"):
        if Path(entry).is_dir():
            names = (path.name for path in Path(entry).glob("python3.*"))
            found |= {match[1] for match in map(_INTERPRETER.fullmatch, names) if match}
    return sorted(found, key=lambda version: int(version.partition(".")[2]))


def describe(facts: Facts) -> str:
    """Say what was found: "a Python project (pyproject.toml, uv, pytest, ruff) and a Dockerfile"."""
    language, found = (
        ("Python project", facts.python.found) if facts.python else ("Go module", facts.go.found if facts.go else ())
    )
    docker = f" and a {facts.dockerfile}" if facts.dockerfile else ""
    return f"a {language} ({', '.join(found)}){docker}"
