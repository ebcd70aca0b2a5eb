"""The schedule of a run: single moves, and the properties that hold for any graph and any order of events."""

from collections import Counter
from typing import Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openbell.core.pipeline import JobNode
from openbell.core.project import Job
from openbell.core.schedule import (
    ACTIVE,
    BROKEN,
    GOOD,
    TRANSITIONS,
    Begin,
    CancelRequested,
    Command,
    EndRun,
    Event,
    JobEnded,
    LimitPassed,
    StartJob,
    State,
    StopJob,
    blockers,
    decide,
    plan_run,
)

Result = Literal["succeed", "fail", "not-check"]


def node(id_: str, *needs: str, **settings_: object) -> JobNode:
    job = msgspec.convert({"stage": "test", "run": id_, **settings_}, Job)
    return JobNode(id_, id_.partition(" ")[0], job, {}, needs)


def run(state: State, *events: Event) -> tuple[State, list[Command]]:
    commands: list[Command] = []
    for event in events:
        state, more = decide(state, event)
        commands += more
    return state, commands


def begun(*nodes: JobNode, parallel: int = 9) -> tuple[State, list[Command]]:
    return run(plan_run(nodes, parallel), Begin())


def phases(state: State) -> dict[str, str]:
    return {id_: job.phase for id_, job in state.jobs.items()}


def test_jobs_start_when_what_they_need_has_succeeded() -> None:
    state, commands = begun(node("a"), node("b", "a"))
    assert commands == [StartJob("a", 1, 600.0)]
    state, commands = run(state, JobEnded("a", 1, "succeed"))
    assert commands == [StartJob("b", 1, 600.0)]
    state, commands = run(state, JobEnded("b", 1, "succeed"))
    assert commands == [EndRun("success")]
    assert state.outcome == "success"


def test_no_more_jobs_run_than_may() -> None:
    state, commands = begun(node("a"), node("b"), node("c"), parallel=2)
    assert [c.id for c in commands if isinstance(c, StartJob)] == ["a", "b"]
    _, commands = run(state, JobEnded("b", 1, "succeed"))
    assert commands == [StartJob("c", 1, 600.0)]


def starts(commands: list[Command]) -> list[str]:
    return [command.id for command in commands if isinstance(command, StartJob)]


def test_the_longest_path_comes_first() -> None:
    graph = (node("a"), node("b"), node("c", "b"))
    state, commands = decide(plan_run(graph, 1, path_s={"a": 5.0, "b": 9.0, "c": 6.0}), Begin())
    assert starts([*commands]) == ["b"]
    _, more = run(state, JobEnded("b", 1, "succeed"), JobEnded("c", 1, "succeed"))
    assert starts(more) == ["c", "a"]


def test_two_heavy_jobs_do_not_run_at_once() -> None:
    state, commands = begun(node("a", weight=2), node("b", weight=2), node("c"), parallel=3)
    assert starts(commands) == ["a"], "c waits as well: b would wait for it"
    state, commands = run(state, JobEnded("a", 1, "succeed"))
    assert starts(commands) == ["b", "c"]


def test_a_job_heavier_than_all_that_may_run_runs_alone() -> None:
    state, commands = begun(node("a"), node("b", weight=9), node("c"), parallel=2)
    assert starts(commands) == ["a"]
    state, commands = run(state, JobEnded("a", 1, "succeed"))
    assert starts(commands) == ["b"]
    assert starts(run(state, JobEnded("b", 1, "succeed"))[1]) == ["c"]


def test_a_failure_blocks_what_depends_on_it_and_nothing_else() -> None:
    state, _ = begun(node("a"), node("b", "a"), node("c", "b"), node("d"))
    state, commands = run(state, JobEnded("a", 1, "fail"))
    assert phases(state) == {"a": "failure", "b": "blocked", "c": "blocked", "d": "running"}
    assert commands == []
    assert blockers(state, "c") == ("a",)
    state, commands = run(state, JobEnded("d", 1, "succeed"))
    assert commands == [EndRun("failure")]


def test_a_known_result_is_not_run_again() -> None:
    state, commands = run(plan_run((node("a"), node("b", "a")), 2), Begin(("a",)))
    assert commands == [StartJob("b", 1, 600.0)]
    assert phases(state)["a"] == "cached"
    _, commands = run(plan_run((node("a"), node("b", "a")), 2), Begin(("a", "b")))
    assert commands == [EndRun("success")]


