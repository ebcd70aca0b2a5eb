"""`openbell timing`: where the time of a run went, and what would make it shorter."""

import os
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from openbell.adapters.toml import ConfigurationError
from openbell.cli.refusals import refuse_run
from openbell.cli.slowness import timed_jobs
from openbell.cli.terminal import DONE, complain, counted, print_json, say
from openbell.core.narrative import duration
from openbell.core.timing import Timing, analyse
from openbell.wiring import pipeline
from openbell.wiring.pipeline import RunDocument
from openbell.wiring.project import OpenProject, open_project

WORDS = {
    "queue_s": "waiting for a place", "copy_s": "copying the tree", "services_s": "starting services",
    "execute_s": "their commands", "reports_s": "reading reports", "upload_s": "keeping what they left",
}  # fmt: skip

WAITED = {"": "", "need": "after {}, which it needs", "place": "after {}, whose place it took"}


def timing(
    run: str = "last",
    /,
    *,
    policy: list[str] | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Say where the time of a run went: its parts, its critical path, its targets, and what would make it shorter.

    Parameters
    ----------
    run
        The run's name; "last" is the newest.
    policy
        A file laid over openbell.toml; may be repeated.
    json
        Print one JSON document on standard output.
    """
    try:
        place = open_project(Path.cwd(), tuple(policy or ()))
    except ConfigurationError as error:
        return complain(str(error))
    found = pipeline.load_run(place, run)
    if found is None:
        return refuse_run(place, run)
    seen = look_at(place, found)
    if json:
        print_json(seen)
        return DONE
    for line in describe(found, seen):
        say(line, stream=sys.stdout)
    return DONE


def look_at(place: OpenProject, found: RunDocument) -> Timing:
    """Work out where the time of a run went."""
    whole_stage = frozenset(name for name, job in place.project.jobs.items() if job.needs is None)
    deployments = {one.environment: one.duration_s for one in found.deployments}
    parallel = found.parallel or os.cpu_count() or 2
    return analyse(timed_jobs(found, whole_stage), found.duration_s, deployments, place.project.targets, parallel)


def describe(found: RunDocument, seen: Timing) -> list[str]:
    """Put it into words, the whole first."""
    executed, known = counted(seen.executed, "job"), f"{seen.known} known already ({seen.hit_rate_pct:.0f} %)"
    saved = f", which saved {duration(seen.saved_s)} of work" if seen.known else ""
    lines = [f"run {found.run} took {duration(seen.total_s)}: {executed} executed, {known}{saved}"]
    lines.append(f"  before the first job {duration(seen.before_s)}, after the last {duration(seen.after_s)}")
    work_s = sum(seen.parts.values())
    for name, seconds in seen.parts.items():
        if seconds >= 0.05:
            share = f"{100 * seconds / work_s:>3.0f} %" if work_s else ""
            lines.append(f"  {WORDS[name]:<24} {duration(seconds):>8}  {share}")
    if seen.critical_path:
        lines.append("Critical path:")
        lines += [
            f"  {duration(link.begin_s):>8}  {link.job} {duration(link.duration_s)}"
            + (f"   {WAITED[link.reason].format(link.waited_for)}" if link.waited_for else "")
            for link in seen.critical_path
        ]
    lines.append("Targets:")
    for target in seen.targets:
        word = "kept" if target.kept else "broken"
        lines.append(f"  {target.name:<20} {duration(target.took_s):>8} of {duration(target.target_s):>8}  {word}")
    lines += ["Shorter:", *(f"  {text}" for text in seen.suggestions)] if seen.suggestions else []
    return lines
