"""What is expected of jobs, and the longest path."""

import msgspec
import pytest

from openbell.core.durations import KEPT_MAX, expected_s, median, path_lengths_s, remember
from openbell.core.pipeline import JobNode
from openbell.core.project import Job


def node(id_: str, *needs: str, stage: str = "test") -> JobNode:
    return JobNode(id_, id_, msgspec.convert({"stage": stage, "run": "x", "timeout_s": 60}, Job), {}, needs)


def test_what_is_not_known_takes_as_long_as_its_stage_or_as_it_may() -> None:
    graph = (node("a"), node("b"), node("c"), node("d", stage="build"))
    assert expected_s(graph, {"a": (1.0, 9.0, 2.0), "b": (4.0,)}) == {"a": 2.0, "b": 4.0, "c": 3.0, "d": 60.0}


def test_the_longest_path() -> None:
    graph = (node("a"), node("b"), node("c", "a", "b"), node("d", "b"))
    lengths = path_lengths_s(graph, {"a": 1.0, "b": 2.0, "c": 3.0, "d": 7.0})
    assert lengths == {"a": 4.0, "b": 9.0, "c": 3.0, "d": 7.0}


def test_only_the_last_durations_are_remembered() -> None:
    known: dict[str, tuple[float, ...]] = {"other": (1.0,)}
    for number in range(KEPT_MAX + 2):
        known = remember(known, {"a": float(number)})
    assert known == {"other": (1.0,), "a": tuple(float(number) for number in range(2, KEPT_MAX + 2))}


@pytest.mark.parametrize(("values", "middle"), [((3.0,), 3.0), ((1.0, 2.0), 1.5), ((9.0, 1.0, 5.0), 5.0)])
def test_median(values: tuple[float, ...], middle: float) -> None:
    assert median(values) == middle
