"""A run, from request to document: prepare (what would run, and what is known already), execute, and finish.

Preparing starts no job and no event loop: for a commit whose jobs are all cached it is everything that happens.
"""

import contextlib
import os
import shutil
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from openbell.adapters import git
from openbell.adapters.store import Store, Stored
from openbell.core.diagnosis import Diagnosis
from openbell.core.findings_documents import RunFindings
from openbell.core.fingerprint import Manifest
from openbell.core.pipeline import JobNode, JobResult, build_graph, lacks, select
from openbell.core.project import COMMIT_STAGES, Project, Stage, TriggerKind
from openbell.core.report import Outcome
from openbell.core.schedule import RunOutcome, plan_run
from openbell.core.timing import JobTimes
from openbell.core.trigger import Plan, RefKind, Trigger, plan
from openbell.ports import AdapterError, JobRunner, RunObserver
from openbell.wiring import lookup, releases
from openbell.wiring.changes import ChangeFinder
from openbell.wiring.commit_history import lay_out_history
from openbell.wiring.laps import times_of_results
from openbell.wiring.project import OpenProject
from openbell.wiring.run_folder import make_state, new_run, superseded_by, unrecordable
from openbell.wiring.sharding import Splitter
from openbell.wiring.surroundings import (
    Inputs,
    Workplace,
    search_path,
)
from openbell.wiring.waivers import Waivers

if TYPE_CHECKING:
    import asyncio

    from openbell.core.regression import Comparison
    from openbell.hosts.pipeline import RunEnd
    from openbell.wiring.benchmarks import BenchmarkComparer
    from openbell.wiring.jobs import LocalJobRunner
    from openbell.wiring.shared_store import SharedStore

NOT_CHECKED_S, FIRST_TIME = lookup.NOT_CHECKED_S, lookup.FIRST_TIME
RUNS_KEPT = 100
UsageError = lookup.UsageError
fingerprints = lookup.fingerprints


class RunRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What someone asks for. Without a ref it is about the tree that is checked out, with its changes.

    `stages` and `jobs` narrow the run; a job that is asked for by name runs alone, without what it needs. `fresh`
    asks anew whatever may be answered differently for the same content: what a database says.
    `take` and `leave` are folders by which one run is spread over machines (`openbell.wiring.shared_run`); with
    `gather` nothing runs, and the results that were taken are the run. `environment` is the only one that is deployed
    to.
    """

    kind: TriggerKind = "person"
    ref: str | None = None
    target: str | None = None
    stages: tuple[str, ...] = ()
    jobs: tuple[str, ...] = ()
    parallel: int = 0
    use_cache: bool = True
    take: str | None = None
    leave: str | None = None
    gather: bool = False
    environment: str | None = None
    fresh: bool = False

    @property
    def narrowed(self) -> bool:
        """Only a part of what the trigger sets in motion is asked for, so nothing can be released."""
        return bool(self.stages or self.jobs)


class Examined(msgspec.Struct, frozen=True):
    """What a request is about: the jobs it asks for (`graph`), all of their run (`full`), and what is known of them."""

    snapshot: git.Snapshot
    plan: Plan
    full: tuple[JobNode, ...]
    graph: tuple[JobNode, ...]
    path: str
    inputs: dict[str, Inputs]
    manifests: dict[str, Manifest]
    known: dict[str, JobResult]
    misses: dict[str, str]
    finder: ChangeFinder
    taken: dict[str, JobResult] = {}
    shared: "SharedStore | None" = None


class PreparedRun(msgspec.Struct, frozen=True):
    """A run before its first job: what it is about, its graph, what is known already, and why the rest is not.

    `resumes` and `repeats` name the run that it goes on with or does again.
    """

    place: OpenProject
    request: RunRequest
    snapshot: git.Snapshot
    plan: Plan
    graph: tuple[JobNode, ...]
    workplace: Workplace
    inputs: dict[str, Inputs]
    manifests: dict[str, Manifest]
    hits: dict[str, JobResult]
    known: dict[str, JobResult]
    misses: dict[str, str]
    began_s: float
    finder: ChangeFinder
    taken: dict[str, JobResult] = {}
    resumes: str = ""
    repeats: str = ""
    shared: "SharedStore | None" = None

    @property
    def is_known(self) -> bool:
        """Every job has its result already."""
        return len(self.hits) == len(self.graph)


class JobDocument(msgspec.Struct, frozen=True):
    """One job in the document of a run."""

    name: str
    stage: Stage
    outcome: Outcome
    reason: str
    duration_s: float
    fingerprint: str
    from_run: str = ""
    allowed_to_fail: bool = False
    attempts: int = 0
    flaky: bool = False
    diagnosis: Diagnosis | None = None
    times: JobTimes | None = None


class Deployment(msgspec.Struct, frozen=True):
    """What became of the release in one environment, as the document of a run says it."""

    environment: str
    outcome: Literal["promoted", "rolled-back", "waiting", "failed", "skipped"]
    reason: str
    rollout: str = ""
    duration_s: float = 0.0


class RunDocument(msgspec.Struct, frozen=True):
    """`openbell run --json`; described in docs/schema/run.json."""

    run: str
    trigger: TriggerKind
    ref: str
    commit: str
    dirty: bool
    outcome: Literal["success", "failure", "cancelled", "waiting"]
    release: str | None
    duration_s: float
    jobs: tuple[JobDocument, ...]
    deployments: tuple[Deployment, ...] = ()
    notes: tuple[str, ...] = ()
    findings: RunFindings | None = None
    resumes: str = ""
    repeats: str = ""
    superseded_by: str = ""
    begin_at_s: float = 0.0
    parallel: int = 0


Deploy = Callable[[OpenProject, str, releases.ReleaseBuilt], Awaitable[Deployment]]
"""How a run deploys: the project, the environment's name, and the release that was built."""


