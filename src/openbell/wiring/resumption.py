"""Going on with a run that failed or was interrupted, and doing an old run again: the same commit, the same request,
the same configuration, all taken from the record of that run.

A resumed run takes what passed from the run that it resumes, also results that are never cached: they are results of
the same commit. Only what has the same fingerprint still, and whose upstream is taken as well, is taken. A repeated run
takes nothing, neither from there nor from the store. A tree that had changes must have them still.
"""

import msgspec

from openbell.adapters import git
from openbell.adapters.store import Store
from openbell.adapters.toml import assemble, parse
from openbell.core.fingerprint import printable_path
from openbell.core.pipeline import JobResult
from openbell.core.trigger import Plan, plan
from openbell.ports import AdapterError
from openbell.wiring import run_record
from openbell.wiring.pipeline import PreparedRun, UsageError, prepare
from openbell.wiring.project import OpenProject
from openbell.wiring.run_record import RunRecord

NAMED_MAX = 3
_ENDED_WELL = {
    "success": "run {run} succeeded, so there is nothing to go on with. Do it again with: openbell run --again {run}",
    "waiting": "run {run} waits for a person; its jobs have passed. See: openbell status",
    "running": "run {run} is still carried out, by process {pid}. Wait for it, or interrupt it.",
}


def find(place: OpenProject, run: str | None) -> RunRecord:
    """Return the record of a run, the newest without a name; raises `UsageError` when there is none."""
    for name in [run] if run else run_record.newest_first(place.state):
        record = run_record.read(place.state, name)
        if record is not None:
            return record
    what = f'run "{run}"' if run else "run"
    raise UsageError(f"there is no {what} with a record in {place.state.root}. See: openbell runs")


def resume(place: OpenProject, record: RunRecord, *, parallel: int = 0) -> PreparedRun:
    """Prepare what is left of a run. Raises `UsageError` when nothing is, or its tree is not there any more."""
    began = record.began
    if refusal := _ENDED_WELL.get(record.state):
        raise UsageError(refusal.format(run=began.run, pid=began.pid))
    prepared = _prepare(place, record, parallel=parallel, use_cache=began.request.use_cache)
    taken = _take(prepared, record)
    return msgspec.structs.replace(
        prepared,
        hits={**prepared.hits, **taken},
        known={**prepared.known, **taken},
        misses={node.id: _why_again(node.id, prepared, record) for node in prepared.graph if node.id not in taken},
        resumes=began.run,
    )


def repeat(place: OpenProject, record: RunRecord, *, parallel: int = 0) -> PreparedRun:
    """Prepare a run that does an old one again. Raises `UsageError` when its tree is not there any more."""
    if record.state == "running":
        raise UsageError(_ENDED_WELL["running"].format(run=record.began.run, pid=record.began.pid))
    prepared = _prepare(place, record, parallel=parallel, use_cache=False)
    return msgspec.structs.replace(prepared, repeats=record.began.run)


def introduction(prepared: PreparedRun) -> str:
    """Say what a run that goes on with another, or does it again, is about to do; empty for any other run."""
    if prepared.repeats:
        return f"Does run {prepared.repeats} again: the same commit, request and configuration; nothing is reused."
    if not prepared.resumes:
        return ""
    left = [node.short for node in prepared.graph if node.id not in prepared.hits]
    passed = len(prepared.graph) - len(left)
    what = f"runs {', '.join(left)}" if left else "no job is left"
    return f"Goes on with run {prepared.resumes}: {passed} of {len(prepared.graph)} jobs have passed; {what}."


def why_not_to_deploy(prepared: PreparedRun) -> str:
    """Say why a run is not to deploy: an old release must not come back because somebody looks at its jobs again."""
    trigger, commit = prepared.plan.trigger, prepared.snapshot.commit
    if prepared.repeats:
        return "a run that is done again deploys nothing"
    if trigger.ref_kind == "commit":
        return ""
    try:
        found, _ = git.resolve(prepared.place.root, trigger.ref)
    except AdapterError:
        return f"{trigger.ref} is gone"
    return "" if found == commit.id else f"{trigger.ref} is at {found[:7]} now"


def _prepare(place: OpenProject, record: RunRecord, *, parallel: int, use_cache: bool) -> PreparedRun:
    began = record.began
    then = OpenProject(place.root, assemble([parse(text.name, text.text) for text in began.configuration]), place.state)
    request = msgspec.structs.replace(began.request, parallel=parallel or began.request.parallel, use_cache=use_cache)
    return prepare(then, request, _basis(then, record))


def _basis(place: OpenProject, record: RunRecord) -> tuple[git.Snapshot, Plan]:
    began = record.began
    seen = git.snapshot(place.root, commit=began.commit)
    if began.changed:
        found = git.snapshot(place.root, index=place.state.index(place.root))
        _refuse_another_tree(record, seen, found)
        seen = found
    return seen, plan(place.project, began.trigger)


def _refuse_another_tree(record: RunRecord, committed: git.Snapshot, found: git.Snapshot) -> None:
    began = record.began
    if found.commit.id != began.commit:
        raise UsageError(
            f"run {began.run} was of commit {began.commit[:7]} with changes, and {found.commit.short} is checked out. "
            f"Check {began.commit[:7]} out with the same changes, or begin anew: openbell run"
        )
    then = {printable_path(path): entry for path, entry in committed.files.items()} | began.changed
    now = {printable_path(path): entry for path, entry in found.files.items()}
    differ = [path for path in sorted({**then, **now}) if then.get(path, "") != now.get(path, "")]
    if differ:
        more = f" and {len(differ) - NAMED_MAX} more" if len(differ) > NAMED_MAX else ""
        raise UsageError(
            f"the working tree is not the one of run {began.run}: {', '.join(differ[:NAMED_MAX])}{more} changed since. "
            "Restore it, or begin anew: openbell run"
        )


def _take(prepared: PreparedRun, record: RunRecord) -> dict[str, JobResult]:
    """Take what passed, in the order of the graph: what stands on a result that is not taken is not taken either."""
    store = Store(prepared.place.state.store)
    left = {node.id: True for node in prepared.graph if node.id not in prepared.hits}
    taken: dict[str, JobResult] = {}
    for node in prepared.graph:
        result = record.results.get(node.id)
        upstream = prepared.manifests[node.id].upstream
        if (
            result is not None
            and result.outcome in ("success", "cached")
            and result.fingerprint == prepared.inputs[node.id].fingerprint
            and not any(need in left and need not in taken for need in upstream)
            and store.holds(result.outputs)
        ):
            run = result.from_run or record.began.run
            taken[node.id] = msgspec.structs.replace(
                result, outcome="cached", reason=f"passed in run {run}", from_run=run, duration_s=0.0
            )
    return taken


def _why_again(id_: str, prepared: PreparedRun, record: RunRecord) -> str:
    """Say why a job runs again: how it ended then, or what has changed since it passed."""
    result = record.results.get(id_)
    if result is None:
        return f"was not done in run {record.began.run}"
    if result.outcome in ("success", "cached"):
        return prepared.misses.get(id_, f"what it left in run {record.began.run} is gone")
    words = {"skipped": "was not run", "timeout": "took too long", "not-checked": "could not check"}
    return f"{words.get(result.outcome, 'failed')} in run {record.began.run}"
