"""`explain`, `verify` and `cache`: why a result is reused or not, whether it may be, and how much is kept."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from cyclopts import Parameter

from openbell.adapters.store import Store, Usage
from openbell.adapters.toml import ConfigurationError
from openbell.cli.interruption import calling
from openbell.cli.progress import GLYPHS, WAITING
from openbell.cli.refusals import REFUSALS, refuse
from openbell.cli.terminal import DONE, FAILED, INTERRUPTED, complain, counted, print_json, say
from openbell.core.fingerprint import Difference
from openbell.core.project import COMMIT_STAGES
from openbell.core.wording import duration
from openbell.ports import AdapterError
from openbell.wiring import eviction, explanation, verification
from openbell.wiring.explanation import Explained, Explanation
from openbell.wiring.pipeline import RunRequest
from openbell.wiring.project import OpenProject, open_project

VALUE_LENGTH_MAX = 60
SHOWN_MAX = 40
_SHOWN = ("tool", "env", "matrix", "settings", "secrets", "services", "platform", "schema")
"""Kinds whose values say something to a person; contents of files are told by hashes only."""


def explain(
    *job: str,
    ref: str | None = None,
    against: str | None = None,
    policy: list[str] | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Say why the results of jobs would be reused, or what has changed since they last passed; nothing is run.

    Without a name it explains each job of the commit stages.

    Parameters
    ----------
    job
        The job's name, or one leg such as "test (python=3.12)"; several may be named.
    ref
        The branch, tag or commit to look at; the tree that is checked out by default.
    against
        Compare with this run instead of the job's last kept result; "last" is the newest run.
    policy
        A file laid over openbell.toml; may be repeated.
    json
        Print one JSON document on standard output.
    """
    try:
        place = open_project(Path.cwd(), tuple(policy or ()))
        names = job or tuple(name for name, one in place.project.jobs.items() if one.stage in COMMIT_STAGES)
        found = explanation.explain(place, RunRequest(ref=ref, jobs=names), against=against)
    except REFUSALS as error:
        return refuse(error)
    if json:
        print_json(found)
    else:
        for line in _lines(found):
            say(line, stream=sys.stdout)
    return DONE


def _lines(found: Explained) -> list[str]:
    return [line for one in found.jobs for line in _explanation(one)]


def _explanation(one: Explanation) -> list[str]:
    if one.outcome == "hit":
        parts = [counted(one.files, "file"), counted(len(one.tools), "tool"), counted(len(one.env), "variable")]
        parts += [counted(len(one.jobs), "job")] if one.jobs else []
        lines = [f"{GLYPHS['cached']} {one.job} would be reused: {one.reason} ({', '.join(parts)})"]
    else:
        lines = [f"{WAITING} {one.job} would run: {one.reason}"]
    if one.against and one.differences:
        lines.append(f"  {counted(len(one.differences), 'difference')} to run {one.against}:")
        lines += [f"    {_difference(each)}" for each in one.differences[:SHOWN_MAX]]
        more = len(one.differences) - SHOWN_MAX
        lines += [f"    ... and {more} more; all of them: --json"] if more > 0 else []
    elif one.against:
        lines.append(f"  no difference to run {one.against}")
    return lines


def _difference(one: Difference) -> str:
    name = f" {one.name}" if one.name else ""
    change = "is new" if not one.before else "is gone" if not one.after else "changed"
    values = f": {_short(one.before)} -> {_short(one.after)}" if one.kind in _SHOWN else ""
    return f"{one.kind}{name} {change}{values}"


def _short(value: str) -> str:
    line = " ".join(value.split()) or "none"
    return line if len(line) <= VALUE_LENGTH_MAX else line[: VALUE_LENGTH_MAX - 3] + "..."