def plan_of(place: OpenProject, request: RunRequest) -> tuple[git.Snapshot, Plan]:
    """Find out what a request is about and what it sets in motion."""
    if request.ref is None:
        seen = git.snapshot(place.root, index=place.state.index(place.root))
        ref, kind = _checked_out_ref(place.root, seen, request.kind)
    else:
        commit, kind = git.resolve(place.root, request.ref)
        seen, ref = git.snapshot(place.root, commit=commit), request.ref
    if request.kind == "tag" and kind != "tag":
        raise UsageError(f'"{ref}" is a {kind}, not a tag. Name one with --ref v1.2.3.')
    return seen, plan(place.project, Trigger(request.kind, ref, kind, request.target))


def _checked_out_ref(root: Path, seen: git.Snapshot, kind: TriggerKind) -> tuple[str, RefKind]:
    if kind == "tag":
        tags = git.tags_at(root, seen.commit.id)
        if not tags:
            raise UsageError(f"commit {seen.commit.short} has no tag. Name one with --ref v1.2.3.")
        return tags[-1], "tag"
    return (seen.branch, "branch") if seen.branch else (seen.commit.short, "commit")


def prepare(place: OpenProject, request: RunRequest, basis: tuple[git.Snapshot, Plan] | None = None) -> PreparedRun:
    """Work out a run up to its first job, of what the request is about or of a `basis` that is known.

    Raises `AdapterError` (git), `UsageError` (an unknown stage or job) and `ConfigurationError` (wrong waivers).
    """
    began_s = time.monotonic()
    if request.gather and not request.take:
        raise UsageError("--gather needs --take FOLDER, where the results are.")
    if request.environment is not None and request.environment not in place.project.environments:
        known_names = ", ".join(place.project.environments) or "none"
        raise UsageError(f'there is no environment "{request.environment}". There are: {known_names}.')
    Waivers(place.root)
    found = examine(place, request, basis)
    full, graph, inputs = found.full, found.graph, found.inputs
    known, taken = dict(found.known), found.taken
    hits = {node.id: known[node.id] for node in graph if node.id in known} if request.use_cache else {}
    if request.fresh:
        hits = {id_: result for id_, result in hits.items() if not _may_have_changed(place.project, result)}
    if request.gather:
        hits = {id_: result for id_, result in taken.items() if result.outcome == "cached"}
    known |= taken
    if lacking := lacks(graph, full, known, hits):
        raise UsageError(lacking)
    run, folder = new_run(place)
    workplace = Workplace(run, folder, folder / "tree", place.state.root / "cache", found.path)
    return PreparedRun(
        place, request, found.snapshot, found.plan, graph, workplace, inputs, found.manifests, hits, known,
        found.misses, began_s, found.finder, taken, shared=found.shared,
    )  # fmt: skip


