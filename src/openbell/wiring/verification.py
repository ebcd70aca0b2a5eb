"""Whether results that are reused are what their jobs would leave now: a sample of hits is executed again and compared.

A difference means that a job depends on something that is not in its fingerprint (time, the network, chance, a file of
this machine), so that its result must not be reused: it declares more, or says `cache = false`. Nothing that is
executed here is kept as a result.
"""

import asyncio
import random
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from openbell.adapters import git
from openbell.adapters.store import Store
from openbell.core.pipeline import JobNode, JobResult
from openbell.core.report import Reports
from openbell.core.schedule import plan_run
from openbell.hosts.pipeline import drive
from openbell.wiring.jobs import LocalJobRunner
from openbell.wiring.leftovers import end_leftovers
from openbell.wiring.pipeline import Examined, RunRequest, UsageError, examine
from openbell.wiring.project import OpenProject
from openbell.wiring.reports import ReportReader
from openbell.wiring.surroundings import Workplace

SAMPLE = 3


class VerifiedJob(msgspec.Struct, frozen=True):
    """What came of one reused result: the run it is from, and how it differs from what the job leaves now."""

    job: str
    outcome: Literal["same", "differs"]
    run: str
    fingerprint: str
    differences: tuple[str, ...] = ()
    folder: str = ""


class Verification(msgspec.Struct, frozen=True):
    """`openbell verify --json`; described in docs/schema/verify.json."""

    outcome: Literal["same", "differs", "nothing"]
    jobs: tuple[VerifiedJob, ...]
    known: int
    executed: int


class Unobserved:
    """Watches nothing: a verification tells its results itself."""

    def job_started(self, node: JobNode, attempt: int) -> None:
        """Nothing is told."""

    def job_ended(self, result: JobResult) -> None:
        """Nothing is told."""


async def verify(
    place: OpenProject,
    request: RunRequest,
    *,
    sample: int | None = SAMPLE,
    seed: int = 0,
    cancel: asyncio.Event,
    on_job: Callable[[VerifiedJob], None],
) -> Verification:
    """Execute a sample of the results that would be reused (None: all of them), and compare.

    The same seed takes the same sample of the same results. Raises `UsageError` (an unknown job) and `AdapterError`.
    """
    examined = await asyncio.to_thread(examine, place, request)
    if examined.shared:
        await asyncio.to_thread(examined.shared.close)
    verifiable = [node for node in examined.graph if _is_hit(examined.known.get(node.id))]
    if request.jobs and not verifiable:
        raise UsageError(f"no result of {', '.join(request.jobs)} would be reused. Run it first: openbell run")
    chosen = verifiable
    if sample is not None and sample < len(verifiable):
        picked = random.Random(seed).sample(range(len(verifiable)), sample)  # noqa: S311 (nothing is to be kept secret)
        chosen = [verifiable[at] for at in sorted(picked)]
    (place.state.root / "verify").mkdir(exist_ok=True, mode=0o700)
    folder = Path(tempfile.mkdtemp(dir=place.state.root / "verify"))
    done: list[VerifiedJob] = []
    try:
        await asyncio.to_thread(end_leftovers)
        if chosen:
            await asyncio.to_thread(git.lay_out, examined.snapshot, folder / "tree")
        with Store(place.state.store).in_use():
            for node in chosen:
                if cancel.is_set():
                    break
                done.append(await _verify_one(place, examined, node, folder, cancel))
                on_job(done[-1])
    finally:
        await asyncio.to_thread(shutil.rmtree, folder / "tree", ignore_errors=True)
        if all(one.outcome == "same" for one in done):
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    differs = any(one.outcome == "differs" for one in done)
    outcome: Literal["same", "differs", "nothing"] = "differs" if differs else "same" if done else "nothing"
    return Verification(outcome, tuple(done), len(verifiable), len(done))


def _is_hit(result: JobResult | None) -> bool:
    return result is not None and result.outcome == "cached"


async def _verify_one(
    place: OpenProject, examined: Examined, node: JobNode, folder: Path, cancel: asyncio.Event
) -> VerifiedJob:
    """Execute one job on what its needs left according to the store, and compare."""
    kept = examined.known[node.id]
    workplace = Workplace(folder.name, folder, folder / "tree", place.state.root / "cache", examined.path)
    reader = ReportReader(place.project.quarantine, changes=examined.finder.find)
    runner = LocalJobRunner(
        workplace, Store(place.state.store), examined.inputs, known=dict(examined.known), reader=reader
    )
    alone = msgspec.structs.replace(node, needs=())
    end = await drive(plan_run((alone,), 1), {}, runner, Unobserved(), cancel=cancel)
    differences = compare_results(kept, end.results[0])
    return VerifiedJob(
        node.id, "differs" if differences else "same", kept.from_run, kept.fingerprint, differences,
        str(workplace.out(node)) if differences else "",
    )  # fmt: skip


def compare_results(kept: JobResult, found: JobResult) -> tuple[str, ...]:
    """Say how a result differs from the one that is kept: outcome, outputs, numbers in reports. Times never count."""
    if found.outcome != "success":
        return (f"it passed in run {kept.from_run}, and now: {found.outcome}, {found.reason}",)
    return (*_compare_outputs(kept, found), *_compare_counts(kept.reports, found.reports))


def _compare_outputs(kept: JobResult, found: JobResult) -> list[str]:
    before = {output.path: (output.sha256, output.executable) for output in kept.outputs}
    after = {output.path: (output.sha256, output.executable) for output in found.outputs}
    parts = []
    for path in sorted({**before, **after}):
        if path not in after:
            parts.append(f"output {path} is not made any more")
        elif path not in before:
            parts.append(f"output {path} is new")
        elif before[path] != after[path]:
            what = "has other contents" if before[path][0] != after[path][0] else "is executable in one only"
            parts.append(f"output {path} {what}")
    return parts


def _compare_counts(kept: Reports, found: Reports) -> list[str]:
    before, after = _counts(kept), _counts(found)
    names = dict.fromkeys([*before, *after])
    return [
        f"{name}: {before.get(name, 'none')} then, {after.get(name, 'none')} now"
        for name in names
        if before.get(name) != after.get(name)
    ]


def _counts(reports: Reports) -> Mapping[str, int | str]:
    counts: dict[str, int | str] = {}
    if reports.tests:
        counts |= {"tests": reports.tests.total, "skipped tests": reports.tests.skipped}
    if reports.findings:
        counts |= {f"findings ({severity})": count for severity, count in reports.findings.counts.items() if count}
    if reports.coverage:
        counts["coverage"] = f"{reports.coverage.lines_pct:.1f} %"
    return counts


def words(found: Verification) -> Sequence[str]:
    """Say in a line or two what a verification found."""
    if found.outcome == "nothing":
        return ("Nothing to verify: no result would be reused.",)
    of = f"{found.executed} of {found.known} results that would be reused"
    if found.outcome == "same":
        return (f"{of}: executed again, and the same.",)
    bad = [one.job for one in found.jobs if one.outcome == "differs"]
    return (
        f"{of}: executed again; {len(bad)} differ: {', '.join(bad)}.",
        "What such a job depends on is not in its fingerprint: declare it (inputs, env, tools), or say cache = false.",
    )
