"""Reused results that are executed again: what is the same, and each way in which a job can differ."""

import asyncio
from pathlib import Path

import pytest

from openbell.adapters.store import hash_file
from openbell.core.pipeline import JobResult, Output
from openbell.core.report import Coverage, Reports, Suite
from openbell.wiring import pipeline
from openbell.wiring.pipeline import RunRequest, UsageError
from openbell.wiring.verification import Unobserved, Verification, VerifiedJob, compare_results, verify, words
from tests.fakes.projects import ScratchProject, isolate

CONFIGURATION = """
[project]
name = "verified"
[jobs.sound]
stage = "build"
run = "tr a-z A-Z < a.txt > {{out}}/A.txt"
[jobs.takes]
stage = "build"
needs = ["sound"]
run = "cat {{artifacts}}/A.txt > {{out}}/B.txt"
[jobs.unsound]
stage = "build"
run = "cat {outside} > {{out}}/C.txt"
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ScratchProject:
    isolate(monkeypatch, tmp_path)
    (tmp_path / "outside").write_text("1")
    return ScratchProject(tmp_path / "p", CONFIGURATION.format(outside=tmp_path / "outside"))


async def run(project: ScratchProject) -> None:
    prepared = pipeline.prepare(project.open(), RunRequest())
    end = await pipeline.execute(prepared, Unobserved(), cancel=asyncio.Event())
    assert end.outcome == "success"


async def verified(project: ScratchProject, *jobs: str, sample: int | None = None) -> Verification:
    told: list[VerifiedJob] = []
    found = await verify(
        project.open(), RunRequest(jobs=jobs), sample=sample, cancel=asyncio.Event(), on_job=told.append
    )  # fmt: skip
    assert tuple(told) == found.jobs
    return found


async def test_results_that_are_the_same_leave_no_trace(project: ScratchProject) -> None:
    await run(project)
    before = sorted(path for path in (project.root / ".openbell/store/results").rglob("*"))
    found = await verified(project)
    assert (found.outcome, [one.job for one in found.jobs]) == ("same", ["sound", "unsound", "takes"])
    assert sorted(path for path in (project.root / ".openbell/store/results").rglob("*")) == before
    assert list((project.root / ".openbell/verify").iterdir()) == []


async def test_a_job_that_depends_on_what_it_did_not_declare_differs(project: ScratchProject, tmp_path: Path) -> None:
    await run(project)
    (tmp_path / "outside").write_text("2")
    found = await verified(project)
    assert found.outcome == "differs"
    (bad,) = [one for one in found.jobs if one.outcome == "differs"]
    assert (bad.job, bad.differences) == ("unsound", ("output C.txt has other contents",))
    assert hash_file(Path(bad.folder, "C.txt"))[1] == 1, "what it left now can be looked at"
    assert (await verified(project, "unsound")).outcome == "differs", "what was executed is not kept"
    (tmp_path / "outside").unlink()
    (gone,) = (await verified(project, "unsound")).jobs
    assert gone.differences[0].startswith(f"it passed in run {gone.run}, and now: failure, exit code 1")


async def test_a_sample_is_a_part_and_the_same_each_time(project: ScratchProject) -> None:
    await run(project)
    first, again = await verified(project, sample=1), await verified(project, sample=1)
    assert (first.executed, first.known) == (1, 3)
    assert [one.job for one in first.jobs] == [one.job for one in again.jobs]


async def test_without_results_there_is_nothing_to_verify(project: ScratchProject) -> None:
    found = await verified(project)
    assert (found.outcome, words(found)) == ("nothing", ("Nothing to verify: no result would be reused.",))
    with pytest.raises(UsageError, match="no result of sound would be reused"):
        await verified(project, "sound")


KEPT = JobResult(
    "unit", "unit", "test", "cached", from_run="4f2c", outputs=(Output("a", "1", 1), Output("b", "2", 1)),
    reports=Reports(tests=Suite(10, 0, 1, 2.5), coverage=Coverage(80.0)),
)  # fmt: skip


def found_with(**changes: object) -> JobResult:
    values = {"outcome": "success", "outputs": KEPT.outputs, "reports": KEPT.reports, "duration_s": 99.0, **changes}
    return JobResult("unit", "unit", "test", **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "differences"),
    [
        (found_with(), ()),
        (found_with(outputs=(Output("a", "9", 1),)), ("output a has other contents", "output b is not made any more")),
        (
            found_with(outputs=(*KEPT.outputs[:1], Output("b", "2", 1, executable=True), Output("c", "3", 1))),
            ("output b is executable in one only", "output c is new"),
        ),
        (
            found_with(reports=Reports(tests=Suite(9, 0, 1, 2.5), coverage=Coverage(79.0))),
            ("tests: 10 then, 9 now", "coverage: 80.0 % then, 79.0 % now"),
        ),
        (
            found_with(outcome="failure", reason="exit code 1"),
            ("it passed in run 4f2c, and now: failure, exit code 1",),
        ),
    ],
)
def test_every_difference_is_named(found: JobResult, differences: tuple[str, ...]) -> None:
    assert compare_results(KEPT, found) == differences