def examine(place: OpenProject, request: RunRequest, basis: tuple[git.Snapshot, Plan] | None = None) -> Examined:
    """Work out what a request asks for and what is known of it; nothing is begun. Raises as `prepare` does."""
    make_state(place)
    seen, planned = basis or plan_of(place, request)
    full = build_graph(place.project, _names(place.project, planned, request))
    graph = _narrow(place.project, full, request)
    path = search_path()
    finder = ChangeFinder(place.project, seen, ref=planned.trigger.ref, target=request.target)
    splitter = Splitter.of(place.state, shared=bool(request.take or request.leave))
    inputs, manifests = fingerprints(full, seen, path, place.state.root / "tools.json", judged=(finder, splitter))
    store = Store(place.state.store)
    taken: dict[str, JobResult] = {}
    if request.take or request.leave:
        from openbell.wiring import shared_run

        taken = shared_run.receive(request, seen.commit.id, store, full=full, graph=graph, inputs=inputs)
    known, misses = lookup.look_up(full, inputs, manifests, store, now_s=time.time())
    shared = None
    if place.project.cache.remote and misses and request.use_cache:
        missing = tuple(node for node in full if node.id in misses)
        prints = {id_: one.fingerprint for id_, one in inputs.items()}
        shared, found = lookup.look_elsewhere(place, request.kind, prints, missing)
        known, misses = known | found, {id_: why for id_, why in misses.items() if id_ not in found}
    if any(node.job.secrets and node.id in misses for node in full):
        from openbell.wiring.left_secrets import job_masker

        misses |= {node.id: job_masker(node.job).mask(misses[node.id]) for node in full if node.id in misses}
    return Examined(seen, planned, full, graph, path, inputs, manifests, known, misses, finder, taken, shared)


def _names(project: Project, planned: Plan, request: RunRequest) -> tuple[str, ...]:
    """Name the jobs of the graph: those of the plan, and those that are asked for by name or stage."""
    if not request.narrowed:
        return planned.jobs
    asked = [name for name, job in project.jobs.items() if job.stage in request.stages and not job.on]
    if request.jobs:
        asked = [name for name, job in project.jobs.items() if job.stage in COMMIT_STAGES]
    return tuple(name for name in project.jobs if name in planned.jobs or name in asked)


def _may_have_changed(project: Project, result: JobResult) -> bool:
    """Whether a job would perhaps say something else now about the same content: it asks a database, or could not."""
    return project.jobs[result.name].cache_s is not None or result.outcome == "not-checked"


def _narrow(project: Project, full: tuple[JobNode, ...], request: RunRequest) -> tuple[JobNode, ...]:
    for stage in request.stages:
        if stage not in COMMIT_STAGES:
            raise UsageError(f'"{stage}" is no stage of a commit; these are {", ".join(COMMIT_STAGES)}.')
    if request.jobs:
        for name in request.jobs:
            if not select(full, (name,), with_needs=False):
                raise UsageError(_no_job(project, full, name))
        return select(full, request.jobs, with_needs=False)
    if request.stages:
        return select(full, tuple(node.id for node in full if node.stage in request.stages), with_needs=False)
    return full


def _no_job(project: Project, full: tuple[JobNode, ...], name: str) -> str:
    if name in project.jobs:
        stage = project.jobs[name].stage
        return f'job "{name}" has stage "{stage}": it runs when a release is deployed to an environment.'
    return f'there is no job "{name}". There are: {", ".join(node.id for node in full)}.'


