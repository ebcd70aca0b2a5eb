"""What a trigger sets in motion: stages, jobs and environments, each with the reason, and what stays out and why.

The table is the specification's. Every branch is checked and tested; `main`, `develop` and `staging` are built as well;
a push to an environment's branch, or a tag that fits its pattern, deploys there. A pull request is checked and tested,
with the jobs that are for pull requests only. A schedule looks at quality again. A person gets what the ref would get.
This module knows no repository: what a ref is (branch or tag) is told to it.
"""

from typing import Literal

import msgspec

from openbell.core.pattern import match_branch, match_tag
from openbell.core.project import COMMIT_STAGES, Job, Project, Stage, TriggerKind

RefKind = Literal["branch", "tag", "commit"]


class Trigger(msgspec.Struct, frozen=True):
    """Why a run is wanted: the kind of event, the ref it is about, and what that ref is.

    For a pull request `ref` is the branch that asks to be merged and `target` the one it would go to.
    """

    kind: TriggerKind
    ref: str
    ref_kind: RefKind = "branch"
    target: str | None = None

    @property
    def words(self) -> str:
        """The trigger as a person says it: "push to develop", "tag v1.2.0"."""
        if self.kind == "pull-request":
            return f"pull request of {self.ref}" + (f" to {self.target}" if self.target else "")
        if self.kind == "tag":
            return f"tag {self.ref}"
        if self.kind == "schedule":
            return f"schedule on {self.ref}"
        return f"push to {self.ref}" if self.kind == "push" else f"{self.ref}, asked for by a person"


class Reason(msgspec.Struct, frozen=True):
    """Why something is in a run or not; `path` is the place in the configuration that decided it."""

    name: str
    text: str
    path: tuple[str, ...] = ()


class Plan(msgspec.Struct, frozen=True):
    """What a trigger sets in motion. `jobs` are names of the configuration, before matrices multiply them.

    `releases` says that the outputs of the build stage become a release.
    """

    trigger: Trigger
    stages: tuple[Stage, ...]
    jobs: tuple[str, ...]
    environments: tuple[str, ...]
    because: tuple[Reason, ...]
    excluded: tuple[Reason, ...]
    releases: bool = False

    @property
    def blocks_merge(self) -> bool:
        """A failure of this run keeps a pull request from being merged."""
        return self.trigger.kind == "pull-request"


def effective_kind(trigger: Trigger) -> TriggerKind:
    """Return the kind whose rules apply: a person gets what the ref would get."""
    if trigger.kind != "person":
        return trigger.kind
    return "tag" if trigger.ref_kind == "tag" else "push"


def plan(project: Project, trigger: Trigger) -> Plan:
    """Decide what a trigger sets in motion, with a reason for all that is in it and all that stays out."""
    kind = effective_kind(trigger)
    build = _build_reason(project, trigger, kind)
    deploys = _deploy_reasons(project, trigger, kind)
    stages: list[Stage] = ["quality"] if kind == "schedule" else ["quality", "test"]
    because = [_check_reason(stage, kind) for stage in stages]
    excluded: list[Reason] = []
    if build is not None or deploys:
        stages.append("build")
        because.append(build or Reason("build", f"{deploys[0].name} needs a release", deploys[0].path))
    elif kind != "schedule":
        excluded.append(_no_build_reason(project, kind))
    jobs = _select_jobs(project, trigger, tuple(stages), excluded)
    present = {project.jobs[name].stage: True for name in jobs}
    in_order = tuple(stage for stage in COMMIT_STAGES if stage in present or stage in stages)
    excluded = [reason for reason in excluded if reason.name not in in_order]
    deployed = tuple(reason.name for reason in deploys)
    excluded += [
        Reason(f"deploy {name}", _no_deploy_text(environment.branch, environment.tag), ("environments", name))
        for name, environment in project.environments.items()
        if name not in deployed
    ]
    return Plan(trigger, in_order, jobs, deployed, (*because, *deploys), tuple(excluded), "build" in stages)


