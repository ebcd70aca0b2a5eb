"""`openbell init` and `openbell check`: write a configuration, and say what it would do."""

import sys
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter

from openbell.adapters import git
from openbell.adapters.toml import Configuration, ConfigurationError
from openbell.cli.terminal import DONE, complain, counted, print_json, say
from openbell.core.narrative import duration
from openbell.core.pattern import match_tag
from openbell.core.pipeline import JobNode, build_graph
from openbell.core.places import waves_of
from openbell.core.project import COMMIT_STAGES, Stage, TriggerKind
from openbell.core.trigger import Plan, Reason, RefKind, Trigger, plan
from openbell.ports import AdapterError
from openbell.wiring.project import OpenProject, check_files, open_project
from openbell.wiring.waivers import Waivers


class ReasonDocument(msgspec.Struct, frozen=True):
    """Why something is in a run or not, and the place in the configuration that decided it, if any."""

    name: str
    reason: str
    place: str


class PlannedJob(msgspec.Struct, frozen=True):
    """A job that would run, and the jobs it would wait for."""

    name: str
    stage: Stage
    needs: tuple[str, ...]


class CheckDocument(msgspec.Struct, frozen=True):
    """`openbell check --json`; described in docs/schema/check.json."""

    project: str
    trigger: TriggerKind
    ref: str
    stages: tuple[Stage, ...]
    jobs: tuple[PlannedJob, ...]
    environments: tuple[str, ...]
    because: tuple[ReasonDocument, ...]
    excluded: tuple[ReasonDocument, ...]


