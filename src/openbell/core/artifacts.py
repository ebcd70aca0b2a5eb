"""Where a job finds what the jobs that it needs have left: the paths below `{artifacts}`.

A path that one of them left is there as it was left. A path that several left, as legs of a matrix do, is in a folder
of each, `{artifacts}/unit-3.12/report.txt`; beside that it is where it was left only if all of them left the same
content. So no file takes the place of another, whatever order jobs end in.
"""

from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

import msgspec

from openbell.core.pipeline import Output


def lay_out_artifacts(left: Sequence[tuple[str, Sequence[Output]]]) -> tuple[Output, ...]:
    """Place the outputs of needed jobs, given as (name of its files, outputs): outputs with their paths in the folder.

    A folder named as a job belongs to that job.
    """
    by_path: dict[str, list[tuple[str, Output]]] = {}
    for name, outputs in left:
        for output in outputs:
            by_path.setdefault(output.path, []).append((name, output))
    folders = {parent: True for path in by_path for parent in _parents(path)}
    own = {name: True for name, _ in left}
    placed: dict[str, Output] = {}
    for path, found in by_path.items():
        # A file of one job where another has a folder: both cannot be at their places.
        stuck = path in folders or any(parent in by_path for parent in _parents(path))
        taken = path.split("/")[0] in own
        same = len(frozenset((output.sha256, output.executable) for _, output in found)) == 1
        if same and not stuck and not taken:
            placed[path] = found[0][1]
        if len(found) > 1 or stuck or taken:
            placed |= {f"{name}/{path}": output for name, output in found}
    return tuple(msgspec.structs.replace(output, path=path) for path, output in placed.items())


def _parents(path: str) -> Iterable[str]:
    return (str(parent) for parent in PurePosixPath(path).parents if parent.name)
