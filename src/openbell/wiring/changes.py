"""What a run's commit changed: since the merge base with its target branch, or, on that branch itself, its parent."""

import hashlib
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import msgspec

from openbell.adapters import git
from openbell.core.project import Job, Project
from openbell.ports import AdapterError

if TYPE_CHECKING:
    from openbell.core.coverage import Lines


class Changes(msgspec.Struct, frozen=True):
    """The lines that a commit changed, and the commit that they are counted from."""

    since: str
    lines: "Lines"

    def digest(self, files: Sequence[str]) -> str:
        """Name what is changed of some files, so that a verdict about it is not taken for one about other changes."""
        parts = [f"{name}:{self.lines[name]}" for name in files if name in self.lines]
        return hashlib.sha256("\n".join(parts).encode(errors="backslashreplace")).hexdigest()


class ChangeFinder:
    """Finds what a snapshot changed, once, and only when it is asked."""

    def __init__(self, project: Project, seen: git.Snapshot, *, ref: str = "", target: str | None = None) -> None:
        self.project = project
        self.seen = seen
        self.ref = ref or seen.branch or ""
        self.target = target
        self.find = cache(self._find)

    def base(self) -> str | None:
        """Find the commit that changes are counted from; None when the commit has nothing before it."""
        root, commit = self.seen.root, self.seen.commit.id
        branches = (self.target,) if self.target else main_branches(self.project)
        if self.target or self.ref not in branches:
            refs = [f"refs/{place}/{branch}" for branch in branches for place in ("heads", "remotes/origin")]
            bases = [base for ref in refs if (base := git.merge_base(root, ref, commit))]
            # A feature that left from develop has left main long before.
            nearest = min(dict.fromkeys(bases), key=lambda base: git.distance(root, base, commit), default=None)
            if nearest is not None and nearest != commit:
                return nearest
        return commit if self.seen.dirty else git.parent(root, commit)

    def settings(self, job: Job, files: Sequence[str]) -> dict[str, str]:
        """Name the change that a job's verdict is about, if it is about one, for the job's fingerprint."""
        found = {}
        if job.coverage_changed_min_pct is not None:
            changes = self.find()
            found["changed_lines"] = changes.digest(files) if changes else "unknown"
        if job.regression_max_pct is not None:
            found["base"] = self.base() or "none"
        return found

    def _find(self) -> Changes | None:
        try:
            base = self.base()
            return Changes(base, git.changed_lines(self.seen, base)) if base else None
        except AdapterError:
            # A clone without history cannot tell. What needs it says so; nothing else has to.
            return None


def main_branches(project: Project) -> tuple[str, ...]:
    """Name the branches that changes are meant for when nobody says so; patterns name none."""
    return tuple(branch for branch in project.branches.build if not any(mark in branch for mark in "*?["))
