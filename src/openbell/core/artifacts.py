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

    A folder that is made for a job is that job's alone: what another one left below that name is in its own as well.
    """
    by_path: dict[str, list[tuple[str, Output]]] = {}
    for name, outputs in left:
        for output in outputs:
            by_path.setdefault(output.path, []).append((name, output))
    # A file of one job where another has a folder: both cannot be at their places.
    folders = {parent: True for path in by_path for parent in _parents(path)}
    stuck = {path: True for path in by_path if path in folders or any(parent in by_path for parent in _parents(path))}
    apart = {path: True for path, found in by_path.items() if len(found) > 1 or path in stuck}
    while True:
        made = {name: True for path in apart for name, _ in by_path[path]}
        more = [path for path in by_path if path not in apart and path.split("/")[0] in made]
        if not more:
            break
        apart |= dict.fromkeys(more, True)
    placed: dict[str, Output] = {}
    for path, found in by_path.items():
        if path in apart:
            placed |= {f"{name}/{path}": output for name, output in found}
        same = len(frozenset((output.sha256, output.executable) for _, output in found)) == 1
        if same and path not in stuck and path.split("/")[0] not in made:
            placed[path] = found[0][1]
    return tuple(msgspec.structs.replace(output, path=path) for path, output in placed.items())


def _parents(path: str) -> Iterable[str]:
    return (str(parent) for parent in PurePosixPath(path).parents if parent.name)