def slots(prepared: PreparedRun) -> int:
    """Say how many jobs of a run may run at once."""
    return prepared.request.parallel or os.cpu_count() or 2


async def execute(
    prepared: PreparedRun,
    observer: RunObserver,
    *,
    cancel: "asyncio.Event",
    on_line: Callable[[JobNode, str], None] | None = None,
) -> "RunEnd":
    """Run the jobs whose results are not known, in copies of the tree; their results are kept."""
    import asyncio

    from openbell.hosts.pipeline import drive
    from openbell.wiring.durations import plan_by_durations, remember_durations
    from openbell.wiring.eviction import evict
    from openbell.wiring.jobs import LocalJobRunner
    from openbell.wiring.left_secrets import without_secrets
    from openbell.wiring.leftovers import end_leftovers
    from openbell.wiring.reports import ReportReader
    from openbell.wiring.shared_store import is_untrusted
    from openbell.wiring.trace import job_environment

    store = Store(prepared.place.state.store)
    workplace, shared = prepared.workplace, prepared.shared

    def keep(node: JobNode, result: JobResult, log: Path) -> None:
        good = result.outcome in ("success", "not-checked") and result.reports.may_be_kept
        if node.job.cache and good and not is_untrusted():
            stored = Stored(workplace.run, time.time(), result)
            manifest = without_secrets(prepared.manifests[node.id], node.job)
            store.keep(stored, manifest, log)
            if shared:
                shared.leave(node, stored, manifest, log)

    if prepared.request.gather:
        from openbell.wiring.shared_run import Gathered

        state = plan_run(prepared.graph, len(prepared.graph))
        return await drive(state, prepared.hits, Gathered(prepared.taken), observer, cancel=cancel)
    left = [node for node in prepared.graph if node.id not in prepared.hits]
    runner = LocalJobRunner(
        workplace, store, prepared.inputs, known=prepared.known, on_line=on_line, keep=keep,
        env_of=lambda node: job_environment(prepared, node.id),
        reader=ReportReader.of_run(prepared.place, prepared.finder),
        only=left[0].id if len(left) == 1 and not left[0].job.retries else "",
    )  # fmt: skip
    runs: JobRunner = runner
    if any(node.job.regression_max_pct is not None for node in prepared.graph if node.id not in prepared.hits):
        runs = comparer(prepared, others=runner)
    state = plan_by_durations(prepared.graph, slots(prepared), prepared.place.state)
    try:
        await asyncio.to_thread(end_leftovers)
        await asyncio.to_thread(git.lay_out, prepared.snapshot, workplace.tree)
        runner.values |= await asyncio.to_thread(lay_out_history, prepared.graph, prepared.snapshot, workplace)
        with store.in_use():
            end = await drive(state, prepared.hits, runs, observer, cancel=cancel)
        remember_durations(end.results, prepared.place.state)
        return end
    finally:
        if shared:
            await asyncio.to_thread(shared.close)
        with contextlib.suppress(AdapterError):  # What cannot be removed now harms no run; the next one tries again.
            await asyncio.to_thread(evict, prepared.place)
        for folder in (workplace.tree, workplace.folder / "work"):
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def comparer(
    prepared: PreparedRun,
    *,
    base: str | None = None,
    others: "LocalJobRunner | None" = None,
    on_round: Callable[[int, "tuple[Comparison, ...]"], None] | None = None,
) -> "BenchmarkComparer":
    """Make what compares a run's benchmarks with those of a base; it tells nobody of a single round."""
    from openbell.wiring.benchmarks import BenchmarkComparer
    from openbell.wiring.jobs import LocalJobRunner

    store = Store(prepared.place.state.store)
    return BenchmarkComparer(
        lambda workplace, inputs: LocalJobRunner(workplace, store, inputs),
        prepared.workplace,
        prepared.inputs,
        seen=prepared.snapshot,
        base=(lambda: base) if base else prepared.finder.base,
        on_round=on_round,
        others=others,
    )


