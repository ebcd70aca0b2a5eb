"""Is a benchmark slower than before? Judged by repeated, interleaved runs of both sides, not by one number.

Each round measures base and candidate one after the other, so what disturbs the machine disturbs both. The median
of the ratios of all rounds has an interval by a bootstrap over rounds: it is slower when even the lower end is beyond
the bound, no slower when the upper end is within it, and undecided between. Not the ratio of the medians of both sides:
what drifts from round to round is in both times of a round, and gone from their ratio. Undecided is said, and never
called a pass.

Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13; Kalibera and Jones, Rigorous
Benchmarking in Reasonable Time (2013).
"""

from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

Decision = Literal["slower", "no slower", "undecided"]
Verdict = Literal["no slower", "slower", "undecided", "failed"]

CONFIDENCE = 0.99
"""Of the interval of one benchmark. It is looked at after several rounds, each a chance to be wrong."""

RESAMPLES = 1000
ROUNDS_MIN = 6
"""With fewer pairs no interval of a median has that confidence."""

REGRESSION_MAX_PCT = 10.0
LOOKS = (6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 70, 100)
"""After so many rounds it is looked whether all is decided."""

Resample = Callable[[int], Sequence[int]]
"""Draws as many of the numbers below n as there are, with replacement."""


class Comparison(msgspec.Struct, frozen=True):
    """One benchmark on both sides: its medians, their ratio with its interval, and what follows."""

    name: str
    base_s: float
    candidate_s: float
    ratio: float
    low: float
    high: float
    rounds: int
    decision: Decision

    @property
    def words(self) -> str:
        """Say it in a line: "book.BenchmarkMatch 1.21x (1.15 to 1.27, 8 rounds)"."""
        return f"{self.name} {self.ratio:.2f}x ({self.low:.2f} to {self.high:.2f}, {self.rounds} rounds)"


class BenchDocument(msgspec.Struct, frozen=True):
    """`openbell bench --json`; described in docs/schema/bench.json. `only_here` cannot be compared."""

    job: str
    commit: str
    base: str
    regression_max_pct: float
    verdict: Verdict
    reason: str
    benchmarks: tuple[Comparison, ...] = ()
    only_here: tuple[str, ...] = ()


def compare(
    name: str, pairs: Sequence[tuple[float, float]], *, regression_max_pct: float, resample: Resample
) -> Comparison:
    """Compare a benchmark by pairs of times (base, candidate) in seconds, one per round, all above 0."""
    from statistics import median  # Not before it is needed: it costs a run in which all is known more than the rest.

    ratios = [candidate / base for base, candidate in pairs]
    ratio = median(ratios)
    low = high = ratio
    decision: Decision = "undecided"
    if len(pairs) >= ROUNDS_MIN:
        low, high = _bounds_of_ratio(ratios, resample)
        bound = 1 + regression_max_pct / 100
        decision = "slower" if low > bound else "no slower" if high <= bound else "undecided"
    base_s, candidate_s = median(pair[0] for pair in pairs), median(pair[1] for pair in pairs)
    return Comparison(name, base_s, candidate_s, ratio, low, high, len(pairs), decision)


def _bounds_of_ratio(ratios: Sequence[float], resample: Resample) -> tuple[float, float]:
    from statistics import median

    drawn = sorted(median([ratios[place] for place in resample(len(ratios))]) for _ in range(RESAMPLES))
    tail = (1 - CONFIDENCE) / 2
    return drawn[int(tail * RESAMPLES)], drawn[min(RESAMPLES - 1, int((1 - tail) * RESAMPLES))]


def compare_all(
    rounds: Sequence[tuple[dict[str, float], dict[str, float]]], *, regression_max_pct: float, resample: Resample
) -> tuple[Comparison, ...]:
    """Compare every benchmark that both sides measured in each round, by rounds of (base, candidate) times by name."""
    if not rounds:
        return ()
    names = [name for name in rounds[0][1] if all(name in base and name in candidate for base, candidate in rounds)]
    return tuple(
        compare(
            name,
            [(base[name], candidate[name]) for base, candidate in rounds],
            regression_max_pct=regression_max_pct,
            resample=resample,
        )
        for name in names
    )


def sum_up(found: Sequence[Comparison], only_here: Sequence[str], *, regression_max_pct: float) -> tuple[Decision, str]:
    """Say what comparisons come to: one that is slower outweighs all, one that is undecided those that are not."""
    more = f"; only here: {', '.join(only_here)}" if only_here else ""
    if not found:
        return "undecided", f"no benchmark is on both sides{more}"
    slower = [one for one in found if one.decision == "slower"]
    undecided = [one for one in found if one.decision == "undecided"]
    worst = max(slower or undecided or found, key=lambda one: one.ratio)
    others = len(slower or undecided) - 1
    also = f" and {others} more" if others > 0 else ""
    if slower:
        return "slower", f"slower by more than {regression_max_pct:g} %: {worst.words}{also}{more}"
    if undecided:
        return "undecided", f"undecided whether slower by {regression_max_pct:g} %: {worst.words}{also}{more}"
    count = f"{len(found)} benchmark{'' if len(found) == 1 else 's'}"
    return "no slower", f"{count} no slower by {regression_max_pct:g} %, at most {worst.words}{more}"