def _check_reason(stage: Stage, kind: TriggerKind) -> Reason:
    if kind == "schedule":
        return Reason(stage, "a schedule looks at quality and security again")
    if kind == "pull-request":
        return Reason(stage, "a pull request is merged only when this passes")
    return Reason(stage, "every commit of every branch")


def _build_reason(project: Project, trigger: Trigger, kind: TriggerKind) -> Reason | None:
    if kind == "push" and trigger.ref_kind == "branch":
        for pattern in project.branches.build:
            if match_branch(trigger.ref, pattern):
                return Reason("build", f'branch {trigger.ref} is built ("{pattern}")', ("branches", "build"))
    if kind == "tag":
        for pattern in project.branches.tags:
            if match_tag(trigger.ref, pattern):
                return Reason("build", f'tag {trigger.ref} is a release ("{pattern}")', ("branches", "tags"))
    return None


def _no_build_reason(project: Project, kind: TriggerKind) -> Reason:
    if kind == "pull-request":
        return Reason("build", "a pull request is not built")
    if kind == "tag":
        return Reason(
            "build", f"only tags {', '.join(project.branches.tags) or 'that are named'}", ("branches", "tags")
        )
    return Reason(
        "build", f"only branches {', '.join(project.branches.build) or 'that are named'}", ("branches", "build")
    )


def _deploy_reasons(project: Project, trigger: Trigger, kind: TriggerKind) -> list[Reason]:
    reasons = []
    for name, environment in project.environments.items():
        at = ("environments", name)
        if kind == "push" and trigger.ref_kind == "branch" and environment.branch is not None:
            if match_branch(trigger.ref, environment.branch):
                reasons.append(
                    Reason(name, f'branch {trigger.ref} goes there ("{environment.branch}")', (*at, "branch"))
                )
        elif kind == "tag" and environment.tag is not None and match_tag(trigger.ref, environment.tag):
            reasons.append(Reason(name, f'tag {trigger.ref} goes there ("{environment.tag}")', (*at, "tag")))
    return reasons


def _no_deploy_text(branch: str | None, tag: str | None) -> str:
    if branch is None and tag is None:
        return "only by hand: openbell deploy"
    wanted = [f"branch {branch}"] if branch is not None else []
    return "only " + " or ".join([*wanted, *([f"tags {tag}"] if tag is not None else [])])


def _select_jobs(
    project: Project, trigger: Trigger, stages: tuple[Stage, ...], excluded: list[Reason]
) -> tuple[str, ...]:
    """Select jobs of the stages, those that are for this kind of trigger by name, and what they need by name."""
    kinds = (trigger.kind, effective_kind(trigger))
    wanted: dict[str, bool] = {}
    for name, job in project.jobs.items():
        if job.stage not in COMMIT_STAGES:
            continue
        if _is_for(job, kinds, stages):
            wanted[name] = True
        elif job.on:
            text = "only " + ", ".join(_ON_WORDS[on] for on in job.on)
            excluded.append(Reason(name, text, ("jobs", name, "on")))
    pending = list(wanted)
    while pending:
        for need in project.jobs[pending.pop()].needs or ():
            if need in project.jobs and need not in wanted:
                wanted[need] = True
                pending.append(need)
    return tuple(name for name in project.jobs if name in wanted)


_ON_WORDS: dict[TriggerKind, str] = {
    "push": "pushes",
    "pull-request": "pull requests",
    "tag": "tags",
    "schedule": "schedules",
    "person": "a person's request",
}


def _is_for(job: Job, kinds: tuple[TriggerKind, ...], stages: tuple[Stage, ...]) -> bool:
    named = any(kind in job.on for kind in kinds)
    if named and kinds[0] in ("schedule", "pull-request"):
        return True
    return job.stage in stages and (named or not job.on)
