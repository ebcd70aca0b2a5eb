"""Flaky tests: what is evidence, and what a change explains."""

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from openbell.core.history import Observation, find_flaky
from openbell.core.suite import CaseOutcome


def see(test: str, outcome: CaseOutcome, *, fingerprint: str = "f", run: str = "r", at_s: float = 1.0) -> Observation:
    return Observation(test, "unit", fingerprint, run, at_s, outcome)


def test_both_results_for_one_fingerprint_are_evidence() -> None:
    (flaky,) = find_flaky([see("a", "passed"), see("a", "failed", run="r2", at_s=2.0), see("b", "failed")])
    assert (flaky.test, flaky.times, flaky.failed, flaky.seen, flaky.last_run) == ("a", 1, 1, 2, "r2")


def test_a_change_explains_a_failure() -> None:
    assert find_flaky([see("a", "passed", fingerprint="1"), see("a", "failed", fingerprint="2")]) == ()


def test_without_a_fingerprint_nothing_is_known_to_be_the_same() -> None:
    assert find_flaky([see("a", "passed", fingerprint=""), see("a", "failed", fingerprint="")]) == ()


def test_a_skip_is_no_result() -> None:
    assert find_flaky([see("a", "skipped"), see("a", "failed")]) == ()


def test_the_flakiest_comes_first() -> None:
    seen = [see("a", "flaky"), see("b", "flaky"), see("b", "flaky", at_s=2), see("c", "flaky", at_s=3)]
    assert [flaky.test for flaky in find_flaky(seen)] == ["b", "c", "a"]


RESULTS = st.sampled_from(["passed", "failed", "skipped"])


@given(st.lists(st.tuples(st.sampled_from("ab"), RESULTS, st.sampled_from("12"))))
def test_flaky_are_exactly_those_with_both_results(seen: list[tuple[str, CaseOutcome, str]]) -> None:
    found = {flaky.test for flaky in find_flaky(see(test, outcome, fingerprint=key) for test, outcome, key in seen)}
    expected = {
        test
        for test, key in product("ab", "12")
        if {"passed", "failed"} <= {outcome for name, outcome, other in seen if (name, other) == (test, key)}
    }
    assert found == expected
