"""Scratch git repositories, with an identity of their own and no configuration of this machine's."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

IDENTITY = {
    "GIT_AUTHOR_NAME": "Ada", "GIT_AUTHOR_EMAIL": "ada@example.org", "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.org", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1",
}  # fmt: skip


class Repository:
    """One scratch repository."""

    def __init__(self, root: Path, *, branch: str = "develop") -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.root = root
        self.git("init", "--quiet", "--initial-branch", branch)

    def git(self, *arguments: str) -> str:
        """Run git here and return what it prints."""
        command = ["git", *arguments]
        done = subprocess.run(
            command, cwd=self.root, env={**os.environ, **IDENTITY}, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    def write(self, files: Mapping[str, str]) -> None:
        """Write files, folders included."""
        for name, content in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)

    def commit(self, message: str = "feat: something", files: Mapping[str, str] | None = None) -> str:
        """Commit everything and return the commit's id."""
        self.write(files or {})
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.git("rev-parse", "HEAD")
