"""The name under which another system may keep a job's result: its fingerprint, and the time when that runs out."""

import time

from openbell.core.pipeline import build_graph, select
from openbell.core.project import COMMIT_STAGES
from openbell.wiring.changes import ChangeFinder
from openbell.wiring.pipeline import RunRequest, UsageError, fingerprints, plan_of
from openbell.wiring.project import OpenProject
from openbell.wiring.sharding import Splitter
from openbell.wiring.surroundings import search_path


def result_key(place: OpenProject, job: str) -> str:
    """Return the key of one leg of a job for the tree that is checked out; "" when its result is never reused.

    A result that is good for a time gets a new key when that time is over. Raises `UsageError` for what is no one leg.
    """
    names = tuple(name for name, one in place.project.jobs.items() if one.stage in COMMIT_STAGES)
    graph = build_graph(place.project, names)
    wanted = select(graph, (job,), with_needs=False)
    if len(wanted) != 1:
        known = ", ".join(node.id for node in graph)
        many = f"{len(wanted)} legs have" if wanted else "no job has"
        raise UsageError(f'{many} the name "{job}"; name one of: {known}')
    node = wanted[0]
    if not node.job.cache:
        return ""
    seen, _ = plan_of(place, RunRequest())
    judged = (ChangeFinder(place.project, seen), Splitter.of(place.state, shared=True))
    inputs, _ = fingerprints(graph, seen, search_path(), place.state.root / "tools.json", judged=judged)
    found = inputs[node.id].fingerprint
    return found if node.job.cache_s is None else f"{found}-{int(time.time() // node.job.cache_s)}"