def test_an_empty_run_ends_at_once() -> None:
    assert begun()[1] == [EndRun("success")]


def test_what_could_not_check_holds_nothing_up() -> None:
    state, _ = begun(node("a"), node("b", "a"))
    state, commands = run(state, JobEnded("a", 1, "not-check"))
    assert commands == [StartJob("b", 1, 600.0)]
    state, commands = run(state, JobEnded("b", 1, "succeed"))
    assert commands == [EndRun("success")]
    assert phases(state)["a"] == "not-checked"


def test_a_job_that_may_fail_holds_nothing_up() -> None:
    state, _ = begun(node("a", allow_failure=True), node("b", "a"))
    _, commands = run(state, JobEnded("a", 1, "fail"), JobEnded("b", 1, "succeed"))
    assert commands == [StartJob("b", 1, 600.0), EndRun("success")]


def test_retries() -> None:
    state, _ = begun(node("a", retries=2))
    state, commands = run(state, JobEnded("a", 1, "fail"))
    assert commands == [StartJob("a", 2, 600.0)]
    state, commands = run(state, JobEnded("a", 1, "succeed"))
    assert commands == [], "the first attempt is over; what it says late counts for nothing"
    state, commands = run(state, JobEnded("a", 2, "fail"), JobEnded("a", 3, "fail"))
    assert commands == [StartJob("a", 3, 600.0), EndRun("failure")]


def test_a_time_limit_ends_the_job_and_counts_as_a_failure() -> None:
    state, _ = begun(node("a"), node("b", "a"))
    state, commands = run(state, LimitPassed("a", 1))
    assert commands == [StopJob("a", 1)]
    assert phases(state)["b"] == "waiting", "it still runs until it has really ended"
    state, commands = run(state, JobEnded("a", 1, "succeed"))
    assert phases(state) == {"a": "timeout", "b": "blocked"}
    assert commands == [EndRun("failure")]


def test_a_time_limit_is_tried_again_when_retries_are_left() -> None:
    state, _ = begun(node("a", retries=1))
    _, commands = run(state, LimitPassed("a", 1), JobEnded("a", 1, "fail"))
    assert commands == [StopJob("a", 1), StartJob("a", 2, 600.0)]


def test_a_late_time_limit_means_nothing() -> None:
    state, _ = begun(node("a"), node("b"))
    state, commands = run(state, JobEnded("a", 1, "succeed"), LimitPassed("a", 1))
    assert commands == []
    assert phases(state)["a"] == "success"


def test_cancelling_stops_what_runs_and_starts_nothing() -> None:
    state, _ = begun(node("a", retries=3), node("b"), node("c", "a"), parallel=2)
    state, commands = run(state, CancelRequested())
    assert commands == [StopJob("a", 1), StopJob("b", 1)]
    state, commands = run(state, CancelRequested(), JobEnded("b", 1, "fail"), JobEnded("a", 1, "succeed"))
    assert commands == [EndRun("cancelled")]
    assert set(phases(state).values()) == {"cancelled"}


def test_fail_fast_stops_the_other_legs_only() -> None:
    legs = (node("m 1", fail_fast=True), node("m 2", fail_fast=True), node("m 3", fail_fast=True), node("x"))
    state, _ = begun(*legs, parallel=3)
    state, commands = run(state, JobEnded("m 1", 1, "fail"))
    assert commands == [StopJob("m 2", 1), StopJob("m 3", 1), StartJob("x", 1, 600.0)]
    assert phases(state) == {"m 1": "failure", "m 2": "stopping-cancel", "m 3": "stopping-cancel", "x": "running"}


def test_events_before_the_begin_and_after_the_end_mean_nothing() -> None:
    state = plan_run((node("a"),), 1)
    assert decide(state, JobEnded("a", 1, "succeed")) == (state, ())
    assert decide(state, CancelRequested()) == (state, ())
    ended, _ = run(state, Begin(), JobEnded("a", 1, "succeed"))
    for event in (Begin(), CancelRequested(), JobEnded("a", 1, "fail"), LimitPassed("a", 1)):
        assert decide(ended, event) == (ended, ())


