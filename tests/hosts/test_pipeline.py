"""The host of a run, on a fake runner: what it starts, stops and reports, and what happens when things break."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from openbell.core.pipeline import JobNode, JobResult
from openbell.core.project import Job
from openbell.core.report import Outcome
from openbell.core.schedule import plan_run
from openbell.hosts.pipeline import RunEnd, drive
from openbell.ports import AdapterError

Behaviour = Callable[[int, asyncio.Event], Any]


def node(id_: str, *needs: str, **settings: object) -> JobNode:
    return JobNode(id_, id_, msgspec.convert({"stage": "test", "run": id_, **settings}, Job), {}, needs)


class FakeRunner:
    """Jobs that do what they are told to: end with an outcome, wait to be stopped, or break."""

    def __init__(self, **behaviours: Outcome | Exception | str) -> None:
        self.behaviours = behaviours
        self.started: list[tuple[str, int]] = []
        self.running = 0
        self.running_max = 0

    async def run(self, node: JobNode, attempt: int, stop: asyncio.Event) -> JobResult:
        self.started.append((node.id, attempt))
        self.running += 1
        self.running_max = max(self.running, self.running_max)
        try:
            behaviour = self.behaviours.get(node.id, "success")
            if isinstance(behaviour, Exception):
                raise behaviour
            if behaviour == "wait":
                await stop.wait()
                behaviour = "failure"
            if behaviour == "second":
                behaviour = "success" if attempt == 2 else "failure"
            await asyncio.sleep(0)
            return msgspec.convert(
                {"id": node.id, "name": node.name, "stage": "test", "outcome": behaviour, "reason": "said so"},
                JobResult,
            )
        finally:
            self.running -= 1


class Watcher:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.ended: list[str] = []

    def job_started(self, node: JobNode, attempt: int) -> None:
        self.started.append(f"{node.id} {attempt}")

    def job_ended(self, result: JobResult) -> None:
        self.ended.append(f"{result.id} {result.outcome}")


async def run(
    *nodes: JobNode,
    runner: FakeRunner,
    watcher: Watcher | None = None,
    hits: dict[str, JobResult] | None = None,
    cancel: asyncio.Event | None = None,
    parallel: int = 4,
) -> RunEnd:
    async with asyncio.timeout(10):
        return await drive(
            plan_run(nodes, parallel), hits or {}, runner, watcher or Watcher(), cancel=cancel or asyncio.Event()
        )


def outcomes(end: RunEnd) -> dict[str, tuple[str, str]]:
    return {result.id: (result.outcome, result.reason) for result in end.results}


async def test_a_run_that_succeeds() -> None:
    watcher, runner = Watcher(), FakeRunner()
    end = await run(node("a"), node("b", "a"), runner=runner, watcher=watcher)
    assert end.outcome == "success"
    assert runner.started == [("a", 1), ("b", 1)]
    assert watcher.started == ["a 1", "b 1"]
    assert watcher.ended == ["a success", "b success"]


async def test_a_failure_blocks_and_each_job_is_reported_once() -> None:
    watcher = Watcher()
    end = await run(node("a"), node("b", "a"), node("c", "b"), runner=FakeRunner(a="failure"), watcher=watcher)
    assert end.outcome == "failure"
    assert outcomes(end) == {
        "a": ("failure", "said so"),
        "b": ("skipped", "waits for a, which did not pass"),
        "c": ("skipped", "waits for a, which did not pass"),
    }
    assert sorted(watcher.ended) == ["a failure", "b skipped", "c skipped"]


async def test_known_results_are_not_run() -> None:
    runner, known = FakeRunner(), JobResult("a", "a", "test", "cached", "same fingerprint as run 1")
    end = await run(node("a"), node("b", "a"), runner=runner, hits={"a": known})
    assert runner.started == [("b", 1)]
    assert end.results[0] == known


async def test_a_time_limit_stops_the_job() -> None:
    end = await run(node("a", timeout_s=0.01), node("b", "a"), runner=FakeRunner(a="wait"))
    assert outcomes(end)["a"] == ("timeout", "took longer than its time limit of 0.01 s")
    assert outcomes(end)["b"][0] == "skipped"


async def test_a_time_limit_that_was_tried_again_says_so() -> None:
    end = await run(node("a", timeout_s=0.01, retries=1), runner=FakeRunner(a="wait"))
    assert outcomes(end)["a"] == ("timeout", "took longer than its time limit of 0.01 s (attempt 2 of 2)")


async def test_retries_and_what_is_allowed_to_fail() -> None:
    runner = FakeRunner(a="second", b="failure")
    end = await run(node("a", retries=1), node("b", allow_failure=True), node("c", "a", "b"), runner=runner)
    assert end.outcome == "success"
    assert outcomes(end)["b"] == ("failure", "allowed to fail: said so")
    assert runner.started.count(("a", 2)) == 1


async def test_cancelling_stops_everything() -> None:
    cancel = asyncio.Event()
    watcher = Watcher()
    running = asyncio.create_task(
        run(node("a"), node("b", "a"), runner=FakeRunner(a="wait"), watcher=watcher, cancel=cancel)
    )
    async with asyncio.timeout(5):
        while not watcher.started:  # noqa: ASYNC110 - the watcher is a list
            await asyncio.sleep(0)
    cancel.set()
    end = await running
    assert end.outcome == "cancelled"
    assert outcomes(end) == {"a": ("skipped", "cancelled"), "b": ("skipped", "cancelled")}


async def test_no_more_than_so_many_at_once() -> None:
    runner = FakeRunner()
    await run(*(node(f"j{n}") for n in range(9)), runner=runner, parallel=3)
    assert runner.running_max == 3


async def test_a_machine_that_cannot_run_a_job_fails_it_with_the_reason() -> None:
    broken = AdapterError("shell", "start", "no bash here", effect="not_applied")
    end = await run(node("a"), node("b"), runner=FakeRunner(a=broken))
    assert outcomes(end)["a"] == ("failure", "shell: start: no bash here")
    assert outcomes(end)["b"][0] == "success"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (FileNotFoundError(2, "No such file", "x"), "[Errno 2] No such file: 'x'"),
        (ValueError("embedded null byte"), "embedded null byte"),
        (TimeoutError(), "TimeoutError"),
    ],
)
async def test_what_one_job_cannot_do_is_its_failure_and_not_the_end_of_the_run(error: Exception, reason: str) -> None:
    end = await run(node("a"), node("b"), runner=FakeRunner(a=error))
    assert outcomes(end) == {"a": ("failure", reason), "b": ("success", "said so")}


async def test_a_defect_ends_the_run_and_everything_that_it_started() -> None:
    runner = FakeRunner(a=ZeroDivisionError("defect"), b="wait")
    with pytest.raises(ZeroDivisionError, match="defect"):
        await run(node("a"), node("b"), runner=runner)
    assert runner.running == 0
