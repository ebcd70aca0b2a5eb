"""A project that is open: its folder, its configuration with the policies laid over it, and its state."""

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from openbell.adapters.toml import Configuration, ConfigurationError, load
from openbell.core.project import Project
from openbell.wiring.state import StateFolder
from openbell.wiring.surroundings import select_files

FILE_NAME = "openbell.toml"
POLICY_VARIABLE = "OPENBELL_POLICY"


class OpenProject(msgspec.Struct, frozen=True):
    """Where a project is, what it wants, and where its state lives."""

    root: Path
    configuration: Configuration
    state: StateFolder

    @property
    def project(self) -> Project:
        """The configuration's content."""
        return self.configuration.project


def open_project(folder: Path, policies: Sequence[str] = ()) -> OpenProject:
    """Open the project that a folder is in: the nearest `openbell.toml` above, with policy files laid over it.

    Policies come from the caller and from OPENBELL_POLICY (separated like PATH), the caller's last; a relative path is
    looked for in the current folder, then beside `openbell.toml`. Raises `ConfigurationError`.
    """
    root = find_root(folder)
    named = [name for name in os.environ.get(POLICY_VARIABLE, "").split(os.pathsep) if name]
    files = [root / FILE_NAME, *(_find_policy(name, folder, root) for name in (*named, *policies))]
    return OpenProject(root, load(files, relative_to=root), StateFolder.of_project(root))


def find_root(folder: Path) -> Path:
    """Return the nearest folder at or above `folder` that has an `openbell.toml`; raises `ConfigurationError`."""
    start = folder.absolute()
    for candidate in (start, *start.parents):
        if (candidate / FILE_NAME).exists():
            return candidate
    raise ConfigurationError([f"no {FILE_NAME} in {start} or above. Write one with: openbell init"])


def check_files(configuration: Configuration, files: Sequence[str]) -> list[str]:
    """Return a sentence for each pattern of the configuration that no file of the tree matches, with its place."""
    project = configuration.project
    declared: list[tuple[tuple[str, ...], tuple[str, ...]]] = [
        (("jobs", name, "inputs"), job.inputs) for name, job in project.jobs.items()
    ]
    declared.append((("release", "config"), project.release.config))
    problems = []
    for path, patterns in declared:
        for index, pattern in enumerate(patterns):
            if pattern != "**" and not pattern.startswith("!") and not select_files(files, (pattern,)):
                place = configuration.locate((*path, str(index)))
                table = ".".join(path[:-1])
                problems.append(f'{place}: [{table}] {path[-1]}: "{pattern}" matches no file of the tree.')
    return problems


def _find_policy(name: str, folder: Path, root: Path) -> Path:
    path = Path(name)
    if path.is_absolute():
        return path
    beside = root / path
    here = folder.absolute() / path
    return here if here.exists() or not beside.exists() else beside
