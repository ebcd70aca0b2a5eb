"""Sharded jobs in real runs: every test file runs in exactly one leg, and a split stays while its inputs do."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from openbell.wiring import pipeline
from openbell.wiring.pipeline import PreparedRun, RunRequest
from tests.fakes.observers import Silent
from tests.fakes.projects import ScratchProject, isolate

SHARDED = """
[project]
name = "sharded"
[jobs.unit]
stage = "test"
shards = 3
tests = ["test_*.py"]
inputs = ["*.py"]
run = '''
test -s {tests} && cp {tests} {out}/ran-{shard}-of-{shards}
{ echo "<testsuite>"; while read -r file; do
    echo "<testcase classname='t' file='$file' name='x' time='$(cat $file)'/>"
  done < {tests}; echo "</testsuite>"; } > {out}/j.xml
'''
outputs = ["ran-*"]
reports = { junit = "j.xml" }
"""
TIMES_S = {f"test_{name}.py": f"{duration_s}\n" for name, duration_s in zip("abcdef", (9, 5, 4, 3, 3, 3), strict=True)}


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[dict[str, str]], ScratchProject]:
    isolate(monkeypatch, tmp_path)

    def scratch(files: dict[str, str]) -> ScratchProject:
        project = ScratchProject(tmp_path / "p", SHARDED)
        project.repository.commit("test: more", files)
        return project

    return scratch


async def run(project: ScratchProject, request: RunRequest | None = None) -> tuple[PreparedRun, list[set[str]]]:
    """Run it, and return which files each leg ran."""
    prepared = pipeline.prepare(project.open(), request or RunRequest())
    end = await pipeline.execute(prepared, Silent(), cancel=asyncio.Event())
    assert {result.outcome for result in end.results} <= {"success", "cached"}, end.results
    ran = []
    for node in prepared.graph:
        file = prepared.workplace.out(node) / f"ran-{node.axes['shard']}-of-3"
        ran.append(set(file.read_text().split()) if file.exists() else set())
    return prepared, ran


async def test_every_file_runs_in_one_leg(make: Callable[[dict[str, str]], ScratchProject]) -> None:
    project = make(TIMES_S)
    prepared, ran = await run(project)
    assert [node.id for node in prepared.graph] == [f"unit (shard={number})" for number in (1, 2, 3)]
    assert sorted(file for part in ran for file in part) == sorted(TIMES_S)
    again = pipeline.prepare(project.open(), RunRequest())
    assert again.is_known, "that there are timings now changes nothing about the same inputs"


async def test_the_next_change_is_split_by_what_was_learnt(make: Callable[[dict[str, str]], ScratchProject]) -> None:
    project = make(TIMES_S)
    await run(project)
    project.repository.commit("test: one more", {"other.py": "0\n"})
    _, ran = await run(project)
    assert sorted(file for part in ran for file in part) == sorted(TIMES_S)
    loads_s = sorted(sum(float(TIMES_S[file]) for file in part) for part in ran)
    assert loads_s == [9, 9, 9] or max(loads_s) <= 10, loads_s


async def test_a_leg_without_tests_runs_nothing(make: Callable[[dict[str, str]], ScratchProject]) -> None:
    project = make({"test_a.py": "1\n"})
    prepared = pipeline.prepare(project.open(), RunRequest())
    end = await pipeline.execute(prepared, Silent(), cancel=asyncio.Event())
    reasons = sorted(result.reason for result in end.results)
    assert reasons == ["1 test", "no test file in this shard", "no test file in this shard"]


async def test_machines_that_share_a_run_split_it_alike(
    make: Callable[[dict[str, str]], ScratchProject], tmp_path: Path
) -> None:
    project = make(TIMES_S)
    spread = RunRequest(leave=str(tmp_path / "left"))
    fresh = {id_: inputs.tests for id_, inputs in pipeline.prepare(project.open(), spread).inputs.items()}
    await run(project)
    project.repository.commit("test: one more", {"other.py": "0\n"})
    learnt = {id_: inputs.tests for id_, inputs in pipeline.prepare(project.open(), spread).inputs.items()}
    assert fresh == learnt


async def test_a_history_that_is_damaged_loses_no_test(make: Callable[[dict[str, str]], ScratchProject]) -> None:
    project = make(TIMES_S)
    place = project.open()
    place.state.root.mkdir()
    place.state.history.write_bytes(b"no database" * 500)
    _, ran = await run(project)
    assert sorted(file for part in ran for file in part) == sorted(TIMES_S)
