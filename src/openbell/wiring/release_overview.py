"""What a release consists of and what proves it, as people and programs read it. Changes nothing.

Releases that an older openbell wrote have no statements and no descriptions of images; they are shown without.
"""

from collections.abc import Iterable
from pathlib import Path

import msgspec

from openbell.adapters import dsse
from openbell.core.provenance import BILL_OF_MATERIALS, Provenance, read_statement
from openbell.core.release import Artifact, Release
from openbell.ports import AdapterError, Journal
from openbell.wiring.images import BuiltImage
from openbell.wiring.publication import ENVELOPE_FILE, images_of_services, is_bill, read_images
from openbell.wiring.releases import KIND_BUILT, STATEMENTS, STREAM, Evidence, ReleaseBuilt
from openbell.wiring.state import StateFolder


class Named(msgspec.Struct, frozen=True):
    """One release in the list: its newest name, what it was built from, and whether this machine has it."""

    digest: str
    version: str
    commit: str
    ref: str
    author: str
    built_at_s: float
    here: bool
    signed: bool
    images: int


class Statement(msgspec.Struct, frozen=True):
    """Something that was said of a release: what kind of statement, of which commit, by whom, and whether signed."""

    file: str
    kind: str
    signed: bool
    commit: str = ""
    ref: str = ""
    source: str = ""
    builder: str = ""
    run: str = ""
    finished_at: str = ""


class ReleaseDocument(msgspec.Struct, frozen=True):
    """`openbell release show --json`; described in docs/schema/release.json."""

    digest: str
    version: str
    names: tuple[ReleaseBuilt, ...]
    files: tuple[Artifact, ...]
    config: tuple[Artifact, ...]
    services: dict[str, str]
    images: tuple[BuiltImage, ...]
    bills_of_materials: dict[str, int]
    statements: tuple[Statement, ...]
    evidence: tuple[Evidence, ...]


class _Bill(msgspec.Struct):
    components: tuple[msgspec.Raw, ...] = ()


async def list_releases(journal: Journal, state: StateFolder) -> list[Named]:
    """List the releases that were built, the newest first; each once, under its newest name."""
    found: dict[str, Named] = {}
    for record in reversed(await journal.read(STREAM)):
        if record.kind != KIND_BUILT:
            continue
        built = msgspec.json.decode(record.payload, type=ReleaseBuilt)
        if built.digest not in found:
            found[built.digest] = _named(built, state.release(built.digest), record.at_s)
    return list(found.values())


async def names_of(journal: Journal, digest: str) -> list[ReleaseBuilt]:
    """Return every name that a release was built under, the newest first."""
    records = [record for record in await journal.read(STREAM) if record.kind == KIND_BUILT]
    built = [msgspec.json.decode(record.payload, type=ReleaseBuilt) for record in reversed(records)]
    return [one for one in built if one.digest == digest]


def _named(built: ReleaseBuilt, folder: Path, at_s: float) -> Named:
    here, images = (folder / "manifest.json").exists(), 0
    if here:
        images = len({*images_of_services(folder, _read(folder)).values()})
    signed = any(one.signed and one.kind == "provenance" for one in _statements(folder / STATEMENTS))
    return Named(
        built.digest, built.version, built.commit, built.ref, built.author, at_s, here, signed, images
    )  # fmt: skip


def show_release(state: StateFolder, built: ReleaseBuilt, names: Iterable[ReleaseBuilt]) -> ReleaseDocument:
    """Describe a release; raises `AdapterError` when this machine does not have it."""
    folder = state.release(built.digest)
    release = _read(folder)
    bills = [folder / "artifacts" / one.path for one in release.artifacts if is_bill(one.path)]
    kept = folder / STATEMENTS
    bills += sorted(path for path in kept.glob("*") if is_bill(path.name)) if kept.is_dir() else []
    evidence = folder / "evidence.json"
    return ReleaseDocument(
        digest=built.digest,
        version=built.version,
        names=tuple(names),
        files=release.artifacts,
        config=release.config,
        services=images_of_services(folder, release),
        images=tuple(read_images(folder, release)),
        bills_of_materials={path.name: _count(path) for path in bills},
        statements=tuple(_statements(kept)),
        evidence=msgspec.json.decode(evidence.read_bytes(), type=tuple[Evidence, ...]) if evidence.exists() else (),
    )


def _read(folder: Path) -> Release:
    try:
        return msgspec.json.decode((folder / "manifest.json").read_bytes(), type=Release)
    except (OSError, msgspec.DecodeError) as error:
        why = getattr(error, "strerror", None) or error
        message = f"the release in {folder} cannot be read: {why}. Build it again: openbell run"
        raise AdapterError("openbell", "release", message, effect="not_applied") from error


def _count(path: Path) -> int:
    try:
        return len(msgspec.json.decode(path.read_bytes(), type=_Bill).components)
    except (OSError, msgspec.DecodeError):
        return 0


def _statements(folder: Path) -> list[Statement]:
    """Read what was said of a release; who signed it is not asked here (`openbell.wiring.authenticity` does)."""
    files = sorted(folder.glob(f"*{ENVELOPE_FILE}")) if folder.is_dir() else []
    return [_statement(path) for path in files]


def _statement(path: Path) -> Statement:
    try:
        envelope, payload = dsse.read(path.read_bytes())
        statement = read_statement(payload)
        if statement.predicate_type == BILL_OF_MATERIALS:
            return Statement(path.name, "SBOM", bool(envelope.signatures))
        said = msgspec.json.decode(statement.predicate, type=Provenance)
    except (OSError, ValueError, dsse.UnsignedError):
        return Statement(path.name, "unreadable", signed=False)
    parameters, details = said.build_definition.external_parameters, said.run_details
    return Statement(
        file=path.name,
        kind="provenance",
        signed=bool(envelope.signatures),
        commit=str(parameters.get("commit", "")),
        ref=str(parameters.get("ref", "")),
        source=str(parameters.get("source", "")),
        builder=details.builder.id,
        run=details.metadata.invocation_id,
        finished_at=details.metadata.finished_on,
    )
