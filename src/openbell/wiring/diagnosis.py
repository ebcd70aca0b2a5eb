"""Why the jobs of a run failed: brings their logs, the catalogue, the project's own knowledge and the past together."""

import os
import re
import tomllib
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import msgspec

import openbell
from openbell.adapters.expressions import first_lines
from openbell.adapters.store import Store
from openbell.core.diagnosis import LINE_LENGTH_MAX, Catalogue, Diagnosis, Entry, Failure, Past, diagnose
from openbell.core.fingerprint import explain_difference
from openbell.core.masking import printable
from openbell.core.pipeline import JobNode, JobResult
from openbell.core.project import KnownFailure
from openbell.wiring.pipeline import PreparedRun

CATALOGUE = Path(openbell.__file__).parent / "catalogue"

LINES_MAX = 3000
"""So many lines of a log are looked at from its begin, from its end, and between them near what looks like an error."""

NEARBY = 12
SCANNED_BYTES_MAX = 16_000_000
RUNS_MAX = 100
FAILED = ("failure", "timeout")
PASSED = ("success", "cached")

_SUSPICIOUS = re.compile(rb"(?i:error|fail|panic|fatal|exception|denied|not found|race)|:\d+:\d+:")


class _PastJob(msgspec.Struct, frozen=True):
    name: str
    outcome: str
    fingerprint: str = ""


class _PastRun(msgspec.Struct, frozen=True):
    run: str
    jobs: tuple[_PastJob, ...] = ()


def diagnose_run(prepared: PreparedRun, results: Sequence[JobResult]) -> dict[str, Diagnosis]:
    """Say of each job that failed why, by its id."""
    failed = [result for result in results if result.outcome in FAILED]
    if not failed:
        return {}
    nodes = {node.id: node for node in prepared.graph}
    past = list(_past_runs(prepared.workplace.folder.parent, prepared.workplace.run))
    return {result.id: _diagnose(prepared, nodes, result, results, past) for result in failed}


@cache
def catalogue() -> tuple[Entry, ...]:
    """Return everything that is known of tools, in the order of the files."""
    files = sorted(CATALOGUE.glob("*.toml"))
    read = (msgspec.convert(tomllib.loads(file.read_text(encoding="utf-8")), Catalogue) for file in files)
    return tuple(entry for one in read for entry in one.diagnoses)


def _diagnose(
    prepared: PreparedRun,
    nodes: dict[str, JobNode],
    result: JobResult,
    results: Sequence[JobResult],
    past: Sequence[_PastRun],
) -> Diagnosis:
    node = nodes[result.id]
    numbers, lines = read_lines(prepared.workplace.log(node))
    others = [other for other in results if other.name == node.name and other.id != node.id]
    passed = [", ".join(nodes[other.id].axes.values()) for other in others if other.outcome in PASSED]
    known, late = find_known(prepared.place.project.diagnoses, node, result, lines)
    before = Store(prepared.place.state.store).latest_manifest(node.id)
    changed = explain_difference(before, prepared.manifests[node.id]) if before else ""
    seen = msgspec.structs.replace(look_back(result, past), changed=changed)
    failure = Failure(
        node.stage, result.outcome, result.reason, result.exit_code, lines, result.reports,
        tuple(node.axes.values()), tuple(passed) if len(passed) == len(others) else (), seen, known,
    )  # fmt: skip
    said = diagnose(failure, catalogue())
    if said.error is not None:
        line = numbers[said.error.line - 1] if said.error.line else 0
        place = locate(said.error.place, prepared.inputs[node.id].files)
        said = msgspec.structs.replace(said, error=msgspec.structs.replace(said.error, line=line, place=place))
    slow = tuple(f"[[diagnoses]] match = '{pattern}' took too long and was left out." for pattern in late)
    return msgspec.structs.replace(said, notes=said.notes + slow)


def find_known(
    entries: Sequence[KnownFailure], node: JobNode, result: JobResult, lines: Sequence[str]
) -> tuple[tuple[KnownFailure, int] | None, tuple[str, ...]]:
    """Find the first of the project's own entries that fits a failure, with its line; and those that took too long."""
    fitting = [
        entry
        for entry in entries
        if (not entry.jobs or node.name in entry.jobs)
        and (not entry.stages or node.stage in entry.stages)
        and (not entry.exit_codes or result.exit_code in entry.exit_codes)
    ]
    if not fitting:
        return None, ()
    found = list(zip(fitting, first_lines([entry.match for entry in fitting], lines), strict=True))
    late = tuple(entry.match for entry, line in found if line is None)
    return next(((entry, line) for entry, line in found if line), None), late


def read_lines(log: Path) -> tuple[list[int], tuple[str, ...]]:
    """Read the lines of a log that are worth a look, with their numbers from 1; a log that is not there is empty."""
    try:
        every = log.read_bytes().split(b"\n")
    except OSError:
        return [], ()
    chosen = range(len(every)) if len(every) <= 3 * LINES_MAX else _choose(every)
    numbers = [index + 1 for index in chosen]
    texts = (every[index][: 4 * LINE_LENGTH_MAX].decode(errors="replace") for index in chosen)
    return numbers, tuple(printable(text)[:LINE_LENGTH_MAX] for text in texts)


def _choose(lines: Sequence[bytes]) -> list[int]:
    """Choose of a long log its begin, its end, and what is near anything between them that looks like an error."""
    near: dict[int, bool] = {}
    scanned_bytes = 0
    for index in range(LINES_MAX, len(lines) - LINES_MAX):
        scanned_bytes += len(lines[index])
        if scanned_bytes > SCANNED_BYTES_MAX or len(near) > LINES_MAX:
            break
        if _SUSPICIOUS.search(lines[index][:LINE_LENGTH_MAX]):
            near |= dict.fromkeys(range(index - NEARBY, index + NEARBY + 1), True)
    return sorted({*range(LINES_MAX), *near, *range(len(lines) - LINES_MAX, len(lines))})


def locate(place: str, files: Sequence[str]) -> str:
    """Name a place by its path in the tree, where a tool names the file alone and only one file is called that."""
    file, colon, rest = place.partition(":")
    if not file or "/" in file or file in files:
        return place
    found = [name for name in files if name.endswith(f"/{file}")]
    return f"{found[0]}{colon}{rest}" if len(found) == 1 else place


def look_back(result: JobResult, past: Sequence[_PastRun]) -> Past:
    """Say what earlier runs, the newest first, know of a job that has failed."""
    passed_same = failed_same = failing_since = passed_last = ""
    unbroken = True
    for run in past:
        for job in run.jobs:
            if job.name != result.id or job.outcome not in (*FAILED, *PASSED):
                continue
            same = bool(job.fingerprint) and job.fingerprint == result.fingerprint
            if job.outcome in PASSED:
                unbroken = False
                passed_last = passed_last or run.run
                passed_same = passed_same or (run.run if same else "")
            else:
                failed_same = failed_same or (run.run if same else "")
                failing_since = run.run if unbroken else failing_since
    return Past(passed_same, failed_same, failing_since, passed_last)


def _past_runs(folder: Path, current: str) -> Iterator[_PastRun]:
    """Read the documents of earlier runs, the newest first."""
    found = []
    for entry in os.scandir(folder):
        try:
            found.append((Path(entry.path, "run.json").stat().st_mtime, entry.name))
        except OSError:
            continue
    for _, name in sorted(found, reverse=True)[:RUNS_MAX]:
        try:
            run = msgspec.json.decode((folder / name / "run.json").read_bytes(), type=_PastRun)
        except (OSError, msgspec.DecodeError):
            continue
        if run.run != current:
            yield run
