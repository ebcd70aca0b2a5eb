"""`openbell bench`: are the benchmarks slower than those of another commit? Measured here, by turns."""

import asyncio
import shutil
import sys
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter

from openbell.adapters import git
from openbell.cli.interruption import calling
from openbell.cli.refusals import REFUSALS, refuse
from openbell.cli.terminal import DONE, FAILED, INTERRUPTED, complain, print_json, say
from openbell.core.regression import BenchDocument, Comparison
from openbell.wiring import pipeline
from openbell.wiring.pipeline import PreparedRun, RunRequest, UsageError
from openbell.wiring.project import OpenProject, open_project

CANNOT = 75
"""Nothing is wrong with the commit: this machine cannot tell now."""

CODES = {"no slower": DONE, "slower": FAILED, "failed": FAILED, "undecided": CANNOT}


def bench(
    base: str | None = None,
    /,
    *,
    job: str | None = None,
    rounds: int | None = None,
    policy: list[str] | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Compare the benchmarks of the tree that is checked out with those of another commit.

    Both are run by turns on this machine until it is certain (to 99 %) whether each benchmark is slower by more than
    the job's `regression_max_pct` (10 without one), or the rounds are over. Exit code 1: one is slower; 75: undecided.

    Parameters
    ----------
    base
        The branch, tag or commit to compare with; by default where this branch left, or the commit before.
    job
        The job; the one with reports of benchmarks by default.
    rounds
        How often both sides are run at most; the job's `rounds_max` by default.
    policy
        A file laid over openbell.toml; may be repeated.
    json
        Print one JSON document on standard output.
    """
    if rounds is not None and not 6 <= rounds <= 100:
        return complain(f"--rounds {rounds}: must be 6 to 100. With fewer nothing is certain.")
    try:
        place = open_project(Path.cwd(), tuple(policy or ()))
        prepared = pipeline.prepare(place, RunRequest(jobs=(_job(place, job),), use_cache=False))
        commit = git.resolve(place.root, base)[0] if base else None
        found = asyncio.run(_compare(prepared, commit, rounds))
    except REFUSALS as error:
        return refuse(error)
    if found is None:
        return INTERRUPTED
    if json:
        print_json(found)
    else:
        for one in found.benchmarks:
            say(f"  {one.words}  {one.decision}", stream=sys.stdout)
        say(f"{found.job}: {found.reason}", stream=sys.stdout)
    return CODES[found.verdict]


def _job(place: OpenProject, job: str | None) -> str:
    """Choose the job that is meant; it must leave benchmarks."""
    known = [name for name, one in place.project.jobs.items() if one.reports.benchmarks]
    if job is not None:
        name = job.partition(" (")[0]
        if name in place.project.jobs and name not in known:
            raise UsageError(f'job "{job}" leaves no benchmarks: no reports.pytest_benchmark, no reports.gobench.')
        return job
    if len(known) != 1:
        which = f"{', '.join(known)} do; name one with --job" if known else "none does"
        raise UsageError(f"one job must leave benchmarks (reports.pytest_benchmark or reports.gobench): {which}.")
    return known[0]


async def _compare(prepared: PreparedRun, base: str | None, rounds: int | None) -> BenchDocument | None:
    """Compare in a folder of a run that is gone afterwards; None when it was interrupted."""
    if len(prepared.graph) != 1:
        legs = ", ".join(node.id for node in prepared.graph)
        raise UsageError(f"--job must name one leg of {legs}.")
    node = prepared.graph[0]
    if rounds is not None:
        node = msgspec.structs.replace(node, job=msgspec.structs.replace(node.job, rounds_max=rounds))
    stop = asyncio.Event()

    def tell(done: int, found: tuple[Comparison, ...]) -> None:
        open_ = sum(one.decision == "undecided" for one in found)
        say(f"  round {done} of at most {node.job.rounds_max}: {open_} of {len(found)} undecided")

    try:
        await asyncio.to_thread(git.lay_out, prepared.snapshot, prepared.workplace.tree)
        with calling(stop.set):
            found = await pipeline.comparer(prepared, base=base, on_round=tell).compare(node, stop)
    finally:
        await asyncio.to_thread(shutil.rmtree, prepared.workplace.folder, ignore_errors=True)
    return None if stop.is_set() else found
