"""How long jobs are expected to take, from how long they took, and what of a run is its critical path.

A job that never ran is expected to take as long as the median of its stage, and where the stage has none, as long as
its time limit: what is not known is begun early rather than late.
"""

from collections.abc import Mapping, Sequence

from openbell.core.pipeline import JobNode

KEPT_MAX = 5
"""So many durations of a job are remembered; what took long last year says nothing."""


def expected_s(graph: Sequence[JobNode], took_s: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Say how long each job of a graph is expected to take; `took_s` are earlier durations by job id."""
    known = {node.id: median(took_s[node.id]) for node in graph if took_s.get(node.id)}
    by_stage: dict[str, list[float]] = {}
    for node in graph:
        if node.id in known:
            by_stage.setdefault(node.stage, []).append(known[node.id])
    return {
        node.id: known[node.id]
        if node.id in known
        else median(by_stage[node.stage])
        if node.stage in by_stage
        else node.job.timeout_s
        for node in graph
    }


def path_lengths_s(graph: Sequence[JobNode], expected: Mapping[str, float]) -> dict[str, float]:
    """Say for each job how long the longest path from its begin to the end of the run is."""
    lengths: dict[str, float] = {node.id: 0.0 for node in graph}
    # Needs come first in a graph, so that from its end on all that depends on a job is done before it.
    for node in reversed(graph):
        lengths[node.id] += expected[node.id]
        for need in node.needs:
            lengths[need] = max(lengths[need], lengths[node.id])
    return lengths


def remember(took_s: Mapping[str, Sequence[float]], new_s: Mapping[str, float]) -> dict[str, tuple[float, ...]]:
    """Return durations with new ones added; the oldest beyond `KEPT_MAX` go."""
    added = {id_: (*took_s.get(id_, ()), value)[-KEPT_MAX:] for id_, value in new_s.items()}
    return {**{id_: tuple(values) for id_, values in took_s.items()}, **added}


def median(values: Sequence[float]) -> float:
    """Return the middle of some numbers, of which there is at least one."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
