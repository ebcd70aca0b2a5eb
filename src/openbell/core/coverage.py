"""Coverage: which lines ran, summed up in all, per package, and over the lines that a change wrote.

Reports name files in their own ways (below a source folder, by import path, absolutely); `match_file` finds the file of
the tree that is meant. A changed line that cannot run (a comment, a blank) is in no report and does not count.
"""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from openbell.core.report import ChangedLines, Coverage, Share

LINES_MAX = 20_000_000
"""So many lines of all files together are read; what claims more was not measured."""

PACKAGES_MAX = 200
PLACES_SHOWN = 10

Lines = Mapping[str, Sequence[range]]
"""Lines of files by their paths in the tree, as ranges."""


class LineCoverage(msgspec.Struct, frozen=True):
    """What a report knows: per file whether each line ran, and how many of how many lines or statements did.

    `counts` has the figures of the tool, which counts statements or lines; `roots` are folders that names may begin at.
    """

    hits: dict[str, dict[int, bool]]
    counts: dict[str, tuple[int, int]]
    roots: tuple[str, ...] = ()
    lines_pct: float | None = None
    branches_pct: float | None = None


def sum_up(measured: LineCoverage) -> Coverage:
    """Sum coverage up in all and per package (folder of files), the packages with the most missing lines first."""
    packages: dict[str, tuple[int, int]] = {}
    for name, (covered, valid) in measured.counts.items():
        package = name.rpartition("/")[0] or "."
        before = packages.get(package, (0, 0))
        packages[package] = (before[0] + covered, before[1] + valid)
    shares = [Share(name, covered, valid) for name, (covered, valid) in packages.items() if valid]
    shares.sort(key=lambda share: (share.covered - share.valid, share.name))
    whole = Share("", sum(share.covered for share in shares), sum(share.valid for share in shares))
    pct = round(whole.pct, 2) if measured.lines_pct is None else measured.lines_pct
    return Coverage(pct, measured.branches_pct, tuple(shares[:PACKAGES_MAX]))


def count_changed(measured: LineCoverage, changed: Lines, files: Sequence[str], *, since: str) -> ChangedLines:
    """Count the changed lines that ran; `files` are those of the tree, `since` the commit before the change."""
    covered = valid = 0
    missed: list[str] = []
    ends: dict[str, list[str]] = {}
    for path in changed:
        ends.setdefault(path.rpartition("/")[2], []).append(path)
    known = dict.fromkeys(files, True)
    for name, lines in sorted(measured.hits.items()):
        candidates = ends.get(name.rpartition("/")[2], ())
        meant = match_file(name, measured.roots, candidates, known) if candidates else None
        if meant is None:
            continue
        touched = [line for part in changed[meant] for line in part if line in lines]
        valid += len(touched)
        covered += sum(lines[line] for line in touched)
        missed += [f"{meant}:{text}" for text in _ranges([line for line in touched if not lines[line]])]
    return ChangedLines(covered, valid, since, tuple(missed[:PLACES_SHOWN]))


def match_file(name: str, roots: Sequence[str], candidates: Sequence[str], known: Mapping[str, bool]) -> str | None:
    """Find the one of `candidates` that a report means by a name; None when it means another file.

    A name of the tree is that file. Else it may begin at one of the report's `roots`, or have more in front of the path
    (an import path, a folder of another machine), or less; then the longest, or only, candidate that fits is meant.
    """
    name = name.replace("\\", "/").removeprefix("./")
    if name in known:
        return name if name in candidates else None
    for root in roots:
        full = f"{root.rstrip('/')}/{name}".lstrip("/")
        inside = [path for path in known if full == path or full.endswith(f"/{path}")] if name else []
        if inside:
            path = max(inside, key=len)
            return path if path in candidates else None
    longer = [path for path in candidates if name.endswith(f"/{path}")]
    if longer:
        return max(longer, key=len)
    shorter = [path for path in known if path.endswith(f"/{name}")]
    return shorter[0] if len(shorter) == 1 and shorter[0] in candidates else None


def _ranges(lines: Sequence[int]) -> Iterator[str]:
    """Write line numbers as people do: "12", "14-16"."""
    start = end = None
    for line in [*sorted(lines), None]:
        if start is not None and end is not None and line == end + 1:
            end = line
            continue
        if start is not None:
            yield f"{start}" if start == end else f"{start}-{end}"
        start = end = line
