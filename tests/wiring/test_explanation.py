"""Why results are reused or not, as the difference of two manifests."""

import asyncio
from pathlib import Path

import pytest

from openbell.wiring import pipeline
from openbell.wiring.explanation import Explanation, explain
from openbell.wiring.pipeline import FIRST_TIME, RunRequest, UsageError
from openbell.wiring.verification import Unobserved
from tests.fakes.projects import QUICK, ScratchProject, isolate


@pytest.fixture
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ScratchProject:
    isolate(monkeypatch, tmp_path)
    return ScratchProject(tmp_path / "p", QUICK)


async def run(project: ScratchProject) -> str:
    prepared = pipeline.prepare(project.open(), RunRequest())
    end = await pipeline.execute(prepared, Unobserved(), cancel=asyncio.Event())
    pipeline.save(prepared, pipeline.document(prepared, end.outcome, end.results))
    return prepared.workplace.run


def explained(project: ScratchProject, *jobs: str, against: str | None = None) -> dict[str, Explanation]:
    found = explain(project.open(), RunRequest(jobs=jobs), against=against)
    return {one.job: one for one in found.jobs}


def test_a_job_that_never_ran_has_nothing_to_compare_with(quick: ScratchProject) -> None:
    one = explained(quick, "lint")["lint"]
    assert (one.outcome, one.reason, one.against, one.differences) == ("miss", FIRST_TIME, "", ())
    assert not list((quick.root / ".openbell").glob("runs/*")), "nothing was begun"


async def test_a_hit_names_its_run_and_a_miss_each_difference(quick: ScratchProject) -> None:
    name = await run(quick)
    hit = explained(quick, "unit")["unit (n=1)"]
    assert (hit.outcome, hit.reason) == ("hit", f"same fingerprint as run {name}")
    quick.repository.write({"a.txt": "changed\n", "b.txt": "new\n", "README": "x"})
    found = explained(quick, "unit", "lint")
    unit = found["unit (n=2)"]
    assert (unit.outcome, unit.against) == ("miss", name)
    assert [(one.kind, one.name) for one in unit.differences] == [("file", "a.txt"), ("file", "b.txt")]
    assert [one.name for one in found["lint"].differences] == ["README", "a.txt", "b.txt"]


async def test_a_run_to_compare_with_can_be_named(quick: ScratchProject) -> None:
    first = await run(quick)
    quick.repository.write({"a.txt": "changed\n"})
    await run(quick)
    assert explained(quick, "lint")["lint"].outcome == "hit"
    one = explained(quick, "lint", against=first)["lint"]
    assert (one.outcome, [each.words for each in one.differences]) == ("hit", ["a.txt changed"])
    assert explained(quick, "lint", against="last")["lint"].differences == ()


async def test_what_cannot_be_compared_is_refused(quick: ScratchProject) -> None:
    with pytest.raises(UsageError, match='there is no run "f00d"'):
        explained(quick, "lint", against="f00d")
    with pytest.raises(UsageError, match='there is no job "nope"'):
        explained(quick, "nope")
    (quick.root / "a.txt").unlink()
    quick.repository.write({"b.txt": "b\n"})
    failed = await run(quick)
    with pytest.raises(UsageError, match=r"manifest of lint in run .* not kept: failure. Failures never are"):
        explained(quick, "lint", against=failed)
    (quick.root / "openbell.toml").write_text(QUICK + '[jobs.more]\nstage = "test"\nrun = "true"\n')
    with pytest.raises(UsageError, match=f'run {failed} has no job "more"'):
        explained(quick, "more", against=failed)
