"""Matrices: what is excluded, what is included, and that the meaning is that of GitHub Actions."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbell.core.matrix import filled, legs, names
from openbell.core.matrix_rules import check_matrix
from openbell.core.project import Job

Entries = tuple[dict[str, str], ...]


def job(include: Entries = (), exclude: Entries = (), **matrix: tuple[str, ...]) -> Job:
    return Job(stage="test", run="x", matrix=matrix, matrix_include=include, matrix_exclude=exclude)


def problems(job_: Job) -> list[str]:
    return [problem.message for problem in check_matrix(("jobs", "j"), "j", job_)]


def test_a_matrix_multiplies_and_none_is_one_leg() -> None:
    assert legs(job(a=("1", "2"), b=("x",))) == ({"a": "1", "b": "x"}, {"a": "2", "b": "x"})
    assert legs(job()) == ({},)


def test_an_entry_excludes_each_leg_that_has_all_of_it() -> None:
    excluding = job(exclude=({"a": "1", "b": "x"}, {"a": "3"}), a=("1", "2", "3"), b=("x", "y"))
    assert legs(excluding) == ({"a": "1", "b": "y"}, {"a": "2", "b": "x"}, {"a": "2", "b": "y"})


def test_the_example_of_the_documentation_of_github_actions() -> None:
    including = job(
        include=(
            {"color": "green"},
            {"color": "pink", "animal": "cat"},
            {"fruit": "apple", "shape": "circle"},
            {"fruit": "banana"},
            {"fruit": "banana", "animal": "cat"},
        ),
        fruit=("apple", "pear"),
        animal=("cat", "dog"),
    )
    assert legs(including) == (
        {"fruit": "apple", "animal": "cat", "color": "pink", "shape": "circle"},
        {"fruit": "apple", "animal": "dog", "color": "green", "shape": "circle"},
        {"fruit": "pear", "animal": "cat", "color": "pink"},
        {"fruit": "pear", "animal": "dog", "color": "green"},
        {"fruit": "banana"},
        {"fruit": "banana", "animal": "cat"},
    )


def test_what_is_excluded_may_be_included_again() -> None:
    again = job(include=({"a": "1", "extra": "yes"},), exclude=({"a": "1"},), a=("1", "2"))
    assert legs(again) == ({"a": "2"}, {"a": "1", "extra": "yes"})


def test_entries_alone_are_the_legs() -> None:
    alone = job(include=({"a": "1"}, {"b": "2"}))
    assert legs(alone) == ({"a": "1"}, {"b": "2"})
    assert names(alone) == ("a", "b")
    assert filled(alone, {"a": "1"}) == {"a": "1", "b": ""}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (job(exclude=({"b": "1"},), ab=("1",)), 'matrix_exclude: "b" is no axis of the matrix. Did you mean "ab"?'),
        (job(exclude=({"a": "3"},), a=("1", "2")), 'matrix_exclude: a = "3" excludes nothing; it is one of 1, 2.'),
        (job(exclude=({"a": "1"},), a=("1",)), "everything is excluded, so the job would never run."),
        (job(include=({},), a=("1",)), "matrix_include: an entry is empty. Name an axis, or remove it."),
        (job(include=({"out": "x"},), a=("1",)), 'axis "out": that name is taken ({out}). Rename it.'),
        (job(include=({"a": "2"}, {"a": "2"}), a=("1",)), '"j (a=2)" is there twice. Remove one.'),
        (job(a=tuple(map(str, range(257)))), "257 legs; at most 256 are allowed."),
        (
            Job(stage="test", run="x", matrix=dict.fromkeys("abcdefg", tuple("1234"))),
            "16384 combinations; at most 4096 are allowed.",
        ),
    ],
)
def test_what_is_wrong_is_said(wrong: Job, message: str) -> None:
    assert message in problems(wrong)


def test_so_many_may_be_excluded_that_the_rest_are_few() -> None:
    many = tuple(map(str, range(20)))
    assert problems(job(exclude=tuple({"a": str(n)} for n in range(8)), a=many, b=many)) == []


AXIS = st.sampled_from(["a", "b", "c"])
VALUE = st.sampled_from(["1", "2", "3"])


@given(
    st.dictionaries(AXIS, st.lists(VALUE, min_size=1, unique=True).map(tuple)),
    st.lists(st.dictionaries(AXIS, VALUE, min_size=1), max_size=4),
    st.lists(st.dictionaries(AXIS, VALUE, min_size=1), max_size=4),
)
def test_any_matrix(matrix: dict[str, Any], include: list[dict[str, str]], exclude: list[dict[str, str]]) -> None:
    found = legs(job(tuple(include), tuple(exclude), **matrix))
    for entry in include:
        assert any(entry.keys() <= leg.keys() for leg in found)
    for leg in found:
        whole = leg.keys() >= matrix.keys() and all(leg[axis] in matrix[axis] for axis in matrix)
        excluded = any(entry.items() <= leg.items() for entry in exclude if entry.keys() <= matrix.keys())
        assert (whole and not excluded) or any(entry.items() <= leg.items() for entry in include)
