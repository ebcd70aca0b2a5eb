"""One run spread over machines: each a clone with a state of its own, with folders that go from one to the next."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from openbell.core.pipeline import JobResult
from openbell.ports import AdapterError
from openbell.wiring import pipeline, shared_run
from openbell.wiring.pipeline import PreparedRun, RunRequest, UsageError
from openbell.wiring.project import open_project
from tests.fakes.observers import Silent
from tests.fakes.projects import ScratchProject, isolate
from tests.fakes.repositories import Repository

SPREAD = """
[project]
name = "spread"
[jobs.lint]
stage = "quality"
run = "exit 3"
allow_failure = true
[jobs.advisories]
stage = "quality"
run = "exit 75"
not_checked_exit_codes = [75]
[jobs.unit]
stage = "test"
matrix = { n = ["1", "2"] }
run = '''
echo "unit {n} with $TOKEN"
echo '<testsuite><testcase classname="a" name="b"/></testsuite>' > {out}/junit.xml
echo {n} > {out}/part-{n}; date +%N > {out}/when-{n}
'''
outputs = ["part-*", "when-*"]
reports = { junit = "junit.xml" }
cache = false
secrets = ["TOKEN"]
[jobs.sum]
stage = "test"
needs = ["unit"]
run = "cat {artifacts}/part-1 {artifacts}/part-2 > {out}/sum"
outputs = ["sum"]
[jobs.bundle]
stage = "build"
run = "cp a.txt {out}/a; chmod +x {out}/a"
inputs = ["a.txt"]
"""

Machine = Callable[[str], Path]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    """Make machines: each has its own clone of one project, and nothing else in common with the others."""
    isolate(monkeypatch, tmp_path)
    monkeypatch.setenv("TOKEN", "hunter2-hunter2")
    origin = ScratchProject(tmp_path / "origin", SPREAD)

    def clone(name: str) -> Path:
        if not (tmp_path / name).exists():
            shutil.copytree(origin.root, tmp_path / name, ignore=shutil.ignore_patterns(".openbell"))
        return tmp_path / name

    return clone


async def run(root: Path, request: RunRequest) -> tuple[PreparedRun, dict[str, JobResult]]:
    prepared = pipeline.prepare(open_project(root), request)
    end = await pipeline.execute(prepared, Silent(), cancel=asyncio.Event())
    shared_run.leave(prepared, end.results)
    return prepared, {result.id: result for result in end.results}


async def spread(machine: Machine, folder: Path, *jobs: str) -> dict[str, JobResult]:
    """Run each job on a machine of its own, which takes what is in the folder and leaves what it did there."""
    found: dict[str, JobResult] = {}
    for job in jobs:
        request = RunRequest(jobs=(job,), take=str(folder), leave=str(folder))
        found |= (await run(machine(f"machine-{job}"), request))[1]
    return found


JOBS = ("lint", "advisories", "unit (n=1)", "unit (n=2)", "sum", "bundle")


async def test_a_run_on_many_machines_ends_as_on_one(machine: Machine, tmp_path: Path) -> None:
    whole_prepared, whole = await run(machine("whole"), RunRequest())
    apart = await spread(machine, tmp_path / "left", *JOBS)
    gathered_prepared, gathered = await run(machine("last"), RunRequest(take=str(tmp_path / "left"), gather=True))
    assert {id_: result.outcome for id_, result in gathered.items()} == {
        "lint": "failure", "advisories": "not-checked", "unit (n=1)": "success", "unit (n=2)": "success",
        "sum": "success", "bundle": "success",
    }  # fmt: skip
    for id_, result in whole.items():
        assert (gathered[id_].outcome, gathered[id_].reason) == (result.outcome, result.reason)
        assert apart[id_].fingerprint == result.fingerprint
    assert gathered["lint"].reason == "allowed to fail: exit code 3"
    builds = [
        pipeline.build_release(prepared, tuple(results.values()))
        for prepared, results in ((whole_prepared, whole), (gathered_prepared, gathered))
    ]
    assert builds[0][0] is not None
    assert builds[1][0] is not None
    assert builds[0][0].digest == builds[1][0].digest
    assert not (tmp_path / "last" / ".openbell" / "runs" / gathered_prepared.workplace.run / "logs").exists()


async def test_a_failure_is_gathered_and_holds_up_what_waits(machine: Machine, tmp_path: Path) -> None:
    left = tmp_path / "left"
    await spread(machine, left, *JOBS)
    file = left / "jobs" / "unit-2.json"
    file.write_bytes(file.read_bytes().replace(b'"outcome":"success"', b'"outcome":"timeout"'))
    _, gathered = await run(machine("last"), RunRequest(take=str(left), gather=True))
    assert gathered["unit (n=2)"].outcome == "timeout"
    assert [gathered[id_].outcome for id_ in ("sum", "bundle")] == ["skipped", "skipped"]
    (left / "jobs" / "unit-1.json").unlink()
    _, gathered = await run(machine("last"), RunRequest(take=str(left), gather=True))
    assert gathered["unit (n=1)"].outcome == "failure"
    assert gathered["unit (n=1)"].reason == "left no result: its machine did not get that far"


async def test_what_a_job_takes_must_be_somewhere(machine: Machine, tmp_path: Path) -> None:
    left = tmp_path / "left"
    with pytest.raises(UsageError) as refused:
        pipeline.prepare(open_project(machine("a")), RunRequest(jobs=("sum",)))
    assert str(refused.value) == (
        "sum takes what unit (1), unit (2) left, and that is not known here. "
        'Run: openbell run --job "unit (n=1)" --job "unit (n=2)" --job "sum"'
    )
    await spread(machine, left, "unit (n=1)", "unit (n=2)")
    damaged = next((left / "objects").rglob("*/*"))
    damaged.chmod(0o644)
    damaged.write_text("other")
    with pytest.raises(UsageError, match="sum takes what unit"):
        pipeline.prepare(open_project(machine("a")), RunRequest(jobs=("sum",), take=str(left)))


async def test_results_of_another_commit_are_refused(machine: Machine, tmp_path: Path) -> None:
    left = tmp_path / "left"
    await spread(machine, left, "bundle")
    other = machine("other")
    (other / "b.txt").write_text("x")
    Repository(other).commit("feat: other")
    with pytest.raises(AdapterError, match=r"has the result of bundle for commit [0-9a-f]{7}; this is [0-9a-f]{7}"):
        pipeline.prepare(open_project(other), RunRequest(take=str(left), gather=True))


async def test_what_was_left_is_reused_in_the_next_run(machine: Machine, tmp_path: Path) -> None:
    left = tmp_path / "left"
    await spread(machine, left, "bundle", "unit (n=1)")
    request = RunRequest(jobs=("bundle",), leave=str(left))
    fresh = pipeline.prepare(open_project(machine("fresh")), request)
    assert fresh.hits["bundle"].outcome == "cached"
    assert fresh.hits["bundle"].outputs[0].executable
    shared_run.leave(fresh, tuple(fresh.hits.values()))
    again = pipeline.prepare(open_project(machine("again")), request)
    assert again.hits["bundle"].from_run == fresh.hits["bundle"].from_run
    assert "unit (n=1)" not in pipeline.prepare(open_project(machine("fresh")), RunRequest(leave=str(left))).hits
    ignored = RunRequest(jobs=("bundle",), leave=str(left), use_cache=False)
    assert pipeline.prepare(open_project(machine("third")), ignored).hits == {}


async def test_reports_and_logs_are_left_and_no_secret(machine: Machine, tmp_path: Path) -> None:
    left = tmp_path / "left"
    await spread(machine, left, "unit (n=1)")
    assert (left / "reports" / "unit-1" / "junit.xml").read_text().startswith("<testsuite>")
    assert "unit 1 with" in (left / "logs" / "unit-1.log").read_text()
    every = b"".join(path.read_bytes() for path in left.rglob("*") if path.is_file())
    assert b"hunter2" not in every


def test_what_makes_no_sense_is_refused(machine: Machine, tmp_path: Path) -> None:
    place = open_project(machine("a"))
    with pytest.raises(UsageError, match="--gather needs --take FOLDER"):
        pipeline.prepare(place, RunRequest(gather=True))
    with pytest.raises(UsageError, match='no environment "moon"'):
        pipeline.prepare(place, RunRequest(environment="moon"))


def test_a_folder_of_anything_is_no_result(machine: Machine, tmp_path: Path) -> None:
    left = tmp_path / "left"
    (left / "jobs").mkdir(parents=True)
    (left / "jobs" / "bundle.json").write_bytes(b"\xff{")
    (left / "jobs" / "lint.json").mkdir()
    prepared = pipeline.prepare(open_project(machine("a")), RunRequest(take=str(left), gather=True))
    assert prepared.taken == {}
    assert msgspec.json.encode(prepared.known) == b"{}"
