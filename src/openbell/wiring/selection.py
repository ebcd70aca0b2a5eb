"""Which files of a tree a list of gitignore-style patterns means.

`pathspec` knows the patterns. Most are folders, though ("src/**"), and those are found without it, by looking where in
the sorted tree the folder begins and ends: a run of a hundred jobs over a thousand files would else compare each with
each. `tests/wiring/test_selection.py` holds that both say the same.
"""

import re
from bisect import bisect_left
from collections.abc import Sequence

_FOLDER = re.compile(r"/?([^*?\[\]\\!#/\s][^*?\[\]\\\s]*/)\*\*")


class Selection:
    """The files of one tree, to be selected from by many lists of patterns."""

    def __init__(self, files: Sequence[str]) -> None:
        self.files = files
        self._sorted = sorted(files)
        self._in_order = self._sorted == list(files)
        self._known: dict[tuple[str, ...], list[str]] = {}

    def select(self, patterns: Sequence[str]) -> list[str]:
        """Select paths by gitignore-style patterns, in their order; the last pattern that matches a path decides."""
        key = tuple(patterns)
        if key not in self._known:
            self._known[key] = self._select(key)
        return self._known[key]

    def _select(self, patterns: tuple[str, ...]) -> list[str]:
        if patterns == ("**",):
            return list(self.files)
        folders = [match[1] for pattern in patterns if (match := _FOLDER.fullmatch(pattern))]
        if len(folders) < len(patterns) or any("//" in folder for folder in folders):
            from pathspec import GitIgnoreSpec

            spec = GitIgnoreSpec.from_lines(patterns)
            return [name for name in self.files if spec.match_file(name)]
        found: dict[str, bool] = {}
        for folder in dict.fromkeys(folders):
            # "0" comes right after "/": what is below the folder is between the two.
            start, end = bisect_left(self._sorted, folder), bisect_left(self._sorted, f"{folder[:-1]}0")
            found.update(dict.fromkeys(self._sorted[start:end], True))
        if len(folders) == 1 and self._in_order:
            return list(found)
        return [name for name in self.files if name in found]
