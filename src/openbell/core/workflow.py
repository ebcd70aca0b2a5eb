"""The pipeline of a project as workflows: which jobs run on which machines for which trigger, and in which order.

A workflow is data for a hosted system that starts one machine per job; an adapter writes it down in that system's
language. What a trigger sets in motion is decided by `openbell.core.trigger` here too, so both agree; a machine asks it
once more for its very ref. This module knows no hosted system.
"""

from typing import Literal

import msgspec

from openbell.core.pipeline import JobNode, build_graph
from openbell.core.project import Branches, Environment, Project
from openbell.core.trigger import Trigger, plan

Kind = Literal["pull-request", "branches", "tags", "nightly", "weekly"]

ANY_REF = "any"


class Leg(msgspec.Struct, frozen=True):
    """One leg of a job: its id for `--job`, its name on a screen, the name of its files."""

    id: str
    short: str
    slug: str


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """One job of a workflow, all its legs.

    `only` are patterns of branches without which it does not run; empty means always. `keeps` says that its result may
    be reused by a later run.
    """

    name: str
    legs: tuple[Leg, ...]
    needs: tuple[str, ...]
    only: tuple[str, ...]
    secrets: tuple[str, ...]
    permissions: dict[str, str]
    timeout_s: float
    fail_fast: bool
    takes: bool
    keeps: bool
    findings: str | None
    coverage: str | None


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment that follows a run: where to, for which refs, what it must be told."""

    environment: str
    pattern: str
    url: str | None
    secrets: tuple[str, ...]


class Workflow(msgspec.Struct, frozen=True, kw_only=True):
    """What runs for one kind of trigger. `stages` narrows it; `cron` is its time, if it has one.

    `reuses` says that results of earlier runs count, `writes` that its own may be kept for later ones.
    """

    kind: Kind
    trigger: str
    work: tuple[Work, ...]
    deliveries: tuple[Delivery, ...] = ()
    patterns: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()
    cron: str = ""
    reuses: bool = True
    writes: bool = True


def workflows(project: Project) -> tuple[Workflow, ...]:
    """Compose the workflows of a project; one that would have no job is left out.

    A tag reuses nothing and writes nothing: what a release is made of comes from its own run alone.
    """
    checked = _planned(project, Trigger("push", ANY_REF))
    tagged = tuple(dict.fromkeys((*project.branches.tags, *_patterns(project, "tag"))))
    composed = (
        Workflow(
            kind="pull-request", trigger="pull-request", writes=False,
            work=_work(project, _planned(project, Trigger("pull-request", ANY_REF, target=ANY_REF))),
        ),
        Workflow(
            kind="branches", trigger="push", work=_branch_work(project), deliveries=_deliveries(project, "branch")
        ),
        Workflow(
            kind="tags", trigger="tag", patterns=tagged, deliveries=_deliveries(project, "tag"), reuses=False,
            writes=False, work=_work(project, _planned(_built(project), Trigger("tag", ANY_REF, "tag"))),
        ),
        Workflow(
            kind="nightly", trigger="schedule", cron=project.workflows.nightly,
            work=_work(project, _planned(project, Trigger("schedule", ANY_REF))),
        ),
        Workflow(
            kind="weekly", trigger="push", cron=project.workflows.weekly, stages=("quality", "test"), reuses=False,
            writes=False, work=_work(project, checked),
        ),
    )  # fmt: skip
    return tuple(one for one in composed if one.work and (one.kind != "tags" or one.patterns))


def _planned(project: Project, trigger: Trigger) -> tuple[str, ...]:
    return plan(project, trigger).jobs


def _built(project: Project) -> Project:
    """The project as it is for a ref that is built, whichever that is."""
    return msgspec.structs.replace(project, branches=Branches(build=("*",), tags=("*",)), environments={})


def _branch_work(project: Project) -> tuple[Work, ...]:
    """Every branch is checked; what only some branches get has their patterns."""
    unbuilt = msgspec.structs.replace(project, branches=Branches(build=(), tags=()), environments={})
    always = _planned(unbuilt, Trigger("push", ANY_REF))
    patterns = tuple(dict.fromkeys((*project.branches.build, *_patterns(project, "branch"))))
    names = _planned(_built(project), Trigger("push", ANY_REF)) if patterns else always
    return _work(project, names, only={name: patterns for name in names if name not in always})


def _work(
    project: Project, names: tuple[str, ...], *, only: dict[str, tuple[str, ...]] | None = None
) -> tuple[Work, ...]:
    graph = build_graph(project, names)
    by_name: dict[str, list[JobNode]] = {}
    for node in graph:
        by_name.setdefault(node.name, []).append(node)
    names_of = {node.id: node.name for node in graph}
    return tuple(_job(project, nodes, names_of, (only or {}).get(name, ())) for name, nodes in by_name.items())


def _job(project: Project, nodes: list[JobNode], names_of: dict[str, str], only: tuple[str, ...]) -> Work:
    node = nodes[0]
    job = node.job
    return Work(
        name=node.name,
        legs=tuple(Leg(one.id, one.short, one.slug) for one in nodes),
        needs=tuple(dict.fromkeys(names_of[need] for need in node.needs)),
        only=only,
        secrets=job.secrets,
        permissions=dict(project.workflows.permissions.get(node.name, {})),
        timeout_s=job.timeout_s * (job.retries + 1),
        fail_fast=job.fail_fast,
        takes=bool(node.takes),
        keeps=job.cache,
        findings=job.reports.sarif if project.workflows.code_scanning else None,
        coverage=job.reports.cobertura if project.workflows.coverage_upload else None,
    )


def _patterns(project: Project, key: Literal["branch", "tag"]) -> tuple[str, ...]:
    found = [_pattern(environment, key) for environment in project.environments.values()]
    return tuple(pattern for pattern in found if pattern is not None)


def _pattern(environment: Environment, key: Literal["branch", "tag"]) -> str | None:
    return environment.branch if key == "branch" else environment.tag


def _deliveries(project: Project, key: Literal["branch", "tag"]) -> tuple[Delivery, ...]:
    """What an environment's smoke and load jobs are told is asked for where it is deployed to."""
    found = []
    for name, environment in project.environments.items():
        pattern = _pattern(environment, key)
        if pattern is None or not project.workflows.deploy_runs_on:
            continue
        jobs = [project.jobs[job] for job in (environment.smoke, *environment.after) if job in project.jobs]
        secrets = dict.fromkeys((*environment.secrets, *(secret for job in jobs for secret in job.secrets)))
        found.append(Delivery(environment=name, pattern=pattern, url=environment.url, secrets=tuple(secrets)))
    return tuple(found)
