"""Which shard of a job runs which tests: by what they took before, the longest first, each to the emptiest shard.

What is split are files of tests (in Go, packages) of the tree as it is, never a list from the past: so no test is lost
and none runs twice, whatever the history says. What has no timing yet goes to a shard by its name alone.

Source: Graham, Bounds on Multiprocessing Timing Anomalies (1969): at most 4/3 of the best split.
"""

import hashlib
from collections.abc import Mapping, Sequence

CLASSES_MAX = 2
"""So many classes may be named behind a module."""


def split(items: Sequence[str], durations_s: Mapping[str, float], *, shards: int) -> tuple[tuple[str, ...], ...]:
    """Split items over `shards`, at least 1; every item is in exactly one of them, in the order of its name."""
    from statistics import median  # Not before it is needed, as in `openbell.core.regression`.

    known = [item for item in dict.fromkeys(items) if item in durations_s]
    unknown = [item for item in dict.fromkeys(items) if item not in durations_s]
    loads_s = [0.0] * shards
    parts: list[list[str]] = [[] for _ in range(shards)]
    guess_s = median(durations_s[item] for item in known) if known else 0.0
    for item in unknown:
        place = int.from_bytes(hashlib.sha256(item.encode(errors="backslashreplace")).digest()[:8], "big") % shards
        parts[place].append(item)
        loads_s[place] += guess_s
    for item in sorted(known, key=lambda item: (-durations_s[item], item)):
        place = min(range(shards), key=lambda shard: (loads_s[shard], len(parts[shard]), shard))
        parts[place].append(item)
        loads_s[place] += durations_s[item]
    return tuple(tuple(sorted(part)) for part in parts)


def packages_of(files: Sequence[str]) -> tuple[str, ...]:
    """Name the Go packages of test files as `go test` takes them: "./book", "." for the root."""
    folders = dict.fromkeys(file.rpartition("/")[0] for file in files)
    return tuple(f"./{folder}" if folder else "." for folder in folders)


def match_durations(items: Sequence[str], reported_s: Mapping[str, float]) -> dict[str, float]:
    """Find what each item took under the name that reports have for it: a path, a dotted module, an import path."""
    by_last: dict[str, list[str]] = {}
    for item in items:
        by_last.setdefault(_key(item).rpartition("/")[2], []).append(item)
    found: dict[str, float] = {}
    for name, duration_s in reported_s.items():
        meant = _item_of(_key(name), by_last)
        if meant is not None:
            found[meant] = found.get(meant, 0.0) + duration_s
    return found


def _item_of(name: str, by_last: Mapping[str, Sequence[str]]) -> str | None:
    """Pytest puts classes behind a module, Go the path of the module in front of a package."""
    shorter = name
    for _ in range(CLASSES_MAX + 1):
        fitting = [item for item in by_last.get(shorter.rpartition("/")[2], ()) if _fits(_key(item), shorter)]
        if fitting:
            return max(fitting, key=lambda item: (len(item), item))
        shorter = shorter.rpartition("/")[0]
    return "." if name and "." in by_last.get("", ()) else None


def _fits(key: str, name: str) -> bool:
    return key == name or name.endswith(f"/{key}") or key.endswith(f"/{name}")


def _key(name: str) -> str:
    """Write a path, a module and an import path alike."""
    return name.removeprefix("./").removesuffix(".py").replace(".", "/").strip("/")