def test_no_move_leads_out_of_an_outcome() -> None:
    final = GOOD | BROKEN | {"blocked", "cancelled"}
    assert not [phase for phase, _ in TRANSITIONS if phase in final]


@pytest.mark.parametrize("phase", sorted(ACTIVE))
def test_every_active_phase_can_end(phase: str) -> None:
    ends = {signal for start, signal in TRANSITIONS if start == phase}
    assert ends >= {"succeed", "fail", "not-check"}


# --- properties


@st.composite
def graphs(draw: st.DrawFn) -> tuple[JobNode, ...]:
    nodes: list[JobNode] = []
    for index in range(draw(st.integers(1, 7))):
        earlier = [other.id for other in nodes]
        needs = draw(st.lists(st.sampled_from(earlier), unique=True, max_size=3)) if earlier else []
        name = draw(st.sampled_from(["m", f"j{index}"]))
        nodes.append(
            node(
                f"{name} {index}",
                *needs,
                retries=draw(st.integers(0, 2)),
                allow_failure=draw(st.booleans()),
                fail_fast=draw(st.booleans()),
                weight=draw(st.sampled_from([1, 1, 2, 5])),
            )
        )
    return tuple(nodes)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(graphs(), st.integers(1, 4), st.data())
def test_invariants_of_any_run(graph: tuple[JobNode, ...], parallel: int, data: st.DataObject) -> None:
    """Every run ends; a job starts once per attempt, after its needs, within the limit, and never when cancelled."""
    by_id = {each.id: each for each in graph}
    hits = tuple(data.draw(st.lists(st.sampled_from(list(by_id)), unique=True, max_size=2)))
    path_s = {id_: data.draw(st.floats(0, 100)) for id_ in by_id}
    state, commands = decide(plan_run(graph, parallel, path_s=path_s), Begin(hits))
    alive: dict[str, int] = {}
    started: Counter[tuple[str, int]] = Counter()
    ends = 0
    steps = 0
    while True:
        for command in commands:
            if isinstance(command, StartJob):
                assert not [id_ for id_ in may_start(state) if path_s[id_] > path_s[command.id]], "overtaken by none"
                assert not state.cancelled
                assert command.id not in hits
                for need in by_id[command.id].needs:
                    may_fail = by_id[need].job.allow_failure and state.jobs[need].phase in BROKEN
                    assert state.jobs[need].phase in GOOD or may_fail
                started[command.id, command.attempt] += 1
                assert command.id not in alive
                alive[command.id] = command.attempt
            elif isinstance(command, EndRun):
                ends += 1
        assert len(alive) == 1 or sum(by_id[id_].job.weight for id_ in alive) <= parallel
        assert state.outcome is None or not alive
        if state.outcome is not None:
            break
        assert alive, "a run that has not ended has a job that runs"
        state, commands = decide(state, data.draw(events(alive)))
        steps += 1
        assert steps < 200
    assert ends == 1
    assert all(count == 1 for count in started.values())
    assert all(attempt <= by_id[id_].job.retries + 1 for id_, attempt in started)
    if state.outcome == "success":
        assert all(j.phase in GOOD or by_id[i].job.allow_failure for i, j in state.jobs.items())


def may_start(state: State) -> list[str]:
    """Those that wait for nothing but their turn."""
    done = {id_ for id_, job in state.jobs.items() if job.phase in GOOD}
    return [n.id for n in state.graph if state.jobs[n.id].phase == "waiting" and done.issuperset(n.needs)]


def events(alive: dict[str, int]) -> st.SearchStrategy[Event]:
    """Draw what may happen next; an end takes the job out of those that are alive."""

    def end(id_: str, result: Result) -> Event:
        return JobEnded(id_, alive.pop(id_), result)

    ids = st.sampled_from(sorted(alive))
    results: st.SearchStrategy[Result] = st.sampled_from(["succeed", "fail", "not-check"])
    rare = st.one_of(st.just(CancelRequested()), ids.map(lambda id_: LimitPassed(id_, alive[id_])))
    late = ids.map(lambda id_: LimitPassed(id_, alive[id_] + 1))
    ending = st.builds(end, ids, results)
    return st.one_of(ending, ending, ending, ending, rare, late)
