"""How long jobs took in earlier runs of a project: one small file, by which a run begins with what takes longest.

It is a hint and no more. Whoever writes last wins, and what cannot be read or written is done without.
"""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from openbell.core.durations import expected_s, path_lengths_s, remember
from openbell.core.pipeline import JobNode, JobResult
from openbell.core.schedule import State, plan_run
from openbell.wiring.state import StateFolder


def plan_by_durations(graph: tuple[JobNode, ...], parallel: int, state: StateFolder) -> State:
    """Plan a run so that the jobs on its longest path begin first."""
    return plan_run(graph, parallel, path_s=path_lengths_s(graph, expected_s(graph, _load(_file(state)))))


def remember_durations(results: Sequence[JobResult], state: StateFolder) -> None:
    """Remember how long the jobs that passed took to execute."""
    took_s = {result.id: result.duration_s for result in results if result.outcome == "success"}
    if not took_s:
        return
    file = _file(state)
    unfinished = file.with_name(f"{file.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        unfinished.write_bytes(msgspec.json.encode(remember(_load(file), took_s)))
        unfinished.replace(file)


def _file(state: StateFolder) -> Path:
    return state.root / "durations.json"


def _load(file: Path) -> dict[str, tuple[float, ...]]:
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, tuple[float, ...]])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return {}
