"""What jobs left, and how much of it stays here: the least recently used goes, what a release stands on stays."""

import msgspec

from openbell.adapters.store import Store, Usage
from openbell.wiring.project import OpenProject
from openbell.wiring.releases import Evidence
from openbell.wiring.state import StateFolder

MB = 1_000_000


def evict(place: OpenProject, *, size_bytes_max: int | None = None) -> Usage | None:
    """Remove results until no more than the project's limit, or so much, is kept; None while a run is in progress."""
    limit = place.project.cache.size_max_mb * MB if size_bytes_max is None else size_bytes_max
    return Store(place.state.store).evict(limit, pinned=evidence(place.state))


def evidence(state: StateFolder) -> frozenset[str]:
    """Name the results that releases stand on: their logs are looked at when something went wrong later."""
    pinned: set[str] = set()
    for file in (state.root / "releases").glob("*/evidence.json"):
        try:
            pinned |= {one.fingerprint for one in msgspec.json.decode(file.read_bytes(), type=list[Evidence])}
        except (OSError, msgspec.DecodeError):
            continue
    return frozenset(pinned)
