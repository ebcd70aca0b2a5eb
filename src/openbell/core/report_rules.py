"""The rules about what a job reports: which file a bound is judged by, what is split and compared, who is excused."""

from collections.abc import Iterator

from openbell.core.matrix import names
from openbell.core.pattern import placeholders
from openbell.core.project import COMMIT_STAGES, Job, Problem, Project
from openbell.core.texts import SHARD_PLACEHOLDERS


def check_job_reports(at: tuple[str, ...], job: Job) -> Iterator[Problem]:
    """Return what is wrong with the reports of a job, and with what is said about them."""
    yield from _check_reports(at, job)
    yield from _check_shards(at, job)
    yield from _check_regression(at, job)


def _check_reports(at: tuple[str, ...], job: Job) -> Iterator[Problem]:
    declared = job.reports
    for bound in ("coverage_min_pct", "coverage_changed_min_pct"):
        if getattr(job, bound) is not None and declared.coverage is None:
            message = "a coverage bound needs reports.cobertura or reports.gocover, the file to read it from."
            yield Problem((*at, bound), message)
    for one, other, what in (
        ("junit", "gotest", "tests"),
        ("cobertura", "gocover", "coverage"),
        ("pytest_benchmark", "gobench", "benchmarks"),
    ):
        if getattr(declared, one) is not None and getattr(declared, other) is not None:
            message = f"reports.{one} and reports.{other} both tell {what}; keep one, or make two jobs."
            yield Problem((*at, "reports", other), message)


def _check_regression(at: tuple[str, ...], job: Job) -> Iterator[Problem]:
    if job.regression_max_pct is None:
        return
    if job.reports.benchmarks is None:
        message = "a bound for benchmarks needs reports.pytest_benchmark or reports.gobench, the file they are in."
        yield Problem((*at, "regression_max_pct"), message)
    if job.stage not in COMMIT_STAGES or "{artifacts}" in job.run or job.shards > 1:
        message = "benchmarks are compared on two trees and nothing else: no {artifacts}, no shards, no environment."
        yield Problem((*at, "regression_max_pct"), message)


def _check_shards(at: tuple[str, ...], job: Job) -> Iterator[Problem]:
    if job.shards == 1:
        if job.tests:
            yield Problem((*at, "tests"), "tests are split over shards only; write shards = 2 or more, or remove it.")
        return
    if not job.tests:
        yield Problem((*at, "shards"), 'shards need tests, the patterns of what is split: tests = ["test_*.py"].')
    if "tests" not in placeholders(" ".join((job.run, *job.env.values()))):
        message = "each shard would run everything; name {tests}, the file that lists its part: pytest $(cat {tests})."
        yield Problem((*at, "shards"), message)
    for axis in names(job):
        if axis in SHARD_PLACEHOLDERS:
            yield Problem((*at, "matrix", axis), f'axis "{axis}": shards take that name ({{{axis}}}). Rename it.')


def check_quarantine(project: Project) -> Iterator[Problem]:
    """Return the tests that are in quarantine twice: only one of two dates can count."""
    known: dict[str, bool] = {}
    for index, one in enumerate(project.quarantine):
        if known.setdefault(one.test, False):
            message = f'quarantine: "{one.test}" is named twice. Keep one, with its owner and its date.'
            yield Problem(("quarantine", str(index), "test"), message)
        known[one.test] = True
