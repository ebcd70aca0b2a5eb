"""Keeps of each run that has ended what the reports of the next weeks look at, in the journal."""

import msgspec

from openbell.adapters.sqlite import append_now
from openbell.core.run_ended import KIND, STREAM, RunEnded
from openbell.core.timing import TimedJob, stage_seconds
from openbell.ports import AdapterError
from openbell.wiring.pipeline import RunDocument
from openbell.wiring.state import StateFolder


def keep_for_reports(state: StateFolder, found: RunDocument) -> str:
    """Append a run to the journal; returns what a person should know when that cannot be done. The run is over."""
    ended = describe_end(found)
    try:
        append_now(state.journal, STREAM, KIND, msgspec.json.encode(ended), at_s=ended.end_at_s)
    except AdapterError as error:
        return f"The reports will lack this run: {error.message}."
    return ""


def describe_end(found: RunDocument) -> RunEnded:
    """Take of a run's document what reports need."""
    return RunEnded(
        run=found.run, trigger=found.trigger, ref=found.ref, commit=found.commit, dirty=found.dirty,
        outcome=found.outcome, begin_at_s=found.begin_at_s, end_at_s=round(found.begin_at_s + found.duration_s, 3),
        stages_s=stage_seconds([TimedJob(job.name, job.stage, job.times) for job in found.jobs if job.times]),
        executed=sum(bool(job.times and job.times.duration_s) and not job.from_run for job in found.jobs),
        known=sum(bool(job.from_run) for job in found.jobs),
        failed=tuple(
            job.name for job in found.jobs if job.outcome in ("failure", "timeout") and not job.allowed_to_fail
        ),
        release=found.release,
    )  # fmt: skip