def verify(
    *job: str,
    sample: str = "3",
    seed: int = 0,
    policy: list[str] | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Execute jobs whose results would be reused, and compare what they leave with what was kept.

    The exit code is 1 when something differs: what the job depends on is then not in its fingerprint. What is executed
    here is not kept as a result. Times are never compared.

    Parameters
    ----------
    job
        The job's name, or one leg such as "test (python=3.12)"; by default any of them.
    sample
        How many results to try, or "all".
    seed
        Another number takes another sample.
    policy
        A file laid over openbell.toml; may be repeated.
    json
        Print one JSON document on standard output.
    """
    number = None if sample == "all" else int(sample) if sample.isascii() and sample.isdigit() else 0
    if number == 0:
        return complain(f'--sample {sample}: write a number from 1, or "all".')
    try:
        place = open_project(Path.cwd(), tuple(policy or ()))
        found = asyncio.run(_verify(place, RunRequest(jobs=job), number, seed))
    except REFUSALS as error:
        return refuse(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    if json:
        print_json(found)
    for line in verification.words(found):
        say(line)
    return FAILED if found.outcome == "differs" else DONE


async def _verify(place: OpenProject, request: RunRequest, sample: int | None, seed: int) -> verification.Verification:
    """Verify with a Ctrl-C ending the job that runs; raises `KeyboardInterrupt` then."""
    cancel = asyncio.Event()
    with calling(cancel.set):
        found = await verification.verify(place, request, sample=sample, seed=seed, cancel=cancel, on_job=_tell)
    if cancel.is_set():
        raise KeyboardInterrupt
    return found


def _tell(one: verification.VerifiedJob) -> None:
    glyph = GLYPHS["cached"] if one.outcome == "same" else GLYPHS["failure"]
    say(f"  {glyph} {one.job} (run {one.run})")
    for line in one.differences:
        say(f"      {line}")
    if one.folder:
        say(f"      what it left now: {one.folder}")


class CacheDocument(msgspec.Struct, frozen=True):
    """`openbell cache --json`; described in docs/schema/cache.json. `removed` is what `clean` took away."""

    folder: str
    results: int
    objects: int
    size_bytes: int
    size_bytes_max: int
    unused_s: float
    remote: str
    removed: Usage | None = None


def cache(
    action: Literal["status", "clean"] = "status",
    /,
    *,
    all: Annotated[bool, Parameter(negative="")] = False,  # noqa: A002 (the name of the option)
    policy: list[str] | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Say how much of what jobs left is kept on this machine, or remove what was used least recently.

    What a run in progress needs is never removed, nor what the evidence of a release names. A run ends with the same
    cleaning.

    Parameters
    ----------
    action
        "status", or "clean": remove until the limit of [cache] size_max_mb is kept.
    all
        Remove all that may be removed, not only what is above the limit.
    policy
        A file laid over openbell.toml; may be repeated.
    json
        Print one JSON document on standard output.
    """
    try:
        place = open_project(Path.cwd(), tuple(policy or ()))
    except ConfigurationError as error:
        return complain(str(error))
    removed: Usage | None = None
    if action == "clean":
        try:
            removed = eviction.evict(place, size_bytes_max=0 if all else None)
        except AdapterError as error:
            return complain(f"{error.system}: {error.message}", code=FAILED)
        if removed is None:
            message = "a run is in progress, and nothing is removed meanwhile. Repeat when it has ended."
            return complain(message, code=FAILED)
    kept, limit = Store(place.state.store).usage(), place.project.cache.size_max_mb * eviction.MB
    found = CacheDocument(
        str(place.state.store), kept.results, kept.objects, kept.size_bytes, limit, round(kept.unused_s),
        place.project.cache.remote, removed,
    )  # fmt: skip
    if json:
        print_json(found)
    else:
        for line in _cache_lines(found):
            say(line, stream=sys.stdout)
    return DONE


def _cache_lines(found: CacheDocument) -> list[str]:
    lines = []
    if found.removed:
        what = f"{counted(found.removed.results, 'result')} and {counted(found.removed.objects, 'file')}"
        lines.append(f"Removed {what}: {_megabytes(found.removed.size_bytes)}.")
    lines.append(
        f"{counted(found.results, 'result')} and {counted(found.objects, 'file')} that jobs left: "
        f"{_megabytes(found.size_bytes)} of {_megabytes(found.size_bytes_max)} in {found.folder}"
    )
    if found.results:
        lines.append(f"The oldest was not used for {duration(found.unused_s)}.")
    lines.append(f"Shared: {found.remote}" if found.remote else "Not shared with other machines ([cache] remote).")
    return lines


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / eviction.MB:,.1f} MB"
