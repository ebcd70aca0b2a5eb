"""Why a job's result would be reused, or not: the difference of two manifests."""

from typing import Literal

import msgspec

from openbell.adapters.store import Store
from openbell.core.fingerprint import Difference, Manifest, compare
from openbell.core.pipeline import JobNode
from openbell.wiring.pipeline import Examined, RunRequest, UsageError, examine, load_run
from openbell.wiring.project import OpenProject


class Explanation(msgspec.Struct, frozen=True):
    """Why one job would run or not. `against` is the run whose manifest the differences are to, if there is one."""

    job: str
    outcome: Literal["hit", "miss"]
    reason: str
    fingerprint: str
    against: str
    differences: tuple[Difference, ...]
    files: int
    tools: dict[str, str]
    env: tuple[str, ...]
    jobs: tuple[str, ...]


class Explained(msgspec.Struct, frozen=True):
    """`openbell explain --json`; described in docs/schema/explain.json."""

    commit: str
    dirty: bool
    jobs: tuple[Explanation, ...]


def explain(place: OpenProject, request: RunRequest, *, against: str | None = None) -> Explained:
    """Explain each job that a request asks for; nothing is run.

    With `against`, a run's name, differences are to that run; otherwise to the last result of the job that was kept.
    Raises `UsageError` for a job or a run that is not there, and `AdapterError`.
    """
    examined = examine(place, request)
    if examined.shared:
        examined.shared.close()
    store = Store(place.state.store)
    jobs = tuple(_explain(place, examined, store, node, against) for node in examined.graph)
    return Explained(examined.snapshot.commit.id, bool(examined.snapshot.dirty), jobs)


def _explain(place: OpenProject, examined: Examined, store: Store, node: JobNode, against: str | None) -> Explanation:
    manifest, known = examined.manifests[node.id], examined.known.get(node.id)
    before, name = _before(place, store, node, against) if against or known is None else (None, "")
    return Explanation(
        job=node.id,
        outcome="hit" if known else "miss",
        reason=known.reason if known else examined.misses[node.id],
        fingerprint=examined.inputs[node.id].fingerprint,
        against=name,
        differences=compare(before, manifest) if before else (),
        files=len(manifest.files),
        tools=manifest.tools,
        env=tuple(sorted(manifest.env)),
        jobs=tuple(manifest.upstream),
    )


def _before(place: OpenProject, store: Store, node: JobNode, against: str | None) -> tuple[Manifest | None, str]:
    """Find the manifest to compare with, and the run that it is of."""
    if against is None:
        latest = store.latest(node.id)
        found = store.find(latest) if latest else None
        return (store.manifest(latest), found.run) if latest and found else (None, "")
    run = load_run(place, against)
    if run is None:
        raise UsageError(f'there is no run "{against}". See: openbell log')
    entry = next((job for job in run.jobs if job.name == node.id), None)
    if entry is None:
        raise UsageError(f'run {run.run} has no job "{node.id}". It has: {", ".join(job.name for job in run.jobs)}.')
    manifest = store.manifest(entry.fingerprint)
    if manifest is None:
        raise UsageError(
            f"the manifest of {node.id} in run {run.run} is not kept: {entry.outcome}. Failures never are."
        )
    return manifest, run.run
