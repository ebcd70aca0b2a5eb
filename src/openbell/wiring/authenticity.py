"""Whether a release, or an image in a registry, is what somebody trusted has built from the source that is meant.

Every check is one sentence, passed or not. What cannot be looked at has not passed. Nothing is changed.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import msgspec

from openbell.adapters import dsse
from openbell.adapters.registry import Registry
from openbell.core.image import INDEXES, Descriptor, ImageIndex, ImageManifest, parse_reference
from openbell.core.project import Verification
from openbell.core.provenance import (
    BILL_OF_MATERIALS,
    PROVENANCE,
    Statement,
    Wanted,
    read_statement,
    refusals,
)
from openbell.core.release import Artifact, Release, digest_in
from openbell.ports import AdapterError
from openbell.wiring.project import OpenProject
from openbell.wiring.publication import BUNDLE, ENVELOPE_FILE, images_of_services, is_bill
from openbell.wiring.releases import STATEMENTS, ReleaseBuilt


class Verified(msgspec.Struct, frozen=True):
    """One check: what was looked at, whether it is as it must be, and what was found."""

    name: str
    ok: bool
    found: str


class Verdict(msgspec.Struct, frozen=True):
    """`release verify --json` and `image verify --json`; described in docs/schema/verification.json."""

    subject: str
    ok: bool
    checks: tuple[Verified, ...]


def verdict(subject: str, checks: Iterable[Verified]) -> Verdict:
    """Sum checks up; none is no pass."""
    found = tuple(checks)
    return Verdict(subject, bool(found) and all(check.ok for check in found), found)


def public_key(root: Path, policy: Verification) -> str:
    """Read the public key that a policy names; raises `AdapterError` when that cannot be done."""
    try:
        return (root / policy.key).read_text()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        message = f"the public key {policy.key} cannot be read: {why}. Make a pair with: openbell release key FOLDER"
        raise AdapterError(dsse.SYSTEM, "key", message, effect="not_applied") from error


async def verify_release(
    place: OpenProject, built: ReleaseBuilt, policy: Verification, *, images: bool = True
) -> Verdict:
    """Check a release of this machine against a policy: content, signature, provenance, bills of materials, images."""
    folder = place.state.release(built.digest)
    key = public_key(place.root, policy)
    checks = list(_check_content(folder, built.digest))
    if not all(check.ok for check in checks):
        return verdict(built.digest, checks)
    release = msgspec.json.decode((folder / "manifest.json").read_bytes(), type=Release)
    wanted = Wanted(digest=built.digest, commit=built.commit, source=policy.source, builder=policy.builder)
    check, provenance = _check_provenance(_envelopes(folder / STATEMENTS, "provenance-"), key, wanted)
    checks.append(check)
    known = provenance.digests if provenance else {}
    foreign = [one.path for one in release.artifacts if provenance and one.sha256 not in known]
    if foreign:
        checks.append(Verified("files", False, f"the provenance does not know {', '.join(foreign)}"))
    checks += _check_bills(folder, release, key)
    if images:
        for reference in dict.fromkeys(images_of_services(folder, release).values()):
            checks += await _check_release_image(reference, known)
    return verdict(built.digest, checks)


async def verify_image(text: str, key: str, wanted: Wanted) -> Verdict:
    """Check an image in a registry to its last byte, and what is kept beside it, against a key and what it must say.

    Raises `ValueError` for a reference that is none.
    """
    place = parse_reference(text)
    checks = []
    async with Registry(place) as registry:
        manifest = await registry.manifest(place.version)
        if manifest is None:
            return verdict(text, [Verified("image", False, f"{place} is not in the registry")])
        content = await _check_image_content(registry, manifest.digest, layers=True)
        checks.append(content)
        envelopes = await registry.attached(manifest.digest)
        check, _ = _check_provenance(envelopes, key, msgspec.structs.replace(wanted, digest=manifest.digest))
        checks.append(check)
        checks.append(_check_attached_bills(envelopes, key, manifest.digest))
    return verdict(f"{place.name}@{manifest.digest}", checks)


def _check_content(folder: Path, digest: str) -> Iterable[Verified]:
    """Look whether manifest and files are those of the digest."""
    try:
        manifest = (folder / "manifest.json").read_bytes()
        found = digest_in(manifest)
        release = msgspec.json.decode(manifest, type=Release)
    except (OSError, ValueError) as error:
        yield Verified("manifest", False, f"it cannot be read: {getattr(error, 'strerror', None) or error}")
        return
    if found != digest:
        yield Verified("manifest", False, f"it is that of {found[:19]}, not of {digest[:19]}: it was changed")
        return
    yield Verified(
        "manifest", True, f"{digest[:19]}, {len(release.artifacts)} files, {len(release.config)} of configuration"
    )
    changed = [
        *_changed(folder / "artifacts", release.artifacts),
        *_changed(folder / "config", release.config),
    ]
    if changed:
        yield Verified("files", False, f"changed since they were built: {', '.join(changed)}")


def _changed(folder: Path, artifacts: Iterable[Artifact]) -> list[str]:
    """Name the files that are not what the manifest says."""
    found = []
    for one in artifacts:
        try:
            with (folder / one.path).open("rb") as file:
                same = hashlib.file_digest(file, "sha256").hexdigest() == one.sha256
        except OSError:
            same = False
        if not same:
            found.append(one.path)
    return found


def _envelopes(folder: Path, prefix: str) -> list[bytes]:
    """Read the envelopes of a folder whose names begin so, the newest first."""
    files = [*folder.glob(f"{prefix}*{ENVELOPE_FILE}")] if folder.is_dir() else []
    return [path.read_bytes() for path in sorted(files, key=lambda path: -path.stat().st_mtime)]


def _check_provenance(envelopes: Iterable[bytes], key: str, wanted: Wanted) -> tuple[Verified, Statement | None]:
    """Look for a provenance that is signed by the key and says what is wanted; the nearest miss is told."""
    problem = "there is none: nobody says where it comes from"
    for envelope in envelopes:
        try:
            statement = read_statement(dsse.verify(envelope, key))
        except (dsse.UnsignedError, ValueError) as error:
            problem = _nearer(problem, f"{error}", envelope)
            continue
        if statement.predicate_type != PROVENANCE:
            continue
        reasons = list(refusals(statement, wanted))
        if not reasons:
            said = f"signed; commit {wanted.commit[:7]}" if wanted.commit else "signed"
            parts = [
                said,
                *(
                    f"{name} {value}"
                    for name, value in (("source", wanted.source), ("builder", wanted.builder))
                    if value
                ),
            ]
            return Verified("provenance", True, ", ".join(parts)), statement
        problem = "; ".join(reasons)
    return Verified("provenance", False, problem), None


def _nearer(before: str, now: str, envelope: bytes) -> str:
    """Keep what was said of a provenance, rather than of another statement."""
    try:
        is_other = read_statement(dsse.read(envelope)[1]).predicate_type != PROVENANCE
    except (dsse.UnsignedError, ValueError):
        is_other = False
    return before if is_other else now


def _check_bills(folder: Path, release: Release, key: str) -> Iterable[Verified]:
    """Look whether each bill of materials is the one that was signed."""
    files = {one.path: folder / "artifacts" / one.path for one in release.artifacts if is_bill(one.path)}
    bundle = folder / STATEMENTS / BUNDLE
    if bundle.exists():
        files[BUNDLE] = bundle
    for path, file in files.items():
        name = path.rpartition("/")[2].removesuffix(".cdx.json")
        try:
            statement = read_statement(dsse.verify((folder / STATEMENTS / f"{name}{ENVELOPE_FILE}").read_bytes(), key))
        except (OSError, ValueError, dsse.UnsignedError) as error:
            yield Verified(f"SBOM {name}", False, getattr(error, "strerror", None) or str(error))
            continue
        same = statement.predicate_type == BILL_OF_MATERIALS and _same_document(
            bytes(statement.predicate), file.read_bytes()
        )
        yield Verified(f"SBOM {name}", same, "signed" if same else "it is not the one that was signed: it was changed")


def _same_document(one: bytes, other: bytes) -> bool:
    try:
        return bool(msgspec.json.decode(one) == msgspec.json.decode(other))
    except msgspec.DecodeError:
        return False


async def _check_release_image(reference: str, known: dict[str, str]) -> list[Verified]:
    try:
        place = parse_reference(reference)
        if place.digest.removeprefix("sha256:") not in known:
            return [Verified(f"image {place.repository}", False, f"the provenance does not know {reference}")]
        async with Registry(place) as registry:
            return [await _check_image_content(registry, place.digest, layers=False)]
    except (AdapterError, ValueError) as error:
        return [Verified("image", False, error.message if isinstance(error, AdapterError) else str(error))]


async def _check_image_content(registry: Registry, digest: str, *, layers: bool) -> Verified:
    """Read an image by its digest; with `layers` every byte of it, else only what names them."""
    name = f"image {registry.place.repository}"
    try:
        manifest = await registry.manifest(digest)
        if manifest is None:
            return Verified(name, False, f"{registry.place.name}@{digest[:19]} is not in the registry any more")
        images = [manifest]
        if manifest.media_type in INDEXES:
            index = msgspec.json.decode(manifest.content, type=ImageIndex)
            found = [(one, await registry.manifest(one.digest)) for one in index.manifests]
            lost = [one.digest[:19] for one, there in found if there is None]
            if lost:
                return Verified(name, False, f"of {digest[:19]} the registry lacks {', '.join(lost)}")
            images = [there for _, there in found if there is not None]
        count = 0
        for image in images:
            count += await _read_parts(registry, msgspec.json.decode(image.content, type=ImageManifest), layers=layers)
    except (AdapterError, msgspec.DecodeError) as error:
        return Verified(name, False, error.message if isinstance(error, AdapterError) else str(error))
    how = f"{count / 1e6:.1f} MB read" if layers else "in the registry"
    return Verified(name, True, f"{digest[:19]}, {len(images)} platform{'s' if len(images) > 1 else ''}, {how}")


async def _read_parts(registry: Registry, manifest: ImageManifest, *, layers: bool) -> int:
    """Read configuration and layers of one platform; returns how many bytes. Raises `AdapterError` for a wrong one."""
    size = len(await registry.read_blob(manifest.config.digest))
    for layer in manifest.layers:
        size += await _read_layer(registry, layer) if layers else 0
    return size


async def _read_layer(registry: Registry, layer: Descriptor) -> int:
    size = 0
    async for part in registry.stream_blob(layer.digest):
        size += len(part)
    return size


def _check_attached_bills(envelopes: Iterable[bytes], key: str, digest: str) -> Verified:
    """Look for bills of materials of an image that the key has signed."""
    signed, wrong = 0, ""
    for envelope in envelopes:
        try:
            statement = read_statement(dsse.verify(envelope, key))
        except (dsse.UnsignedError, ValueError) as error:
            wrong = str(error)
            continue
        about = digest.removeprefix("sha256:") in statement.digests
        signed += statement.predicate_type == BILL_OF_MATERIALS and about
    if not signed:
        return Verified("SBOM", False, f"none is signed for it{wrong and f': {wrong}'}")
    return Verified("SBOM", True, f"{signed} signed")
