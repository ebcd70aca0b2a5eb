"""One run on several machines: what each job leaves for the others, and what they take.

A folder that goes from machine to machine holds, for each job that has ended:

    jobs/SLUG.json     its result, and of which commit it is
    logs/SLUG.log      what it printed
    reports/SLUG/      the reports it wrote, as it wrote them
    objects/           contents of its outputs, by hash

Folders of several jobs can be laid over each other. A result is taken as it is, a failure too; only one of the same
commit counts. Whoever can write to the folder can decide the run: carry it within one run of a trusted system only.
"""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from openbell.adapters.store import Store, Stored
from openbell.core.fingerprint import Manifest
from openbell.core.masking import Masker
from openbell.core.pipeline import JobNode, JobResult, Output
from openbell.ports import AdapterError
from openbell.wiring.surroundings import Inputs, Workplace

if TYPE_CHECKING:
    import asyncio

    from openbell.wiring.pipeline import PreparedRun, RunRequest

SYSTEM = "openbell"
ALLOWED = "allowed to fail: "


class Left(msgspec.Struct, frozen=True):
    """What a job left: its result, of which commit, when (Unix seconds), and what it depended on."""

    commit: str
    at_s: float
    run: str
    result: JobResult
    manifest: Manifest


def leave(prepared: "PreparedRun", results: Sequence[JobResult]) -> None:
    """Leave the results of a run where its request says; of jobs that did not run there is nothing to leave."""
    if prepared.request.leave is None:
        return
    nodes = {node.id: node for node in prepared.graph}
    ended = [
        (nodes[result.id], result, prepared.manifests[result.id]) for result in results if result.outcome != "skipped"
    ]
    secrets = {name: os.environ.get(name, "") for node in prepared.graph for name in node.job.secrets}
    store, folder = Store(prepared.place.state.store), Path(prepared.request.leave)
    _leave(folder, prepared.snapshot.commit.id, prepared.workplace, store, ended, secrets=secrets)


def receive(
    request: "RunRequest",
    commit: str,
    store: Store,
    *,
    full: Sequence[JobNode],
    graph: Sequence[JobNode],
    inputs: Mapping[str, Inputs],
) -> dict[str, JobResult]:
    """Take what other machines left of this run, and what this one's predecessor left of an earlier run."""
    if request.leave and request.use_cache:
        _reuse(Path(request.leave), store, graph, {id_: found.fingerprint for id_, found in inputs.items()})
    if request.take is None:
        return {}
    asked = {node.id: True for node in graph}
    return _take(Path(request.take), commit, store, [node for node in full if request.gather or node.id not in asked])


def _leave(
    folder: Path,
    commit: str,
    workplace: Workplace,
    store: Store,
    ended: Sequence[tuple[JobNode, JobResult, Manifest]],
    *,
    secrets: Mapping[str, str],
) -> None:
    """Write down how jobs ended, with all that others may want of it; what is there of an earlier time is replaced."""
    objects = Store(folder)
    for node, result, manifest in ended:
        known = store.find(result.fingerprint) if result.outcome == "cached" else None
        at_s = known.at_s if known else time.time()
        with _refused("leave", folder):
            for output in result.outputs:
                _carry(output, store, objects)
            _leave_texts(folder, node, workplace, Masker(secrets[name] for name in node.job.secrets))
            left = Left(commit, at_s, result.from_run or workplace.run, result, manifest)
            file = folder / "jobs" / f"{node.slug}.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(msgspec.json.encode(left))


def _leave_texts(folder: Path, node: JobNode, workplace: Workplace, masker: Masker) -> None:
    """Copy log and reports; of a job that did not run here, those stay that came with its result."""
    log, out = workplace.log(node), workplace.out(node)
    if not log.exists():
        return
    target = folder / "logs" / log.name
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(log, target)
    reports = folder / "reports" / node.slug
    shutil.rmtree(reports, ignore_errors=True)
    for name in (name for name in msgspec.structs.astuple(node.job.reports) if name):
        source = out / name
        if source.is_file() and not source.is_symlink():
            (reports / name).parent.mkdir(parents=True, exist_ok=True)
            text = source.read_text(encoding="utf-8", errors="surrogateescape")
            (reports / name).write_text(masker.mask(text), encoding="utf-8", errors="surrogateescape")


def _take(folder: Path, commit: str, store: Store, nodes: Sequence[JobNode]) -> dict[str, JobResult]:
    """Take the results of jobs from a folder, and their outputs into the store; what is not whole counts as not there.

    Raises `AdapterError` for a folder of another commit: its results would decide about this one.
    """
    taken = {}
    for node in nodes:
        left = _read(folder, node)
        if left is None:
            continue
        if left.commit != commit:
            message = f"{folder} has the result of {node.id} for commit {left.commit[:7]}; this is {commit[:7]}."
            raise AdapterError(SYSTEM, "take", message, effect="not_applied")
        if _take_outputs(left.result, folder, store):
            taken[node.id] = left.result
    return taken


def _reuse(folder: Path, store: Store, nodes: Sequence[JobNode], fingerprints: Mapping[str, str]) -> None:
    """Keep successes of an earlier run, left in a folder, in the store, if they have the fingerprint that is wanted."""
    for node in nodes:
        left = _read(folder, node)
        if left is None or left.result.fingerprint != fingerprints[node.id] or not node.job.cache:
            continue
        if left.result.outcome in ("success", "cached") and store.find(left.result.fingerprint) is None:
            if not _take_outputs(left.result, folder, store):
                continue
            result = msgspec.structs.replace(left.result, outcome="success", from_run="")
            store.keep(Stored(left.run, left.at_s, result), left.manifest, folder / "logs" / f"{node.slug}.log")


def _read(folder: Path, node: JobNode) -> Left | None:
    try:
        left = msgspec.json.decode((folder / "jobs" / f"{node.slug}.json").read_bytes(), type=Left)
    except (OSError, msgspec.DecodeError):
        return None
    return left if left.result.id == node.id else None


def _take_outputs(result: JobResult, folder: Path, store: Store) -> bool:
    """Carry a result's outputs into the store; False when one is missing or is not what its hash says."""
    try:
        for output in result.outputs:
            _carry(output, Store(folder), store)
    except AdapterError:
        return False
    return True


def _carry(output: Output, source: Store, target: Store) -> None:
    """Copy one content from store to store; it is checked against its hash on the way."""
    with tempfile.TemporaryDirectory(prefix="openbell-carry-") as folder:
        target.add(source.fetch(output, Path(folder)), output.path)


@contextlib.contextmanager
def _refused(operation: str, folder: Path) -> Iterator[None]:
    """Turn what the file system refuses into an error that says where."""
    try:
        yield
    except OSError as error:
        message = f"{error.strerror or error} in {folder}. Free space, or name another folder."
        raise AdapterError(SYSTEM, operation, message, effect="not_applied") from error


class Gathered:
    """Runs nothing: says of each job how it ended elsewhere. A `JobRunner`."""

    def __init__(self, taken: Mapping[str, JobResult]) -> None:
        self.taken = taken

    async def run(self, node: JobNode, attempt: int, stop: "asyncio.Event") -> JobResult:
        """Return the result that was taken; a job that left none has failed."""
        del attempt, stop
        found = self.taken.get(node.id)
        if found is None:
            reason = "left no result: its machine did not get that far"
            return JobResult(node.id, node.name, node.stage, "failure", reason)
        return msgspec.structs.replace(found, reason=found.reason.removeprefix(ALLOWED))