def build_release(prepared: PreparedRun, results: Sequence[JobResult]) -> tuple[releases.ReleaseBuilt | None, str]:
    """Write the release of a successful run, if it is one that releases; say why there is none, or what it lacks."""
    if not prepared.plan.releases:
        return None, ""
    if prepared.request.narrowed:
        return None, "No release: only a part of the pipeline ran."
    if prepared.snapshot.dirty:
        return None, "No release: the working tree has changes, and a release is built from a commit only."
    if not any(result.stage == "build" for result in results):
        return None, "No release: no job has stage build."
    release, outputs = releases.compose(prepared.place, prepared.snapshot, results)
    releases.write(prepared.place, prepared.snapshot, release, outputs, results)
    # A scanner builds nothing: what it could not check is said with its job, and in the release's evidence.
    builders = {name for name, job in prepared.place.project.jobs.items() if job.reports.sarif is None}
    left = [r for r in results if r.stage == "build" and r.outcome == "not-checked" and r.name in builders]
    missing = [f"{r.id} ({r.reason})" for r in left]
    note = f"The release lacks what these would have built: {', '.join(missing)}." if missing else ""
    return releases.describe(release, prepared.snapshot, prepared.plan.trigger, prepared.workplace.run), note


def document(
    prepared: PreparedRun,
    outcome: RunOutcome,
    results: Sequence[JobResult],
    *,
    release: str | None = None,
    deployments: Sequence[Deployment] = (),
    notes: Sequence[str] = (),
    findings: RunFindings | None = None,
    diagnoses: Mapping[str, Diagnosis] | None = None,
) -> RunDocument:
    """Write down what a run was; the outcome of its deployments is part of its own."""
    duration_s = time.monotonic() - prepared.began_s
    begin_at_s = time.time() - duration_s
    times = times_of_results(prepared.graph, results, begin_at_s)
    jobs = tuple(
        JobDocument(
            r.id, r.stage, r.outcome, r.reason, r.duration_s, r.fingerprint, r.from_run,
            prepared.place.project.jobs[r.name].allow_failure, r.attempts, r.flaky,
            diagnosis=(diagnoses or {}).get(r.id), times=times.get(r.id),
        )
        for r in results
    )  # fmt: skip
    told = prepared.shared.notes if prepared.shared else ()
    final: Literal["success", "failure", "cancelled", "waiting"] = outcome
    if outcome == "success" and any(d.outcome in ("rolled-back", "failed") for d in deployments):
        final = "failure"
    elif outcome == "success" and any(d.outcome == "waiting" for d in deployments):
        final = "waiting"
    return RunDocument(
        prepared.workplace.run, prepared.plan.trigger.kind, prepared.plan.trigger.ref, prepared.snapshot.commit.id,
        bool(prepared.snapshot.dirty), final, release, round(duration_s, 3), jobs,
        tuple(deployments), (*notes, *told), findings, prepared.resumes, prepared.repeats,
        superseded_by(prepared.workplace.folder) if final == "cancelled" else "",
        begin_at_s=round(begin_at_s, 3), parallel=slots(prepared),
    )  # fmt: skip


def save(prepared: PreparedRun, found: RunDocument) -> None:
    """Keep the document beside the logs, and forget the oldest runs."""
    try:
        (prepared.workplace.folder / "run.json").write_bytes(msgspec.json.encode(found))
    except OSError as error:
        raise unrecordable(prepared.place, error) from error
    folder = prepared.workplace.folder.parent
    runs = sorted((entry.stat().st_mtime, entry.path) for entry in os.scandir(folder) if entry.is_dir())
    for _, path in runs[: max(0, len(runs) - RUNS_KEPT)]:
        shutil.rmtree(path, ignore_errors=True)


def load_run(place: OpenProject, run: str) -> RunDocument | None:
    """Return the document of a run by its name, or None; "last" is the newest."""
    folder = place.state.root / "runs"
    if run == "last" and folder.is_dir():
        done = [(path.stat().st_mtime, path.parent.name) for path in folder.glob("*/run.json")]
        run = max(done)[1] if done else run
    try:
        return msgspec.json.decode((place.state.run(run) / "run.json").read_bytes(), type=RunDocument)
    except (OSError, msgspec.DecodeError):
        return None
