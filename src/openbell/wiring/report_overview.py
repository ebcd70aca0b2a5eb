"""The reports of a run's jobs, those that were executed and those that were reused, for who looks at them later."""

import msgspec

from openbell.adapters.store import Store
from openbell.core.pipeline import slug
from openbell.core.report import Outcome, Reports
from openbell.wiring.pipeline import load_run
from openbell.wiring.project import OpenProject


class JobReport(msgspec.Struct, frozen=True):
    """What the reports of one job said."""

    job: str
    outcome: Outcome
    reports: Reports


class ReportDocument(msgspec.Struct, frozen=True):
    """`openbell report --json`; described in docs/schema/report.json."""

    run: str
    jobs: tuple[JobReport, ...]

    def only(self, jobs: tuple[JobReport, ...]) -> "ReportDocument":
        """The same run with some of its jobs."""
        return ReportDocument(self.run, jobs)


def overview(place: OpenProject, run: str) -> ReportDocument | None:
    """Collect the reports of a run; None when there is no such run. Jobs without reports are left out."""
    found = load_run(place, run)
    if found is None:
        return None
    store = Store(place.state.store)
    jobs = []
    for job in found.jobs:
        reports = _reported(place, found.run, job.name)
        if reports is None and job.from_run:
            stored = store.find(job.fingerprint)
            reports = stored.result.reports if stored else None
        if reports is not None and reports != Reports():
            jobs.append(JobReport(job.name, job.outcome, reports))
    return ReportDocument(found.run, tuple(jobs))


def _reported(place: OpenProject, run: str, job: str) -> Reports | None:
    try:
        return msgspec.json.decode((place.state.run(run) / "reports" / f"{slug(job)}.json").read_bytes(), type=Reports)
    except (OSError, msgspec.DecodeError):
        return None
