"""The judge of benchmarks on seeded noise: how often it cries wolf, and how often it misses one."""

import random
from collections.abc import Callable

import pytest

from openbell.core.regression import (
    LOOKS,
    ROUNDS_MIN,
    Comparison,
    Decision,
    compare,
    compare_all,
    sum_up,
)

Noise = Callable[[random.Random], float]


def resampler(seed: int) -> Callable[[int], list[int]]:
    generator = random.Random(seed)  # noqa: S311
    return lambda count: generator.choices(range(count), k=count)


def judge(seed: int, ratio: float, noise: Noise, rounds_max: int = 30) -> Decision:
    """Measure round by round as a run does, with a machine whose speed drifts, and stop when it is decided."""
    generator = random.Random(seed)  # noqa: S311
    pairs: list[tuple[float, float]] = []
    found: Decision = "undecided"
    speed = 1.0
    while len(pairs) < rounds_max:
        speed *= generator.uniform(0.95, 1.05)
        pairs.append((speed * noise(generator), speed * ratio * noise(generator)))
        if len(pairs) in LOOKS or len(pairs) == rounds_max:
            found = compare("x", pairs, regression_max_pct=10, resample=resampler(seed)).decision
            if found != "undecided":
                break
    return found


def quiet(generator: random.Random) -> float:
    return generator.lognormvariate(0, 0.03)


def spiky(generator: random.Random) -> float:
    """A shared machine: one measurement in seven is up to twice as slow."""
    return quiet(generator) * (generator.uniform(1.2, 2.0) if generator.random() < 1 / 7 else 1.0)


@pytest.mark.slow
@pytest.mark.parametrize("noise", [quiet, spiky])
@pytest.mark.parametrize(
    ("ratio", "slower_at_most", "slower_at_least"),
    [(1.0, 0, 0), (1.10, 6, 0), (1.2, 60, 50), (0.8, 0, 0)],
    ids=["unchanged", "at the bound", "20 % slower", "faster"],
)
def test_how_often_it_is_right(noise: Noise, ratio: float, slower_at_most: int, slower_at_least: int) -> None:
    """Of 60 trials; at the bound itself every "slower" is a false alarm."""
    decisions = [judge(seed, ratio, noise) for seed in range(60)]
    slower = decisions.count("slower")
    assert slower_at_least <= slower <= slower_at_most, decisions
    if ratio == 1.2:
        assert decisions.count("no slower") == 0


def test_few_rounds_decide_nothing() -> None:
    found = compare("x", [(1.0, 9.0)] * (ROUNDS_MIN - 1), regression_max_pct=10, resample=resampler(0))
    assert (found.ratio, found.decision) == (9.0, "undecided")


@pytest.mark.parametrize(
    ("candidate_s", "decision"), [(1.0, "no slower"), (1.1, "no slower"), (1.11, "slower"), (0.1, "no slower")]
)
def test_without_noise_the_bound_decides(candidate_s: float, decision: Decision) -> None:
    found = compare("x", [(1.0, candidate_s)] * ROUNDS_MIN, regression_max_pct=10, resample=resampler(0))
    assert (found.low, found.high, found.decision) == (candidate_s, candidate_s, decision)


def test_the_same_times_give_the_same_verdict() -> None:
    generator = random.Random(1)  # noqa: S311
    pairs = [(generator.uniform(1, 2), generator.uniform(1, 2)) for _ in range(12)]
    once, again = (compare("x", pairs, regression_max_pct=10, resample=resampler(3)) for _ in range(2))
    assert once == again
    assert once.low <= once.ratio <= once.high


def test_only_what_both_sides_always_measure_is_compared() -> None:
    rounds = [({"a": 1.0, "b": 1.0}, {"a": 1.0, "c": 1.0})] * ROUNDS_MIN
    (found,) = compare_all(rounds, regression_max_pct=10, resample=resampler(0))
    assert found.name == "a"
    assert compare_all([], regression_max_pct=10, resample=resampler(0)) == ()


def comparison(name: str, ratio: float, decision: Decision) -> Comparison:
    return Comparison(name, 1.0, ratio, ratio, ratio - 0.05, ratio + 0.05, 8, decision)


@pytest.mark.parametrize(
    ("found", "verdict", "reason"),
    [
        ([], "undecided", "no benchmark is on both sides; only here: new"),
        (
            [comparison("a", 1.0, "no slower"), comparison("b", 1.2, "slower"), comparison("c", 1.3, "undecided")],
            "slower",
            "slower by more than 10 %: b 1.20x (1.15 to 1.25, 8 rounds); only here: new",
        ),
        (
            [comparison("a", 1.09, "undecided"), comparison("b", 1.1, "undecided")],
            "undecided",
            "undecided whether slower by 10 %: b 1.10x (1.05 to 1.15, 8 rounds) and 1 more; only here: new",
        ),
        (
            [comparison("a", 1.0, "no slower")],
            "no slower",
            "1 benchmark no slower by 10 %, at most a 1.00x (0.95 to 1.05, 8 rounds); only here: new",
        ),
    ],
)
def test_what_comparisons_come_to(found: list[Comparison], verdict: str, reason: str) -> None:
    assert sum_up(found, ["new"], regression_max_pct=10) == (verdict, reason)
