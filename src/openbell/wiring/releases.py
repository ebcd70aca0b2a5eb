"""From the outputs of the build stage to a release: its digest, its folder, its entry in the journal.

A release is written beside its place and renamed into it, once; the same content built again is the same release. The
journal's stream "releases" says which commit, branch or tag built it: one event "built" for each such name.
"""

import hashlib
import re
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from openbell.adapters import git
from openbell.adapters.store import Store
from openbell.core.pipeline import JobResult, Output
from openbell.core.places import places
from openbell.core.release import Artifact, Release, digest_in
from openbell.core.report import Outcome
from openbell.core.trigger import Trigger, effective_kind
from openbell.ports import AdapterError
from openbell.wiring.project import OpenProject
from openbell.wiring.state import StateFolder
from openbell.wiring.surroundings import select_files

STREAM = "releases"
KIND_BUILT = "built"
IMAGES = "images.json"
"""Which image each service runs, by digest, as a build job leaves it among its outputs."""

STATEMENTS = "statements"
"""The folder of a release that holds what was said of it since: it is no part of its digest."""


class ReleaseBuilt(msgspec.Struct, frozen=True):
    """The journal's event: which release, of which commit, under which names, by whom, in which run."""

    digest: str
    commit: str
    ref: str
    tag: str | None
    version: str
    author: str
    run: str


class Evidence(msgspec.Struct, frozen=True):
    """What one job of the release's run said; a job that could not check is part of it."""

    job: str
    outcome: Outcome
    reason: str
    fingerprint: str


def compose(place: OpenProject, snapshot: git.Snapshot, results: Sequence[JobResult]) -> tuple[Release, list[Output]]:
    """Put a release together from the outputs of build jobs and the tree's configuration files.

    Raises `AdapterError` when two jobs wrote different contents to one path, or nothing was built.
    """
    outputs: dict[str, tuple[str, Output]] = {}
    for result in results:
        for output in result.outputs if result.stage == "build" else ():
            other, known = outputs.get(output.path, (result.id, output))
            if known.sha256 != output.sha256:
                message = f"{other} and {result.id} both wrote {output.path}, with different contents"
                raise AdapterError("openbell", "release", message, effect="not_applied")
            outputs[output.path] = (other, output)
    if not outputs:
        message = "the build stage left no files. A build job leaves them in {out}, or names them in outputs."
        raise AdapterError("openbell", "release", message, effect="not_applied")
    found = [output for _, output in sorted(outputs.values(), key=lambda pair: pair[1].path)]
    artifacts = tuple(Artifact(output.path, output.sha256, output.size_bytes) for output in found)
    config = tuple(
        Artifact(path, hashlib.sha256(content).hexdigest(), len(content))
        for path, content in _config_files(place, snapshot).items()
    )
    return Release(place.project, snapshot.commit.id, artifacts, config), found


def _config_files(place: OpenProject, snapshot: git.Snapshot) -> dict[str, bytes]:
    """Read what belongs to a release beside its artifacts: `[release] config`, and charts with their values."""
    clusters = [one.cluster for one in places(place.project).values() if one.cluster is not None]
    charts = [pattern for one in clusters for pattern in (f"/{one.chart}/**", *(f"/{file}" for file in one.values))]
    patterns = tuple(dict.fromkeys((*place.project.release.config, *charts)))
    if not patterns:
        return {}
    paths = select_files(list(snapshot.files), patterns)
    return git.read_files(snapshot, paths)


def write(
    place: OpenProject,
    snapshot: git.Snapshot,
    release: Release,
    outputs: Sequence[Output],
    results: Sequence[JobResult],
) -> Path:
    """Write a release's folder if it is not there yet: manifest, artifacts, configuration files, evidence."""
    store = Store(place.state.store)
    target = place.state.release(release.digest)
    if (target / "manifest.json").exists():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=target.parent, prefix=".new-"))
    except OSError as error:
        raise _full(error, place.state) from error
    try:
        (folder / "artifacts").mkdir()
        for output in outputs:
            store.fetch(output, folder / "artifacts")
        for path, content in _config_files(place, snapshot).items():
            (folder / "config" / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / "config" / path).write_bytes(content)
        evidence = [Evidence(r.id, r.outcome, r.reason, r.fingerprint) for r in results]
        (folder / "evidence.json").write_bytes(msgspec.json.encode(evidence))
        (folder / "manifest.json").write_bytes(msgspec.json.encode(release, order="deterministic"))
        folder.chmod(0o755)
        folder.rename(target)
    except FileExistsError:
        pass  # Another run built the same release meanwhile: same digest, same content.
    except OSError as error:
        if not (target / "manifest.json").exists():
            raise _full(error, place.state) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return target


def refuse_changed(folder: Path, manifest: bytes, release: Release, digest: str) -> None:
    """Raise `AdapterError` when a release's manifest, or what it says of images, is not that of the digest any more.

    Asked before every placement in a cluster, where these two decide what runs.
    """
    known = {one.path: one.sha256 for one in release.artifacts}
    images = folder / "artifacts" / IMAGES
    found = hashlib.sha256(images.read_bytes()).hexdigest() if IMAGES in known or images.exists() else None
    changed = [] if digest_in(manifest) == digest else ["manifest.json"]
    changed += [] if found == known.get(IMAGES) else [IMAGES]
    if changed:
        message = (
            f"the release {digest[:19]} was changed after it was built: {' and '.join(changed)} is another. "
            f"Remove {folder}, and build it again: openbell run"
        )
        raise AdapterError("openbell", "release", message, effect="not_applied")


def _full(error: OSError, state: StateFolder) -> AdapterError:
    message = f"the release cannot be written to {state.root}: {error.strerror or error}. Free space, then run again."
    return AdapterError("openbell", "release", message, effect="not_applied")


def describe(release: Release, snapshot: git.Snapshot, trigger: Trigger, run: str) -> ReleaseBuilt:
    """Say what is worth recording of a release that a run built."""
    tag = trigger.ref if effective_kind(trigger) == "tag" else None
    version = tag or snapshot.commit.short
    return ReleaseBuilt(
        release.digest, snapshot.commit.id, trigger.ref, tag, version, snapshot.commit.author, run
    )  # fmt: skip


def statement_name(built: ReleaseBuilt) -> str:
    """Name the provenance of a release that a commit was released as under one branch or tag."""
    return f"provenance-{built.commit[:12]}-{re.sub('[^A-Za-z0-9._-]+', '-', built.ref)}"


def published_file(state: StateFolder, built: ReleaseBuilt) -> Path:
    """The file that says that all was said of a release under its names; every run looks for it."""
    return state.release(built.digest) / STATEMENTS / f"{statement_name(built)}.published"


def is_recorded(state: StateFolder, built: ReleaseBuilt) -> bool:
    """Say whether the journal has this release under these names already."""
    from openbell.adapters.sqlite import read_now

    names = (built.digest, built.commit, built.ref, built.tag)
    for record in read_now(state.journal, STREAM):
        one = msgspec.json.decode(record.payload, type=ReleaseBuilt)
        if record.kind == KIND_BUILT and (one.digest, one.commit, one.ref, one.tag) == names:
            return True
    return False


async def record(state: StateFolder, built: ReleaseBuilt) -> None:
    """Append "built" to the journal; repeated after a crash it only says the same again."""
    from openbell.adapters.sqlite import SqliteJournal

    async with SqliteJournal(state.journal) as journal:
        await journal.append(STREAM, KIND_BUILT, msgspec.json.encode(built), at_s=time.time())