def init(
    *,
    force: Annotated[bool, Parameter(negative="")] = False,
    chart: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Write an openbell.toml for the project in this folder: a Python project or a Go module.

    Parameters
    ----------
    force
        Replace an openbell.toml that is there already.
    chart
        Write a Helm chart for the services of the openbell.toml that is there, for environments in a cluster.
    """
    from openbell.wiring.initialise import InitError, initialise

    if chart:
        return _init_chart()
    try:
        done = initialise(Path.cwd(), force=force)
    except (InitError, ConfigurationError) as error:
        return complain(str(error))
    jobs, stages = len(done.proposal.jobs), len(done.proposal.stages)
    extent = f"{counted(jobs, 'job')} in {counted(stages, 'stage')}"
    say(f"Found {done.words}.", stream=sys.stdout)
    say(f"Wrote {done.file.name}: {extent}, no environments yet.", stream=sys.stdout)
    for note in done.proposal.notes:
        say(f"  {note}", stream=sys.stdout)
    say("Next: openbell check    what would run, and why", stream=sys.stdout)
    say("      openbell run      run it here", stream=sys.stdout)
    try:
        git.snapshot(Path.cwd())
    except AdapterError as error:
        say(f"Note: {error.message}", stream=sys.stdout)
    return DONE


def _init_chart() -> int:
    from openbell.wiring.initialise import InitError
    from openbell.wiring.initialise_chart import initialise_chart

    try:
        place = open_project(Path.cwd())
        done = initialise_chart(place.root, place.project)
    except (InitError, ConfigurationError) as error:
        return complain(str(error))
    folder = done.folder.relative_to(place.root)
    say(f"Wrote {folder}: a Helm chart of {', '.join(done.services)}.", stream=sys.stdout)
    for note in done.notes:
        say(f"  {note}", stream=sys.stdout)
    say(f"Next: look through {folder}/values.yaml, above all its secrets and commands", stream=sys.stdout)
    if not any(one.cluster is not None for one in place.project.environments.values()):
        say(f'      add [environments.NAME.cluster] with chart = "{folder}" to openbell.toml', stream=sys.stdout)
    say("      openbell doctor NAME    what the cluster has of what it needs", stream=sys.stdout)
    return DONE


def check(
    *,
    trigger: TriggerKind | None = None,
    ref: str | None = None,
    target: str | None = None,
    policy: list[str] | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Validate openbell.toml and say what would run, and why; nothing is run.

    Parameters
    ----------
    trigger
        What to look at: push, pull-request, tag, schedule or person. All of them without this and --ref.
    ref
        The branch or tag to look at; it need not exist. The branch that is checked out by default.
    target
        The branch that a pull request would be merged into.
    policy
        A file laid over openbell.toml; may be repeated.
    json
        Print one JSON document on standard output.
    """
    try:
        place = open_project(Path.cwd(), tuple(policy or ()))
        Waivers(place.root)
        problems, branch = _look_at_tree(place)
    except ConfigurationError as error:
        return complain(str(error))
    if problems:
        return complain(str(ConfigurationError(problems)))
    wanted = _trigger(place, trigger, ref, target, branch)
    if isinstance(wanted, str):
        return complain(wanted)
    planned = plan(place.project, wanted)
    if json:
        print_json(_document(place, planned))
        return DONE
    for line in _describe(place, planned):
        say(line, stream=sys.stdout)
    if trigger is None and ref is None:
        for line in _others(place, planned):
            say(line, stream=sys.stdout)
    return DONE


def _look_at_tree(place: OpenProject) -> tuple[list[str], str | None]:
    """Check patterns against the files of the repository, when there is one with a commit."""
    try:
        seen = git.snapshot(place.root, index=place.state.index(place.root))
    except AdapterError:
        return [], None
    return check_files(place.configuration, list(seen.files)), seen.branch


def _trigger(
    place: OpenProject, kind: TriggerKind | None, ref: str | None, target: str | None, branch: str | None
) -> Trigger | str:
    """Work out which trigger is meant; a message when it makes no sense."""
    if kind == "tag":
        return Trigger("tag", ref, "tag") if ref else "which tag? Name one with --ref v1.2.3."
    name = ref or branch or "main"
    return Trigger(kind or "person", name, _kind_of_ref(place, name) if kind in (None, "person") else "branch", target)


def _kind_of_ref(place: OpenProject, name: str) -> RefKind:
    """Ask the repository what a ref is; one that does not exist is what its name looks like."""
    try:
        return git.resolve(place.root, name)[1]
    except AdapterError:
        tags = [*place.project.branches.tags, *(e.tag for e in place.project.environments.values() if e.tag)]
        return "tag" if any(match_tag(name, pattern) for pattern in tags) else "branch"


def _locate(configuration: Configuration, reason: Reason) -> str:
    return configuration.origin(reason.path) if reason.path else ""


def _document(place: OpenProject, planned: Plan) -> CheckDocument:
    graph = build_graph(place.project, planned.jobs)

    def write_down(reasons: tuple[Reason, ...]) -> tuple[ReasonDocument, ...]:
        return tuple(ReasonDocument(r.name, r.text, _locate(place.configuration, r)) for r in reasons)

    return CheckDocument(
        place.project.project.name, planned.trigger.kind, planned.trigger.ref, planned.stages,
        tuple(PlannedJob(node.id, node.stage, node.needs) for node in graph), planned.environments,
        write_down(planned.because), write_down(planned.excluded),
    )  # fmt: skip


def _summary(place: OpenProject, planned: Plan) -> str:
    """Say in a line what a trigger sets in motion."""
    parts: list[str] = [*planned.stages]
    for name in planned.environments:
        environment = place.project.environments[name]
        gate = " (approval)" if environment.approval else ""
        parts += [f"deploy {name}{gate}", *environment.after]
    return f"{planned.trigger.words}  ->  {', '.join(parts) or 'nothing'}"


def _describe(place: OpenProject, planned: Plan) -> list[str]:
    graph = build_graph(place.project, planned.jobs)
    lines = [_summary(place, planned)]
    reasons = {reason.name: reason for reason in planned.because}
    width = max((len(name) for name in (*planned.stages, *planned.environments)), default=0) + 2
    for stage in planned.stages:
        nodes = [node for node in graph if node.stage == stage]
        names = "  ".join(node.short for node in nodes) or "no jobs"
        lines.append(f"  {stage:<{width}}{names}{_waits(stage, nodes, planned)}")
        lines.append(f"  {'':<{width}}because: {_reason(place, reasons.get(stage))}")
    for name in planned.environments:
        environment = place.project.environments[name]
        steps = [environment.strategy, f"{environment.replicas} replicas"]
        if environment.targets:
            order = ", then ".join(" and ".join(wave) for wave in waves_of(environment))
            steps.append(f"in waves: {order}, {duration(environment.waves.hold_s)} between them")
        steps += [f"smoke: {environment.smoke}"] if environment.smoke else []
        if environment.approval:
            steps.append(f"approval by {environment.approval.required} of {', '.join(environment.approval.by)}")
        steps += [f"then {', '.join(environment.after)}"] if environment.after else []
        lines.append(f"  {name:<{width}}{', '.join(steps)}")
        lines.append(f"  {'':<{width}}because: {_reason(place, reasons.get(name))}")
    if planned.blocks_merge:
        lines.append("A failure keeps the pull request from being merged.")
    if planned.excluded:
        lines.append(f"Not in this run: {', '.join(f'{r.name} ({r.text})' for r in planned.excluded)}.")
    return lines


def _waits(stage: Stage, nodes: list[JobNode], planned: Plan) -> str:
    earlier = [other for other in planned.stages if COMMIT_STAGES.index(other) < COMMIT_STAGES.index(stage)]
    if earlier and any(node.job.needs is None for node in nodes):
        return f"   needs {', '.join(earlier)}"
    return "   parallel" if len(nodes) > 1 else ""


def _reason(place: OpenProject, reason: Reason | None) -> str:
    if reason is None:
        return "a job asks for this trigger by name"
    where = _locate(place.configuration, reason)
    return f"{reason.text} ({where})" if where else reason.text


def _others(place: OpenProject, shown: Plan) -> list[str]:
    """Say in a line each what the usual triggers would set in motion."""
    branches = [*place.project.branches.build, *(e.branch for e in place.project.environments.values() if e.branch)]
    names = [name for name in dict.fromkeys(branches) if not frozenset(name) & frozenset("*?[")]
    triggers = [Trigger("push", name) for name in (*names, "feature/x", "hotfix/x")]
    triggers += [Trigger("pull-request", "feature/x", "branch", "main"), Trigger("tag", "v1.2.3", "tag")]
    triggers.append(Trigger("schedule", "main"))
    lines = [_summary(place, plan(place.project, other)) for other in triggers if other.words != shown.trigger.words]
    return ["", "Other triggers:", *(f"  {line}" for line in lines)]
