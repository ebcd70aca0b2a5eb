"""A job of benchmarks beside itself: in the tree of the commit, and in that of its base, by turns.

The job is that of the commit on both sides; only the tree differs. What only one side measures cannot be compared, and
is named.
"""

import asyncio
import random
import shutil
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import msgspec

from openbell.adapters import git
from openbell.core.pipeline import JobNode, JobResult
from openbell.core.regression import LOOKS, REGRESSION_MAX_PCT, BenchDocument, Comparison, Verdict, compare_all, sum_up
from openbell.core.report import Outcome
from openbell.ports import AdapterError
from openbell.wiring.jobs import LocalJobRunner
from openbell.wiring.reports import write_down
from openbell.wiring.surroundings import Inputs, Workplace, select_files

MakeRunner = Callable[[Workplace, Mapping[str, Inputs]], LocalJobRunner]
MakeSide = Callable[[], LocalJobRunner]
OUTCOMES: dict[Verdict, Outcome] = {
    "no slower": "success",
    "slower": "failure",
    "undecided": "not-checked",
    "failed": "failure",
}


class _Found(msgspec.Struct, frozen=True):
    """What a comparison came to, and how the job ended last on the candidate's side."""

    verdict: Verdict
    reason: str
    benchmarks: tuple[Comparison, ...] = ()
    only_here: tuple[str, ...] = ()
    last: JobResult | None = None


class BenchmarkComparer:
    """Compares jobs of benchmarks with a base; a `JobRunner` that leaves jobs without `regression_max_pct` to another.

    `make` makes what runs a job in a workplace, `base` finds the commit to compare with, `on_round` hears of progress.
    """

    def __init__(
        self,
        make: MakeRunner,
        workplace: Workplace,
        inputs: Mapping[str, Inputs],
        *,
        seen: git.Snapshot,
        base: Callable[[], str | None],
        on_round: Callable[[int, tuple[Comparison, ...]], None] | None = None,
        others: LocalJobRunner | None = None,
    ) -> None:
        self.make = make
        self.workplace = workplace
        self.inputs = inputs
        self.seen = seen
        self.base = base
        self.on_round = on_round
        self.others = others

    async def run(self, node: JobNode, attempt: int, stop: asyncio.Event) -> JobResult:
        """Run one attempt of a job; one with `regression_max_pct` beside its base."""
        if node.job.regression_max_pct is None and self.others is not None:
            return await self.others.run(node, attempt, stop)
        began_s = time.monotonic()
        found = await self._compare(node, await asyncio.to_thread(self.base), stop)
        last = found.last or JobResult(node.id, node.name, node.stage, "not-checked")
        result = msgspec.structs.replace(
            last,
            outcome=OUTCOMES[found.verdict],
            reason=found.reason,
            fingerprint=self.inputs[node.id].fingerprint,
            attempts=attempt,
            duration_s=round(time.monotonic() - began_s, 3),
            reports=msgspec.structs.replace(last.reports, comparisons=found.benchmarks),
        )
        if found.benchmarks:
            await asyncio.to_thread(write_down, node, result.reports, self.workplace)
        if self.others is not None:
            await self.others.end(node, result, stop)
        return result

    async def compare(self, node: JobNode, stop: asyncio.Event) -> BenchDocument:
        """Run a job on both sides by turns until every benchmark is decided, or its rounds are over."""
        base = await asyncio.to_thread(self.base)
        found = await self._compare(node, base, stop)
        return BenchDocument(
            node.id, self.seen.commit.id, base or "", _bound_pct(node), found.verdict, found.reason, found.benchmarks,
            found.only_here,
        )  # fmt: skip

    async def _compare(self, node: JobNode, base: str | None, stop: asyncio.Event) -> _Found:
        if base is None:
            return _Found("undecided", "there is no commit before this one to compare with")
        folder = self.workplace.folder / "base" / node.slug
        try:
            before = await asyncio.to_thread(self._lay_out_base, node, base, folder)
            return await self._rounds(node, before, partial(self.make, self.workplace, self.inputs), stop)
        except AdapterError as error:
            return _Found("undecided", f"the base {base[:7]} cannot be compared with: {error.message}")
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    def _lay_out_base(self, node: JobNode, base: str, folder: Path) -> MakeSide:
        seen = git.snapshot(self.seen.root, commit=base)
        workplace = msgspec.structs.replace(self.workplace, folder=folder, tree=folder / "tree")
        git.check_out(self.seen.root, base, workplace.tree)
        files = tuple(select_files(list(seen.files), node.job.inputs))
        return partial(self.make, workplace, {node.id: Inputs("", files)})

    async def _rounds(self, node: JobNode, before: MakeSide, candidate: MakeSide, stop: asyncio.Event) -> _Found:
        generator = random.Random(0)  # noqa: S311 - the draws of a bootstrap: the same times give the same verdict
        rounds: list[tuple[dict[str, float], dict[str, float]]] = []
        found: tuple[Comparison, ...] = ()
        last: JobResult | None = None
        while len(rounds) < node.job.rounds_max:
            times: dict[bool, dict[str, float]] = {}
            # By turns, so that neither side always runs on the warmer machine.
            for is_base in (True, False) if len(rounds) % 2 == 0 else (False, True):
                # A runner remembers earlier attempts at a job; each of these is the first.
                ended = await (before if is_base else candidate)().run(node, 1, stop)
                last = last if is_base else ended
                if ended.outcome != "success":
                    words = f"the base cannot be measured: {ended.reason}" if is_base else ended.reason
                    return _Found("undecided" if is_base else "failed", words, found, last=last)
                times[is_base] = {one.name: one.median_s for one in ended.reports.benchmarks or ()}
            rounds.append((times[True], times[False]))
            if len(rounds) in LOOKS or len(rounds) == node.job.rounds_max:
                found = compare_all(
                    rounds,
                    regression_max_pct=_bound_pct(node),
                    resample=lambda count: generator.choices(range(count), k=count),
                )
                if self.on_round:
                    self.on_round(len(rounds), found)
                if all(one.decision != "undecided" for one in found):
                    break
        compared = {one.name: True for one in found}
        only_here = tuple(name for name in rounds[-1][1] if name not in compared)
        verdict, reason = sum_up(found, only_here, regression_max_pct=_bound_pct(node))
        return _Found(verdict, reason, found, only_here, last)


def _bound_pct(node: JobNode) -> float:
    bound_pct = node.job.regression_max_pct
    return REGRESSION_MAX_PCT if bound_pct is None else bound_pct
