"""Which tests each leg of a sharded job runs: those files of its inputs that `tests` names, split by earlier timings.

What was decided for the same inputs stays, so that results can be reused and legs that run one by one fit together.
Where a run is spread over machines nobody can know what the others remember: there names alone decide.
"""

import hashlib
from collections.abc import Mapping

import msgspec

from openbell.core.pipeline import JobNode
from openbell.ports import AdapterError
from openbell.wiring.state import StateFolder
from openbell.wiring.surroundings import select_files

Parts = tuple[tuple[str, ...], ...]


class Splitter:
    """Splits the tests of sharded jobs; without a state that remembers timings, by names."""

    def __init__(self, state: StateFolder | None) -> None:
        self.state = state
        self.decided: dict[tuple[str, str], Parts] = {}

    @classmethod
    def of(cls, state: StateFolder, *, shared: bool) -> "Splitter":
        """Make the splitter of a run; machines that share one do not share what they remember."""
        return cls(None if shared else state)

    def part(self, node: JobNode, entries: Mapping[str, str]) -> tuple[str, ...] | None:
        """Return the tests of one leg among its inputs (path to content); None when its job has no shards.

        Go's tests are split by package, all others by file.
        """
        job = node.job
        if job.shards == 1:
            return None
        key = _key(node, entries)
        if (node.name, key) not in self.decided:
            from openbell.core.splitting import packages_of

            files = select_files(list(entries), job.tests)
            is_go = bool(files) and all(name.endswith("_test.go") for name in files)
            self.decided[node.name, key] = self._decide(node, key, packages_of(files) if is_go else tuple(files))
        return self.decided[node.name, key][int(node.axes["shard"]) - 1]

    def settings(self, tests: tuple[str, ...] | None) -> dict[str, str]:
        """Name a leg's part of the tests for the fingerprint of its result."""
        return {} if tests is None else {"part": "\n".join(tests)}

    def _decide(self, node: JobNode, key: str, items: tuple[str, ...]) -> Parts:
        # Imported late, as all that only sharded jobs need: a run in which all is known waits for every import.
        from openbell.adapters.history import History
        from openbell.core.splitting import match_durations, split

        shards = node.job.shards
        if self.state is None:
            return split(items, {}, shards=shards)
        history = History(self.state.history)
        try:
            kept = history.split(node.name, key)
            if kept is None:
                known_s = match_durations(items, history.durations_of_files(node.name))
                fresh = msgspec.json.encode(split(items, known_s, shards=shards)).decode()
                history.keep_split(node.name, key, fresh)
                # Another process may have been quicker: what it kept counts.
                kept = history.split(node.name, key) or fresh
            parts = msgspec.json.decode(kept, type=Parts)
        except (AdapterError, msgspec.DecodeError):
            return split(items, {}, shards=shards)
        fits = len(parts) == shards and sorted(item for part in parts for item in part) == sorted(items)
        return parts if fits else split(items, {}, shards=shards)


def _key(node: JobNode, entries: Mapping[str, str]) -> str:
    """Name what a split is for: the content of the inputs, and the rule."""
    parts = [str(node.job.shards), *node.job.tests, *(f"{name} {entry}" for name, entry in entries.items())]
    return hashlib.sha256("\n".join(parts).encode(errors="backslashreplace")).hexdigest()
