"""The identity of a trace: derived, valid, and below its caller's span."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbell.core.telemetry import begin_trace

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_without_a_caller_a_run_has_a_trace_of_its_own() -> None:
    trace, same, other = begin_trace("", "a", "b"), begin_trace("", "a", "b"), begin_trace("", "ab")
    assert trace == same
    assert trace.trace_id != other.trace_id
    assert trace.parent_id == ""
    assert re.fullmatch("[0-9a-f]{32}", trace.trace_id)


def test_below_a_caller_it_belongs_to_the_callers_trace() -> None:
    trace = begin_trace(PARENT, "a")
    assert (trace.trace_id, trace.parent_id) == (PARENT[3:35], PARENT[36:52])
    assert trace.traceparent(trace.task("unit")) == f"00-{trace.trace_id}-{trace.task('unit')}-01"
    assert trace.task("unit") != trace.task("lint") != trace.span_id
    assert not begin_trace(PARENT[:-1] + "0", "a").sampled


BROKEN = ("x", f"00-{'0' * 32}-00f067aa0ba902b7-01", f"{PARENT[:36]}{'0' * 16}-01", f"ff{PARENT[2:]}", PARENT.upper())


@pytest.mark.parametrize("broken", BROKEN)
def test_a_caller_that_makes_no_sense_is_none(broken: str) -> None:
    assert begin_trace(broken, "a") == begin_trace("", "a")


@given(st.text(), st.text())
def test_whatever_the_caller_says_the_ids_are_valid(caller: str, name: str) -> None:
    trace = begin_trace(caller, name)
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]", trace.traceparent(trace.task(name)))
