"""The runs of a project that are still known, the newest first: what each was of, and how it went.

Put together from the document of a run that has ended and the record of one that goes on or was interrupted.
"""

import contextlib

import msgspec

from openbell.adapters.store import Store
from openbell.core.pipeline import slug
from openbell.core.project import TriggerKind
from openbell.wiring import run_record
from openbell.wiring.pipeline import JobDocument, RunDocument, load_run
from openbell.wiring.project import OpenProject
from openbell.wiring.run_record import RunState

BAD = ("failure", "timeout")


class RunSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One run: `state` is its outcome, or whether it is running or was interrupted; `failed` are names of jobs.

    `began_s` is in Unix seconds; a run of an older openbell has none.
    """

    run: str
    began_s: float | None
    trigger: TriggerKind
    ref: str
    commit: str
    dirty: bool
    state: RunState
    duration_s: float | None
    jobs: int
    done: int
    failed: tuple[str, ...] = ()
    release: str | None = None
    resumes: str = ""
    repeats: str = ""
    superseded_by: str = ""


class RunsDocument(msgspec.Struct, frozen=True):
    """`openbell runs --json`; described in docs/schema/runs.json."""

    runs: tuple[RunSummary, ...]


def list_runs(place: OpenProject, *, limit: int) -> RunsDocument:
    """List the newest runs, `limit` of them at most; what is gone or unreadable is passed over."""
    found: list[RunSummary] = []
    for run in run_record.newest_first(place.state):
        if len(found) == limit:
            break
        with contextlib.suppress(OSError):
            summary = _summarise(place, run)
            if summary is not None:
                found.append(summary)
    return RunsDocument(tuple(found))


def _summarise(place: OpenProject, run: str) -> RunSummary | None:
    record, document = run_record.read(place.state, run), load_run(place, run)
    if document is not None:
        return _of_document(document, record.began.at_s if record else None)
    if record is None:
        return None
    began = record.began
    return RunSummary(
        run=run,
        began_s=began.at_s,
        trigger=began.trigger.kind,
        ref=began.trigger.ref,
        commit=began.commit,
        dirty=bool(began.changed),
        state=record.state,
        duration_s=None,
        jobs=len(began.jobs),
        done=len(record.results),
        failed=tuple(result.id for result in record.results.values() if result.outcome in BAD),
        resumes=began.resumes,
        repeats=began.repeats,
    )


def _of_document(document: RunDocument, began_s: float | None) -> RunSummary:
    return RunSummary(
        run=document.run,
        began_s=began_s,
        trigger=document.trigger,
        ref=document.ref,
        commit=document.commit,
        dirty=document.dirty,
        state=document.outcome,
        duration_s=document.duration_s,
        jobs=len(document.jobs),
        done=sum(job.outcome != "skipped" for job in document.jobs),
        failed=tuple(job.name for job in document.jobs if job.outcome in BAD and not job.allowed_to_fail),
        release=document.release,
        resumes=document.resumes,
        repeats=document.repeats,
        superseded_by=document.superseded_by,
    )


def read_log(place: OpenProject, found: RunDocument, job: JobDocument) -> str | None:
    """Return what a job printed: in this run, or in the run that its result was taken from; None when it never ran."""
    logs = [place.state.run(run) / "logs" / f"{slug(job.name)}.log" for run in (found.run, job.from_run) if run]
    for file in (*logs, Store(place.state.store).log(job.fingerprint)):
        try:
            return file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
    return None
