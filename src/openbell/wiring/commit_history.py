"""What a job can see of the commits that led to the one it is about: a bare repository, for what looks through history.

A job's copy of the tree has no history, and a result that depends on it holds for one commit only. So it is given to
those jobs that name `{history}` in their command, and to no others.
"""

from collections.abc import Iterable

from openbell.adapters import git, git_history
from openbell.core.pattern import placeholders
from openbell.core.pipeline import JobNode
from openbell.wiring.surroundings import Workplace

NAME = "history"


def sees_history(node: JobNode) -> bool:
    """Whether a job's command names `{history}`."""
    return NAME in placeholders(node.job.run)


def history_of(node: JobNode, seen: git.Snapshot) -> dict[str, str]:
    """Say for the fingerprint of a job which history it sees: the commit's, or none."""
    return {NAME: seen.commit.id} if sees_history(node) else {}


def lay_out_history(nodes: Iterable[JobNode], seen: git.Snapshot, workplace: Workplace) -> dict[str, str]:
    """Clone the history for a run if one of its jobs sees it; return what `{history}` and `{folder}` stand for.

    It is among what the run leaves to nobody: the folder `work` is removed at its end.
    """
    target = workplace.folder / "work" / "history.git"
    if any(sees_history(node) for node in nodes):
        git_history.clone_history(seen.root, seen.commit.id, target)
    return {NAME: str(target), "folder": git_history.prefix(seen.root)}
