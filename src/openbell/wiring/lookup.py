"""Which results are known already: fingerprints of a run's jobs, and what the store has under them.

For a commit whose jobs are all cached this is most of what happens, so it imports little and reads each thing once.
"""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from openbell.adapters import git
from openbell.adapters.store import Store, Stored
from openbell.core.fingerprint import Manifest, explain_difference, fingerprint, write_manifest
from openbell.core.pattern import fill
from openbell.core.pipeline import JobNode, JobResult
from openbell.core.project import TriggerKind
from openbell.wiring.changes import ChangeFinder
from openbell.wiring.commit_history import history_of
from openbell.wiring.project import OpenProject
from openbell.wiring.selection import Selection
from openbell.wiring.sharding import Splitter
from openbell.wiring.surroundings import FIXED, Inputs, service_versions, tool_versions

if TYPE_CHECKING:
    from openbell.wiring.shared_store import SharedStore

NOT_CHECKED_S = 900.0
"""A job that could not check is asked again after this time: its reason (no network, say) passes."""

FIRST_TIME = "has no result that was kept"


class UsageError(Exception):
    """The request names something that is not there."""


def fingerprints(
    graph: Sequence[JobNode], seen: git.Snapshot, path: str, tools_file: Path, *, judged: tuple[ChangeFinder, Splitter]
) -> tuple[dict[str, Inputs], dict[str, Manifest]]:
    """Work out the fingerprint of every job of a graph; upstream jobs count where their outputs are taken.

    `judged` finds what else a verdict is about: the change, and the part of the tests.
    """
    finder, splitter = judged
    platform = "-".join((os.uname().sysname.lower(), os.uname().machine))
    tree = Selection(list(seen.files))
    wanted = dict.fromkeys(fill(tool, node.values) for node in graph for tool in node.job.tools)
    versions = tool_versions(tuple(wanted), path, tools_file)
    versions |= service_versions([service for node in graph for service in node.job.services])
    inputs: dict[str, Inputs] = {}
    manifests: dict[str, Manifest] = {}
    for node in graph:
        files = tree.select(node.job.inputs)
        if not files:
            what = f"job {node.id}: its inputs ({', '.join(node.job.inputs)}) match no file"
            raise UsageError(f"{what}; what git ignores is no input. See: openbell check")
        takes = node.job.needs is not None or "{artifacts}" in node.job.run
        tests = splitter.part(node, entries := {name: seen.files[name] for name in files})
        manifests[node.id] = write_manifest(
            node,
            entries,
            {tool: versions[tool] for tool in (*(fill(t, node.values) for t in node.job.tools), *_services_of(node))}
            | history_of(node, seen),
            {need: inputs[need].fingerprint for need in node.needs if takes},
            platform=platform,
            env=FIXED,
            settings=finder.settings(node.job, files) | splitter.settings(tests),
        )
        inputs[node.id] = Inputs(fingerprint(manifests[node.id]), tuple(files), tests)
    return inputs, manifests


def _services_of(node: JobNode) -> list[str]:
    return [f"service {name}" for name in node.job.services]


def look_elsewhere(
    place: OpenProject,
    kind: TriggerKind,
    fingerprints_: Mapping[str, str],
    graph: Sequence[JobNode],
) -> "tuple[SharedStore, dict[str, JobResult]]":
    """Look in the project's shared store for the results of a graph: those that may be reused, and the store.

    What the run makes goes there, too; where there is nothing to write it is closed already.
    """
    from openbell.wiring.shared_store import open_shared

    shared = open_shared(place.project, Store(place.state.store), kind)
    wanted = [node for node in graph if node.job.cache and not node.job.secrets]
    found = shared.find(fingerprints_[node.id] for node in wanted)
    hits: dict[str, JobResult] = {}
    for node in wanted:
        stored = found.get(fingerprints_[node.id])
        hit = _reuse(node, stored, time.time()) if stored else None
        if hit:
            hits[node.id] = msgspec.structs.replace(hit, reason=f"{hit.reason}, from the shared store")
    if not shared.writes or len(hits) == len(graph):
        shared.close()
    return shared, hits


def look_up(
    graph: Sequence[JobNode],
    inputs: Mapping[str, Inputs],
    manifests: Mapping[str, Manifest],
    store: Store,
    *,
    now_s: float,
) -> tuple[dict[str, JobResult], dict[str, str]]:
    """Find the results that are known, and say for the others why they are not."""
    known: dict[str, JobResult] = {}
    misses: dict[str, str] = {}
    for node in graph:
        stored = store.find(inputs[node.id].fingerprint) if node.job.cache else None
        hit = _reuse(node, stored, now_s) if stored else None
        if hit:
            known[node.id] = hit
        elif not node.job.cache:
            misses[node.id] = "never cached (cache = false)"
        elif stored:
            misses[node.id] = f"the result of run {stored.run} is too old"
        else:
            before = store.latest_manifest(node.id)
            difference = explain_difference(before, manifests[node.id]) if before else ""
            misses[node.id] = difference or (FIRST_TIME if before is None else "its result is gone")
    return known, misses


def _reuse(node: JobNode, stored: Stored, now_s: float) -> JobResult | None:
    age_s = max(0.0, now_s - stored.at_s)
    result = stored.result
    if result.outcome == "not-checked":
        if age_s > NOT_CHECKED_S:
            return None
        reason = f"{result.reason} (asked {age_s / 60:.0f} min ago in run {stored.run})"
        return msgspec.structs.replace(result, reason=reason, from_run=stored.run, duration_s=0.0)
    if node.job.cache_s is not None and age_s > node.job.cache_s:
        return None
    reason = f"same fingerprint as run {stored.run}"
    return msgspec.structs.replace(result, outcome="cached", reason=reason, from_run=stored.run, duration_s=0.0)
