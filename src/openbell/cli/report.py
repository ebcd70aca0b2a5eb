"""`openbell report`: what the reports of a run's jobs said, in more words than the run had."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from openbell.adapters.toml import ConfigurationError
from openbell.cli.terminal import DONE, FAILED, complain, counted, print_json, say
from openbell.core.pipeline import slug
from openbell.core.report import Coverage, Reports, Suite, words
from openbell.ports import AdapterError
from openbell.wiring.project import open_project
from openbell.wiring.report_overview import JobReport, overview

PACKAGES_SHOWN = 10


def report(
    run: str = "last",
    job: str | None = None,
    /,
    *,
    policy: list[str] | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Show what the jobs of a run reported: tests, coverage per package and of the changed lines, benchmarks, findings.

    Parameters
    ----------
    run
        The run's name; "last" is the newest.
    job
        Only this job: its name ("test (python=3.12)") or the name of its files ("test-3.12").
    policy
        A file laid over openbell.toml; may be repeated.
    json
        Print one JSON document on standard output.
    """
    try:
        found = overview(open_project(Path.cwd(), tuple(policy or ())), run)
    except ConfigurationError as error:
        return complain(str(error))
    except AdapterError as error:
        return complain(f"{error.system}: {error.message}", code=FAILED)
    if found is None:
        return complain(f'there is no run "{run}". See: openbell runs')
    shown = tuple(one for one in found.jobs if job is None or job in (one.job, slug(one.job)))
    if not shown:
        names = ", ".join(slug(one.job) for one in found.jobs) or "none"
        return complain(f"no such job of run {found.run} has reports. These have: {names}.")
    if json:
        print_json(found.only(shown))
        return DONE
    for one in shown:
        for line in _lines(one):
            say(line, stream=sys.stdout)
    return DONE


def _lines(one: JobReport) -> list[str]:
    lines = [f"{one.job}  {one.outcome}  {words(one.reports)}".rstrip()]
    reports: Reports = one.reports
    if reports.tests:
        lines += _tests(reports.tests)
    if reports.coverage:
        lines += _coverage(reports.coverage)
    lines += [f"  {each.name}  {each.median_s:.3g} s" for each in reports.benchmarks or ()]
    lines += [f"  {each.words}  {each.decision}" for each in reports.comparisons]
    if reports.findings:
        lines += [f"  {each.severity}: {each.message} ({each.rule})  {each.place}" for each in reports.findings.first]
    return [*lines, *(f"  {each}" for each in reports.unreadable)]


def _tests(tests: Suite) -> list[str]:
    lines = [f"  failed: {each.name}  {each.message}  {each.place}".rstrip() for each in tests.failures]
    lines += [f"  in quarantine: {each.name}  {each.message}  {each.place}".rstrip() for each in tests.excused]
    return [*lines, *(f"  passed on a rerun only: {name}" for name in tests.reran)]


def _coverage(coverage: Coverage) -> list[str]:
    lines = [f"  {each.pct:5.1f} %  {each.name}  ({each.covered} of {each.valid})" for each in coverage.packages]
    more = len(lines) - PACKAGES_SHOWN
    lines = [*lines[:PACKAGES_SHOWN], *([f"  ... and {counted(more, 'package')} more"] if more > 0 else [])]
    changed = coverage.changed
    if changed and changed.pct is not None:
        lines.append(f"  {changed.pct:5.1f} %  of {counted(changed.valid, 'changed line')} since {changed.since[:7]}")
        lines += [f"  not run: {place}" for place in changed.missed]
    return lines
