"""Where the time of a run went: the critical path, the targets, what would be shorter."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbell.core.project import Targets
from openbell.core.timing import JobTimes, Spent, TimedJob, analyse, check_targets, critical_path, simulate, times_of


def timed(
    id_: str,
    begin_s: float,
    duration_s: float,
    *needs: str,
    queue_s: float = 0.0,
    stage: str = "test",
    whole: bool = False,
) -> TimedJob:
    times = JobTimes(begin_s, queue_s, duration_s, 0.0, needs, Spent(execute_s=duration_s))
    return TimedJob(id_, stage, times, whole_stage=whole)  # type: ignore[arg-type]


DIAMOND = [
    timed("lint", 1, 2, stage="quality"),
    timed("types", 1, 6, stage="quality"),
    timed("unit", 7, 30, "lint", "types", whole=True),
    timed("build", 37, 10, "unit", stage="build", whole=True),
]


def test_the_critical_path_goes_through_what_was_waited_for() -> None:
    path = critical_path(DIAMOND)
    assert [link.job for link in path] == ["types", "unit", "build"]
    assert [(link.waited_for, link.reason) for link in path] == [("", ""), ("types", "need"), ("unit", "need")]
    assert critical_path([]) == ()


def test_a_job_that_waited_for_a_place_waited_for_who_had_it() -> None:
    jobs = [timed("a", 0, 5), timed("b", 0, 20), timed("c", 5, 30, queue_s=5.0)]
    path = critical_path(jobs)
    assert [(link.job, link.waited_for, link.reason) for link in path] == [("a", "", ""), ("c", "a", "place")]


def test_the_parts_add_up() -> None:
    seen = analyse([*DIAMOND, TimedJob("docs", "quality", JobTimes(saved_s=4.0), known=True)], 50.0, {}, Targets(), 2)
    assert (seen.executed, seen.known, seen.hit_rate_pct, seen.saved_s) == (4, 1, 20.0, 4.0)
    assert seen.parts["execute_s"] == 48
    assert seen.stages == {"quality": 6, "test": 30, "build": 10}
    assert (seen.before_s, seen.after_s) == (1, 3)


def test_a_run_in_which_all_is_known_takes_no_time_for_jobs() -> None:
    seen = analyse([TimedJob("a", "test", JobTimes(saved_s=9.0), known=True)], 0.2, {}, Targets(), 2)
    assert (seen.executed, seen.critical_path, seen.suggestions, seen.stages) == (0, (), (), {})
    assert seen.hit_rate_pct == 100


@pytest.mark.parametrize(
    ("stages", "total_s", "deployments", "broken"),
    [
        ({"test": 600.0, "build": 900.0}, 2400.0, {"staging": 300.0, "production": 1200.0}, []),
        ({"test": 601.0}, 700.0, {}, ["test"]),
        ({"build": 901.0}, 1000.0, {}, ["build"]),
        ({}, 2401.0, {"staging": 301.0}, ["deploy staging", "total"]),
        ({}, 2000.0, {"production": 1201.0, "europe": 9999.0}, ["deploy production"]),
        ({"quality": 3000.0}, 2400.0, {}, []),
    ],
)
def test_the_targets_are_those_of_the_specification(
    stages: dict[str, float], total_s: float, deployments: dict[str, float], broken: list[str]
) -> None:
    met = check_targets(stages, total_s, deployments, Targets())
    assert [one.name for one in met if not one.kept] == broken


def test_other_environments_have_targets_of_their_own() -> None:
    met = check_targets({}, 1.0, {"europe": 61.0}, Targets(deployments={"europe": 60.0}))
    assert [one.name for one in met if not one.kept] == ["deploy europe"]


def test_what_would_be_shorter_is_said_with_its_seconds() -> None:
    wide = [timed(name, 0, 10) for name in "abcd"]
    (said,) = analyse(wide, 20.0, {}, Targets(), 2).suggestions[:1]
    assert said == "with a place for every job (--jobs 4, and as many processors) about 10.0 s of 20.0 s less"
    loose = [timed("lint", 0, 20, stage="quality"), timed("unit", 20, 20, "lint", whole=True)]
    said = analyse(loose, 40.0, {}, Targets(), 2).suggestions[0]
    assert said == "if unit named what they need in `needs`, and waited for no whole stage, about 20.0 s of 40.0 s less"
    long = [timed("unit", 0, 90), timed("lint", 0, 5)]
    assert analyse(long, 100.0, {}, Targets(), 2).suggestions == ("unit is 90 % of the run: split it with a `matrix`",)
    assert analyse([timed("unit", 0, 90)], 100.0, {}, Targets(), 2).suggestions == ()


def test_copies_and_services_that_cost_much_are_named() -> None:
    spent = Spent(copy_s=5.0, services_s=6.0, execute_s=1.0)
    jobs = [TimedJob(name, "test", JobTimes(0, 0, 12, 0, (), spent)) for name in ("a", "b")]
    said = " ".join(analyse(jobs, 12.0, {}, Targets(), 2).suggestions)
    assert "copying the tree took 10.0 s" in said
    assert "starting services took 12.0 s" in said


def test_times_follow_from_what_was_measured() -> None:
    spent = {
        "a": (Spent(begin_at_s=100.0), 10.0),
        "b": (Spent(begin_at_s=113.0), 5.0),
        "c": (Spent(begin_at_s=102.0), 1.0),
    }
    found = times_of(spent, {"b": ("a", "c", "cached")}, 98.0)
    assert (found["a"].begin_s, found["a"].queue_s) == (2, 0)
    assert (found["b"].begin_s, found["b"].queue_s, found["b"].end_s) == (15, 3, 20)
    assert found["c"].queue_s == 2, "it needs nothing, and began after the first job"


JOBS = st.lists(st.tuples(st.floats(0.1, 50), st.integers(0, 2**6 - 1)), min_size=1, max_size=6)


def build(drawn: list[tuple[float, int]]) -> tuple[list[TimedJob], dict[str, tuple[str, ...]]]:
    names = [f"j{index}" for index in range(len(drawn))]
    needs = {
        names[index]: tuple(name for bit, name in enumerate(names[:index]) if mask >> bit & 1)
        for index, (_, mask) in enumerate(drawn)
    }
    return [timed(name, 0, drawn[index][0], *needs[name]) for index, name in enumerate(names)], needs


@given(drawn=JOBS, parallel=st.integers(1, 6))
def test_a_schedule_is_as_long_as_its_longest_chain_and_its_work(drawn: list[tuple[float, int]], parallel: int) -> None:
    jobs, needs = build(drawn)
    took_s = simulate(jobs, parallel, needs)
    work_s = sum(duration_s for duration_s, _ in drawn)
    chain: dict[str, float] = {}
    for job in jobs:
        chain[job.id] = job.times.duration_s + max((chain[need] for need in needs[job.id]), default=0.0)
    assert max(chain.values()) - 1e-6 <= took_s <= work_s + 1e-6
    assert took_s >= work_s / parallel - 1e-6
    assert simulate(jobs, 1, needs) == pytest.approx(work_s)
    assert simulate(jobs, len(jobs), needs) == pytest.approx(max(chain.values()))


@given(drawn=JOBS)
def test_the_critical_path_is_a_chain_that_ends_last(drawn: list[tuple[float, int]]) -> None:
    jobs, needs = build(drawn)
    begins: dict[str, float] = {}
    placed = []
    for job in jobs:
        begins[job.id] = max(
            (begins[need] + by.times.duration_s for need in needs[job.id] for by in jobs if by.id == need), default=0.0
        )
        placed.append(timed(job.id, begins[job.id], job.times.duration_s, *needs[job.id]))
    path = critical_path(placed)
    assert path[-1].begin_s + path[-1].duration_s == pytest.approx(simulate(jobs, len(jobs), needs))
    for before, after in pairwise(path):
        assert before.begin_s + before.duration_s == pytest.approx(after.begin_s)
