"""Small projects in scratch repositories, with their state beside them."""

from pathlib import Path

import pytest

from openbell.wiring.project import OpenProject, open_project
from tests.fakes.repositories import Repository

QUICK = """
[project]
name = "quick"

[jobs.lint]
stage = "quality"
run = "echo linting; test -f a.txt"

[jobs.unit]
stage = "test"
matrix = { n = ["1", "2"] }
run = "cat a.txt"
inputs = ["*.txt"]

[jobs.bundle]
stage = "build"
run = "tr a-z A-Z < a.txt > {out}/A.txt"
inputs = ["*.txt"]
"""


class ScratchProject:
    """A repository with an `openbell.toml`, opened as often as its configuration changes."""

    def __init__(self, root: Path, configuration: str, *, branch: str = "develop") -> None:
        self.repository = Repository(root, branch=branch)
        self.repository.commit("feat: first", {"openbell.toml": configuration, "a.txt": "hello\n"})

    @property
    def root(self) -> Path:
        """Its folder."""
        return self.repository.root

    def open(self, *policies: str) -> OpenProject:
        """Open it as it is now."""
        return open_project(self.root, policies)


def isolate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep this machine's state, policies and repositories out of a test."""
    monkeypatch.delenv("OPENBELL_STATE", raising=False)
    monkeypatch.delenv("OPENBELL_POLICY", raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
