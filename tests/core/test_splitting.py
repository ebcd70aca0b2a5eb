"""Shards: no test lost, none doubled, and nearly even."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbell.core.splitting import match_durations, packages_of, split

NAMES = st.lists(st.text("abc/._", min_size=1, max_size=6), max_size=30)
DURATIONS_S = st.dictionaries(st.text("abc/._", min_size=1, max_size=6), st.floats(0, 1e6), max_size=30)


@given(NAMES, DURATIONS_S, st.integers(1, 8))
def test_no_test_is_lost_or_doubled(items: list[str], durations_s: dict[str, float], shards: int) -> None:
    parts = split(items, durations_s, shards=shards)
    assert len(parts) == shards
    assert sorted(item for part in parts for item in part) == sorted(set(items))
    assert split(items[::-1], durations_s, shards=shards) == parts, "the order that files are listed in means nothing"


@given(st.dictionaries(st.text("abc", min_size=1, max_size=4), st.floats(0.1, 100), min_size=1), st.integers(1, 6))
def test_the_slowest_shard_is_at_most_a_third_above_the_best(durations_s: dict[str, float], shards: int) -> None:
    parts = split(list(durations_s), durations_s, shards=shards)
    slowest = max(sum(durations_s[item] for item in part) for part in parts)
    best_at_least = max(sum(durations_s.values()) / shards, *durations_s.values(), 0.0)
    if len(durations_s) > shards:
        pair = sorted(durations_s.values(), reverse=True)[shards - 1 : shards + 1]
        best_at_least = max(best_at_least, sum(pair))
    assert slowest <= best_at_least * 4 / 3 + 1e-9


@given(NAMES, st.text("abc", min_size=1), st.integers(1, 5))
def test_what_is_unknown_stays_where_its_name_puts_it(items: list[str], new: str, shards: int) -> None:
    def place(of: list[str]) -> int:
        return next(number for number, part in enumerate(split(of, {}, shards=shards)) if new in part)

    assert place([*items, new]) == place([new])


def test_the_longest_first() -> None:
    durations_s = {"a": 5.0, "b": 4.0, "c": 3.0, "d": 3.0, "e": 3.0}
    assert split(list(durations_s), durations_s, shards=2) == (("a", "d"), ("b", "c", "e"))


@pytest.mark.parametrize(
    ("reported", "item"),
    [
        ("tests/core/test_book.py", "tests/core/test_book.py"),
        ("tests.core.test_book", "tests/core/test_book.py"),
        ("tests.core.test_book.TestOrders", "tests/core/test_book.py"),
        ("tests.core.test_book.TestOrders.TestDeep", "tests/core/test_book.py"),
        ("core.test_book", "tests/core/test_book.py"),
        ("test_top", "test_top.py"),
        ("example.com/m/book", "./book"),
        ("example.com/m/core/book", "./core/book"),
        ("example.com/m", "."),
        ("other.test_x", "."),
    ],
)
def test_whose_time_a_report_tells(reported: str, item: str) -> None:
    items = ["tests/core/test_book.py", "test_top.py", "./book", "./core/book", "."]
    assert match_durations(items, {reported: 2.0}) == {item: 2.0}


def test_times_of_classes_add_up() -> None:
    times_s = {"t.test_a.A": 1.0, "t.test_a.B": 2.0, "t.test_a": 4.0, "elsewhere": 9.0}
    assert match_durations(["t/test_a.py"], times_s) == {"t/test_a.py": 7.0}


def test_packages_are_named_as_go_takes_them() -> None:
    assert packages_of(["a_test.go", "b_test.go", "x/y/z_test.go"]) == (".", "./x/y")
