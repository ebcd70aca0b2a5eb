"""From a plan to a graph of jobs: matrices multiply, stages and `needs` become edges.

A job without `needs` waits for every job of the earlier stages of this run, a job with it for every leg of exactly
those. The graph is in the order of the configuration, and each job comes after what it needs.
"""

from collections.abc import Mapping

import msgspec

from openbell.core.matrix import filled, legs
from openbell.core.project import COMMIT_STAGES, Job, Project, Stage
from openbell.core.quoting import fill_script
from openbell.core.report import Outcome, Reports
from openbell.core.timing import Spent


class JobNode(msgspec.Struct, frozen=True):
    """One job of a run: a job of the configuration on one leg of its matrix, and the ids of the jobs it waits for.

    `takes` are the jobs whose outputs it gets, also those that are not in this run because their results are known.
    """

    id: str
    name: str
    job: Job
    axes: dict[str, str] = {}
    needs: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()

    @property
    def stage(self) -> Stage:
        """The stage it belongs to."""
        return self.job.stage

    @property
    def short(self) -> str:
        """The name on a screen: "unit (3.12)"."""
        return f"{self.name} ({', '.join(self.axes.values())})" if self.axes else self.name

    @property
    def values(self) -> dict[str, str]:
        """What its placeholders stand for: its axes, and nothing for names that only other legs have."""
        return filled(self.job, self.axes)

    @property
    def slug(self) -> str:
        """The name of its files: "unit-3.12"."""
        return slug(self.id)


class JobResult(msgspec.Struct, frozen=True):
    """How a job of a run ended, and what is worth knowing about it.

    `from_run` is the run that a cached result comes from; `outputs` are the files it left, by digest; `last_lines` the
    end of its log when it failed; `spent` is of its last attempt. `flaky`: it passed when it was tried again.
    """

    id: str
    name: str
    stage: Stage
    outcome: Outcome
    reason: str = ""
    duration_s: float = 0.0
    fingerprint: str = ""
    from_run: str = ""
    attempts: int = 0
    exit_code: int | None = None
    reports: Reports = Reports()
    outputs: tuple["Output", ...] = ()
    last_lines: tuple[str, ...] = ()
    spent: Spent = Spent()
    flaky: bool = False


class Output(msgspec.Struct, frozen=True):
    """A file that a job left: its path in `{out}`, the hash of its content, its size, and whether it is a program."""

    path: str
    sha256: str
    size_bytes: int
    executable: bool = False


def slug(job_id: str) -> str:
    """Turn a job's id into a name for files: `unit (python=3.12)` becomes `unit-3.12`."""
    name, _, legs = job_id.partition(" (")
    values = [leg.partition("=")[2] for leg in legs.removesuffix(")").split(", ")] if legs else []
    text = "-".join([name, *values])
    return "".join(character if character.isalnum() or character in "-_.+" else "-" for character in text)


def job_id(name: str, axes: Mapping[str, str]) -> str:
    """Name one leg of a job: `test (python=3.12)`; the name alone without a matrix."""
    return f"{name} ({', '.join(f'{axis}={value}' for axis, value in axes.items())})" if axes else name


def build_graph(project: Project, names: tuple[str, ...]) -> tuple[JobNode, ...]:
    """Build the graph of the named jobs; a need that is not among them is no edge. Every node comes after its needs."""
    ids = {name: tuple(job_id(name, axes) for axes in legs(project.jobs[name])) for name in names}
    nodes = []
    for name in names:
        job, needs = project.jobs[name], _needs(project, name, ids)
        takes = needs if "{artifacts}" in job.run else ()
        nodes += [JobNode(job_id(name, axes), name, job, axes, needs, takes) for axes in legs(job)]
    return _sort(nodes)


def _needs(project: Project, name: str, ids: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    job = project.jobs[name]
    if job.needs is not None:
        wanted = [need for need in job.needs if need in ids]
    else:
        earlier = COMMIT_STAGES[: COMMIT_STAGES.index(job.stage)] if job.stage in COMMIT_STAGES else ()
        wanted = [other for other in ids if project.jobs[other].stage in earlier]
    return tuple(leg for need in wanted for leg in ids[need])


def _sort(nodes: list[JobNode]) -> tuple[JobNode, ...]:
    """Order by stage, then so that needs come first; within that the order of the configuration stays."""
    waiting = sorted(nodes, key=lambda node: COMMIT_STAGES.index(node.stage) if node.stage in COMMIT_STAGES else 9)
    placed: dict[str, JobNode] = {}
    while waiting:
        ready = [node for node in waiting if all(need in placed for need in node.needs)]
        if not ready:
            raise ValueError(f"the jobs wait for each other: {', '.join(node.id for node in waiting)}")
        placed |= {node.id: node for node in ready}
        waiting = [node for node in waiting if node.id not in placed]
    return tuple(
        sorted(placed.values(), key=lambda node: COMMIT_STAGES.index(node.stage) if node.stage in COMMIT_STAGES else 9)
    )


def select(graph: tuple[JobNode, ...], wanted: tuple[str, ...], *, with_needs: bool) -> tuple[JobNode, ...]:
    """Keep the jobs whose id, name or slug is wanted, with all that they need when `with_needs`; edges to others go."""
    by_id = {node.id: node for node in graph}
    kept: dict[str, bool] = {
        node.id: True for node in graph if {node.id, node.name, node.slug, node.short} & frozenset(wanted)
    }
    pending = list(kept) if with_needs else []
    while pending:
        for need in by_id[pending.pop()].needs:
            if need not in kept:
                kept[need] = True
                pending.append(need)
    return tuple(
        msgspec.structs.replace(node, needs=tuple(need for need in node.needs if need in kept))
        for node in graph
        if node.id in kept
    )


def lacks(
    graph: tuple[JobNode, ...], full: tuple[JobNode, ...], known: Mapping[str, object], hits: Mapping[str, object]
) -> str:
    """Say which job of a part of a graph takes outputs that are neither known nor made in this run; "" if none does.

    It would run on nothing, and might pass. A job that is allowed to fail may have left nothing.
    """
    by_id = {node.id: node for node in full}
    there = {**known, **{node.id: True for node in graph}}
    for node in graph:
        missing = [need for need in node.takes if need not in there and not by_id[need].job.allow_failure]
        if missing and node.id not in hits:
            names = ", ".join(by_id[need].short for need in missing)
            remedy = " ".join(f'--job "{need}"' for need in (*missing, node.id))
            return f"{node.short} takes what {names} left, and that is not known here. Run: openbell run {remedy}"
    return ""


def command_of(node: JobNode, values: Mapping[str, str]) -> str:
    """Return the script of a job with its placeholders filled: axes of its matrix, which are script, and `values`.

    A value is a part of one word wherever it stands: a folder's name may have spaces.
    """
    return fill_script(node.job.run, node.values, values)
