"""Strategies compile to the steps of the specification, with its numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbell.core.project import Approval, Environment, RolloutPolicy, StrategyName
from openbell.core.strategy import (
    AnyStep,
    Approve,
    Handover,
    Hold,
    Migrate,
    Place,
    Retire,
    Route,
    Smoke,
    Watch,
    compile_return,
    compile_steps,
)

CLEAR = Retire(side="candidate", replicas=0)


def compiled(environment: Environment, *, stable: int | None) -> tuple[AnyStep, ...]:
    return compile_steps(environment, smoke="smoke", expand=True, contract=True, stable_replicas=stable)


def test_blue_green_is_the_specification() -> None:
    environment = Environment(strategy="blue-green", replicas=5, approval=Approval())
    assert compiled(environment, stable=5) == (
        CLEAR,
        Migrate(phase="expand"),
        Place(side="candidate", replicas=5),
        Smoke(job="smoke"),
        Approve(required=1),
        Route(weight_pct=5, sessions="stable"),
        Hold(duration_s=300),
        Route(weight_pct=100, sessions="candidate"),
        Handover(source="stable", keep=0),
        Watch(duration_s=600),
        Retire(side="stable", replicas=1),
        Migrate(phase="contract"),
    )


def test_canary_is_the_specification() -> None:
    steps = compiled(Environment(strategy="canary"), stable=2)
    shown = [(s.weight_pct if isinstance(s, Route) else s.duration_s) for s in steps if isinstance(s, (Route, Hold))]
    assert shown == [5, 300, 25, 600, 50, 900, 100]


def test_rolling_replaces_one_after_the_other() -> None:
    assert compiled(Environment(strategy="rolling", replicas=2), stable=2) == (
        CLEAR,
        Migrate(phase="expand"),
        Place(side="candidate", replicas=1),
        Smoke(job="smoke"),
        Route(weight_pct=50, sessions="candidate"),
        Handover(source="stable", keep=1),
        Retire(side="stable", replicas=1),
        Place(side="candidate", replicas=2),
        Route(weight_pct=100, sessions="candidate"),
        Handover(source="stable", keep=0),
        Retire(side="stable", replicas=0),
        Migrate(phase="contract"),
    )


@pytest.mark.parametrize("strategy", ["rolling", "blue-green", "canary"])
def test_a_first_release_needs_no_weights(strategy: StrategyName) -> None:
    steps = compiled(Environment(strategy=strategy, replicas=3), stable=None)
    kinds = [type(step) for step in steps]
    assert kinds == [Retire, Migrate, Place, Smoke, Route, Migrate]
    assert steps[4] == Route(weight_pct=100, sessions="candidate")


def test_the_way_back_after_promotion_scales_up_before_it_switches() -> None:
    steps = compile_return(Environment(replicas=5, rollout=RolloutPolicy(keep_replicas=1)))
    assert steps[:2] == (Place(side="candidate", replicas=5), Route(weight_pct=100, sessions="candidate"))
    assert steps[-1] == Retire(side="stable", replicas=1)


@given(
    strategy=st.sampled_from(["rolling", "blue-green", "canary"]),
    replicas=st.integers(1, 9),
    old=st.integers(1, 9),
    surge=st.integers(0, 4),
    unavailable=st.integers(0, 4),
)
def test_steps_keep_their_promise(
    strategy: StrategyName, replicas: int, old: int, surge: int, unavailable: int
) -> None:
    """Weights rise onto a placed side, capacity stays within surge and unavailability, work is moved before it goes."""
    if surge + unavailable == 0:
        surge = 1
    room = max(surge, 1)
    policy = RolloutPolicy(max_surge=surge, max_unavailable=unavailable)
    steps = compiled(Environment(strategy=strategy, replicas=replicas, rollout=policy), stable=old)
    placed, left, weight, handed = 0, old, 0, old
    for step in steps:
        match step:
            case Place(side="candidate", replicas=number):
                placed = number
                if strategy == "rolling":
                    assert placed + left <= max(replicas + room, old)
            case Route(weight_pct=raised):
                assert placed > 0
                assert raised >= weight
                weight = raised
            case Handover(source="stable", keep=keep):
                handed = keep
            case Retire(side="stable", replicas=number):
                assert number >= handed or placed == 0 or number == replicas
                left = min(left, number)
                assert left > 0 or weight == 100
                if strategy == "rolling":
                    assert placed + left >= min(old, max(1, replicas - unavailable))
    assert (placed, weight) == (replicas, 100)
    assert left == (0 if strategy != "blue-green" else min(old, policy.keep_replicas))
