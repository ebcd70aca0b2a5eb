"""Going on with a run, and doing one again: what is taken from it, and what is refused."""

import asyncio
from pathlib import Path

import pytest

from openbell.core.pipeline import JobResult
from openbell.wiring import pipeline, resumption, run_record
from openbell.wiring.pipeline import PreparedRun, RunRequest, UsageError
from tests.fakes.observers import Silent
from tests.fakes.projects import ScratchProject, isolate

PROJECT = """
[project]
name = "x"
[jobs.make]
stage = "quality"
run = "date +%s%N > {out}/made; echo made >> $HOME/ran"
outputs = ["made"]
cache = false
[jobs.check]
stage = "test"
run = "cat {artifacts}/made > {out}/checked; test -e $HOME/ready; echo checked >> $HOME/ran"
needs = ["make"]
outputs = ["checked"]
[jobs.last]
stage = "build"
run = "echo last >> $HOME/ran; echo > {out}/last"
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ScratchProject:
    isolate(monkeypatch, tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return ScratchProject(tmp_path / "p", PROJECT)


async def execute(prepared: PreparedRun) -> dict[str, JobResult]:
    recorder = run_record.Recorder(prepared, deploys=True)
    end = await pipeline.execute(prepared, recorder.telling(Silent()), cancel=asyncio.Event())
    document = pipeline.document(prepared, end.outcome, end.results)
    pipeline.save(prepared, document)
    recorder.close(document)
    return {result.id: result for result in end.results}


async def run(project: ScratchProject, request: RunRequest | None = None) -> tuple[str, dict[str, JobResult]]:
    prepared = pipeline.prepare(project.open(), request or RunRequest())
    return prepared.workplace.run, await execute(prepared)


def resume(project: ScratchProject, run: str | None = None) -> PreparedRun:
    return resumption.resume(project.open(), resumption.find(project.open(), run))


def ran(tmp_path: Path) -> list[str]:
    return (tmp_path / "ran").read_text().split()


async def test_what_passed_is_taken_also_when_it_is_never_cached(project: ScratchProject, tmp_path: Path) -> None:
    first, results = await run(project)
    assert {id_: result.outcome for id_, result in results.items()} == {
        "make": "success", "check": "failure", "last": "skipped",
    }  # fmt: skip
    (tmp_path / "ready").touch()
    prepared = resume(project)
    assert resumption.introduction(prepared) == (
        f"Goes on with run {first}: 1 of 3 jobs have passed; runs check, last."
    )
    assert prepared.misses == {"check": f"failed in run {first}", "last": f"was not run in run {first}"}
    second = await execute(prepared)
    assert second["make"].outputs == results["make"].outputs, "not made anew"
    assert (second["make"].outcome, second["make"].reason) == ("cached", f"passed in run {first}")
    assert second["check"].outputs[0].sha256 == second["make"].outputs[0].sha256
    assert ran(tmp_path) == ["made", "checked", "last"]


async def test_the_commit_the_request_and_the_configuration_are_those_of_then(
    project: ScratchProject, tmp_path: Path
) -> None:
    first, _ = await run(project, RunRequest(stages=("quality", "test")))
    commit = project.repository.git("rev-parse", "HEAD")
    project.repository.commit("feat: other", {"openbell.toml": PROJECT.replace("test -e", "! test -e"), "a.txt": "b"})
    (tmp_path / "ready").touch()
    prepared = resume(project, first)
    assert prepared.snapshot.commit.id == commit
    assert [node.id for node in prepared.graph] == ["make", "check"]
    assert (await execute(prepared))["check"].outcome == "success"
    assert resumption.why_not_to_deploy(prepared).startswith("develop is at ")


async def test_what_stands_on_something_that_is_gone_runs_again(project: ScratchProject, tmp_path: Path) -> None:
    (tmp_path / "ready").touch()
    project.repository.commit("feat: fails", {"openbell.toml": PROJECT.replace("echo > {out}/last", "exit 3")})
    first, results = await run(project)
    made = results["make"].outputs[0].sha256
    (project.open().state.store / "objects" / made[:2] / made).unlink()
    prepared = resume(project, first)
    assert list(prepared.hits) == []
    assert prepared.misses["make"] == "never cached (cache = false)"


async def test_a_run_that_is_resumed_may_be_resumed(project: ScratchProject, tmp_path: Path) -> None:
    first, _ = await run(project)
    second = resume(project)
    await execute(second)
    (tmp_path / "ready").touch()
    third = resume(project)
    assert third.resumes == second.workplace.run
    assert third.hits["make"].from_run == first, "where it was made"
    assert (await execute(third))["last"].outcome == "success"


async def test_a_changed_tree_must_be_the_same_still(project: ScratchProject, tmp_path: Path) -> None:
    project.repository.write({"a.txt": "changed\n", "new.txt": "new\n"})
    first, _ = await run(project)
    assert "make" in resume(project, first).hits
    project.repository.write({"a.txt": "again\n"})
    (project.root / "new.txt").unlink()
    with pytest.raises(UsageError, match=rf"not the one of run {first}: a.txt, new.txt changed since\. Restore it, or"):
        resume(project, first)
    project.repository.commit("feat: both")
    with pytest.raises(UsageError, match=rf"run {first} was of commit .* with changes, and .* is checked out"):
        resume(project, first)


async def test_a_run_is_done_again_and_nothing_is_reused(project: ScratchProject, tmp_path: Path) -> None:
    (tmp_path / "ready").touch()
    first, results = await run(project, RunRequest(parallel=1))
    project.repository.commit("feat: other", {"a.txt": "other"})
    again = resumption.repeat(project.open(), resumption.find(project.open(), first))
    assert (again.hits, again.request.parallel, again.repeats) == ({}, 1, first)
    assert again.snapshot.commit.subject == "feat: first"
    second = await execute(again)
    assert {result.outcome for result in second.values()} == {"success"}
    assert {id_: r.fingerprint for id_, r in second.items()} == {id_: r.fingerprint for id_, r in results.items()}
    assert ran(tmp_path) == ["made", "checked", "last"] * 2
    assert resumption.why_not_to_deploy(again) == "a run that is done again deploys nothing"


async def test_what_there_is_nothing_to_go_on_with(project: ScratchProject, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no run with a record in"):
        resume(project)
    (tmp_path / "ready").touch()
    first, _ = await run(project)
    with pytest.raises(UsageError, match=f"run {first} succeeded, so there is nothing to go on with"):
        resume(project)
    with pytest.raises(UsageError, match='there is no run "nope" with a record'):
        resume(project, "nope")
    running = pipeline.prepare(project.open(), RunRequest())
    run_record.Recorder(running, deploys=True)
    for act in (resumption.resume, resumption.repeat):
        with pytest.raises(UsageError, match=f"run {running.workplace.run} is still carried out, by process"):
            act(project.open(), resumption.find(project.open(), None))
