# ruff: noqa: PT028 - the command is called tests, and is none
"""`openbell tests`: which tests are slow, which are flaky, and which are in quarantine."""

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from openbell.adapters.toml import ConfigurationError
from openbell.cli.terminal import DONE, FAILED, complain, counted, print_json, say
from openbell.core.history import FlakyTest, SlowTest
from openbell.core.narrative import duration
from openbell.ports import AdapterError
from openbell.wiring.project import open_project
from openbell.wiring.tests_overview import HeldTest, TestsDocument, is_held, overview

What = Literal["all", "slow", "flaky", "quarantine"]


def tests(
    what: What = "all",
    /,
    *,
    limit: int = 10,
    policy: list[str] | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Show what earlier runs on this machine tell about the tests.

    A test is flaky when it passed only on a rerun, or both passed and failed for one fingerprint of its job. The last
    50 executions of each job are remembered.

    Parameters
    ----------
    what
        The slowest tests, the flaky ones, those in quarantine, or all three.
    limit
        How many of the slowest and of the flaky are shown.
    policy
        A file laid over openbell.toml; may be repeated.
    json
        Print one JSON document on standard output.
    """
    if limit < 1:
        return complain(f"--limit {limit}: must be 1 or more.")
    try:
        found = overview(open_project(Path.cwd(), tuple(policy or ())), limit=limit)
    except ConfigurationError as error:
        return complain(str(error))
    except AdapterError as error:
        return complain(f"{error.system}: {error.message}", code=FAILED)
    if json:
        print_json(found)
        return DONE
    for line in _lines(found, what, limit):
        say(line, stream=sys.stdout)
    return DONE


def _lines(found: TestsDocument, what: What, limit: int) -> list[str]:
    lines = []
    if not found.executions:
        lines.append("No test is known yet: no job with reports.junit or reports.gotest has run here.")
    elif what == "all":
        lines.append(f"{counted(found.tests, 'test')} in {counted(found.executions, 'execution')} of jobs.")
    if what in ("all", "slow") and found.slow:
        lines += ["Slowest:", *map(_slow, found.slow)]
    if what in ("all", "flaky") and found.executions:
        lines += _flaky(found, limit)
    if what in ("all", "quarantine"):
        lines += ["In quarantine:", *map(_held, found.quarantine)] if found.quarantine else ["None is in quarantine."]
    return lines


def _slow(one: SlowTest) -> str:
    return f"  {duration(one.median_s):>8}  at most {duration(one.longest_s)}  {one.test}  ({one.job})"


def _flaky(found: TestsDocument, limit: int) -> list[str]:
    if not found.flaky:
        return ["None is known to be flaky."]
    lines = ["Flaky:"]
    for one in found.flaky[:limit]:
        held = "  in quarantine" if is_held(found, one.test) else ""
        lines.append(f"  {one.times}x  {one.test}  ({_failures(one)}; last in run {one.last_run}){held}")
    if len(found.flaky) > limit:
        lines.append(f"  ... and {len(found.flaky) - limit} more")
    free = next((one for one in found.flaky if not is_held(found, one.test)), None)
    if free:
        lines.append(f'Until somebody mends it: [[quarantine]] test = "{free.test}", owner = "...", until = 2027-01-31')
    return lines


def _failures(one: FlakyTest) -> str:
    return f"failed in {one.failed} of {counted(one.seen, 'execution')}"


def _held(one: HeldTest) -> str:
    until = f"until {one.until}" if one.state == "holds" else f"ended on {one.until}: it counts again"
    return f"  {one.test}  {one.owner}  {until}  last: {one.last or 'not seen'}"
