"""What follows a release: where it comes from is written down and signed, and its images are given its names.

A release is content, and many commits may have the same. Where it comes from is said for each commit and branch or tag
that it is released as, in the folder `statements` beside it, once. Beside the images in their registry it is said as
well, so that whoever pulls one can ask. What cannot be done is told, and tried again by the next run.
"""

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

import openbell
from openbell.adapters import cyclonedx, dsse, git
from openbell.adapters.registry import Registry
from openbell.core import provenance
from openbell.core.image import digest_of, parse_reference, tag_of, timestamp
from openbell.core.pipeline import JobResult
from openbell.core.provenance import BILL_OF_MATERIALS, PROVENANCE, Resource, resource
from openbell.core.release import Artifact, Release
from openbell.core.sbom import Component, reader_of
from openbell.files import write_whole
from openbell.ports import AdapterError
from openbell.wiring.images import BuiltImage
from openbell.wiring.project import OpenProject
from openbell.wiring.releases import IMAGES, STATEMENTS, ReleaseBuilt, published_file, statement_name
from openbell.wiring.surroundings import SOURCE_DATE_EPOCH

PASSWORD_VARIABLE = "OPENBELL_SIGNING_PASSWORD"  # noqa: S105
BUNDLE = "bundle.cdx.json"
IMAGE_FILE, BILL_FILE, ENVELOPE_FILE = ".image.json", ".cdx.json", ".dsse.json"


async def publish(
    place: OpenProject, built: ReleaseBuilt, *, trigger: str, results: Sequence[JobResult], began_s: float
) -> list[str]:
    """Say where a release comes from, sign it, keep it, and name its images; returns what could not be done, and why.

    `began_s` is when the run began, in Unix seconds.
    """
    folder = place.state.release(built.digest)
    release = msgspec.json.decode((folder / "manifest.json").read_bytes(), type=Release)
    images = read_images(folder, release)
    bills = {one.path: (folder / "artifacts" / one.path).read_bytes() for one in release.artifacts if is_bill(one.path)}
    notes: list[str] = []
    bundle = _bill_of_bundle(folder, release, notes)
    if bundle:
        bills[BUNDLE] = bundle
        write_whole(folder / STATEMENTS / BUNDLE, bundle, mode=0o644)
    origin = _origin(place, built, trigger, began_s)
    key = signing_key(place)
    wanted = any(one.verify is not None for one in place.project.environments.values())
    if wanted and not key:
        name = place.project.release.provenance.key
        notes.append(f"The release is not signed: {name} is not set. Make a key with: openbell release key FOLDER")
    made = {statement_name(built): (_statement(folder, release, bills, origin, results), PROVENANCE)}
    for file, content in bills.items():
        made[file.rpartition("/")[2].removesuffix(BILL_FILE)] = (
            provenance.state(_subjects_of(file, release, images), BILL_OF_MATERIALS, content), BILL_OF_MATERIALS,
        )  # fmt: skip
    envelopes = {}
    for name, (statement, predicate) in made.items():
        path = folder / STATEMENTS / f"{name}{ENVELOPE_FILE}"
        envelopes[name] = (_kept(path, statement, key), predicate)
    try:
        for image in images:
            await _publish_image(image, built, envelopes, signed=bool(key))
    except AdapterError as error:
        return [*notes, f"The images are not named as {built.version} yet: {error.message}. The next run tries again."]
    if key or not wanted:
        write_whole(published_file(place.state, built), b"", mode=0o644)
    return notes


def read_images(folder: Path, release: Release) -> list[BuiltImage]:
    """Read what a release knows of its images."""
    files = [one.path for one in release.artifacts if one.path.endswith(IMAGE_FILE)]
    return [msgspec.json.decode((folder / "artifacts" / path).read_bytes(), type=BuiltImage) for path in files]


def images_of_services(folder: Path, release: Release) -> dict[str, str]:
    """Read which image each service of a release runs, by digest; none, for a release without images."""
    if not any(one.path == IMAGES for one in release.artifacts):
        return {}
    try:
        return msgspec.json.decode((folder / "artifacts" / IMAGES).read_bytes(), type=dict[str, str])
    except msgspec.DecodeError as error:
        message = f'{IMAGES} is not {{"SERVICE": "REPOSITORY@sha256:DIGEST"}}: {error}'
        raise AdapterError("openbell", "release", message, effect="not_applied") from error


def is_bill(path: str) -> bool:
    """Say whether a file of a release is a bill of materials."""
    return path.endswith(BILL_FILE)


def signing_key(place: OpenProject) -> str:
    """Find the key that signs, in PEM; empty when there is none. Raises `AdapterError` when its file cannot be read."""
    name = place.project.release.provenance.key
    value = os.environ.get(name, "")
    if not value or value.lstrip().startswith("-----BEGIN"):
        return value
    try:
        return Path(value).read_text()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        message = f"the file that {name} names cannot be read: {why}. Name a private key in PEM."
        raise AdapterError(dsse.SYSTEM, "key", message, effect="not_applied") from error


def _kept(path: Path, statement: bytes, key: str) -> bytes:
    """Keep a statement in its envelope. One that is kept already stays, unless it was unsigned and can be signed."""
    try:
        before = path.read_bytes()
        envelope, payload = dsse.read(before)
        same = payload == statement or statement_is_provenance(statement)
        if same and (envelope.signatures or not key):
            return before
    except (OSError, dsse.UnsignedError):
        pass
    password = os.environ.get(PASSWORD_VARIABLE, "")
    content = dsse.sign(statement, key, password=password) if key else dsse.wrap(statement)
    write_whole(path, content, mode=0o644)
    return content


def statement_is_provenance(statement: bytes) -> bool:
    """Say whether a statement is a provenance: that of one commit's first run stays, though later runs have others."""
    return provenance.read_statement(statement).predicate_type == PROVENANCE


def _origin(place: OpenProject, built: ReleaseBuilt, trigger: str, began_s: float) -> provenance.Origin:
    said = place.project.release.provenance
    return provenance.Origin(
        project=place.project.project.name,
        source=said.source or provenance.source_of(git.remote_url(place.root)),
        commit=built.commit,
        ref=built.ref,
        trigger=trigger,
        run=built.run,
        builder=said.builder or provenance.LOCAL_BUILDER,
        openbell=openbell.__version__,
        started_at=timestamp(int(began_s)),
        finished_at=timestamp(int(time.time())),
    )


def _statement(
    folder: Path,
    release: Release,
    bills: Mapping[str, bytes],
    origin: provenance.Origin,
    results: Sequence[JobResult],
) -> bytes:
    images = read_images(folder, release)
    bases = {base.name: base.digest for image in images for base in image.bases if base.digest}
    return provenance.compose(
        origin,
        _everything(folder, release, images),
        dependencies=[
            Resource(uri=f"docker://{name}", digest={"sha256": digest.removeprefix("sha256:")})
            for name, digest in sorted(bases.items())
        ],
        byproducts=[resource(path, digest_of(content)) for path, content in sorted(bills.items())],
        jobs={result.id: result.fingerprint for result in results},
    )


def _everything(folder: Path, release: Release, images: Iterable[BuiltImage]) -> list[Resource]:
    """Name all that a release consists of: itself, its files, its images for all platforms and for each."""
    found = [resource("release", release.digest), *_files(release.artifacts)]
    for reference in dict.fromkeys(images_of_services(folder, release).values()):
        name, _, digest = reference.partition("@")
        found.append(resource(name, digest))
    for image in images:
        found += [resource(f"{image.name} ({one.platform})", one.digest) for one in image.platforms]
    return found


def _files(artifacts: Iterable[Artifact]) -> list[Resource]:
    return [resource(one.path, one.sha256) for one in artifacts]


def _subjects_of(path: str, release: Release, images: Iterable[BuiltImage]) -> list[Resource]:
    """Name what a bill of materials is about: the image of one platform, or the files of the bundle."""
    for image in images:
        for one in image.platforms:
            if one.bill_of_materials and path.rpartition("/")[2] == one.bill_of_materials:
                return [resource(f"{image.name} ({one.platform})", one.digest), resource(image.name, image.digest)]
    return [resource("release", release.digest), *_files(release.artifacts)]


def _bill_of_bundle(folder: Path, release: Release, notes: list[str]) -> bytes:
    """Write the bill of materials of what is not in images; empty when its files tell of no package."""
    components: set[Component] = set()
    for one in release.artifacts:
        reader = reader_of(one.path)
        if reader is not None:
            components.update(reader((folder / "artifacts" / one.path).read_bytes()))
    if not components:
        return b""
    if not cyclonedx.is_installed():
        notes.append(f"The release has no bill of materials: {cyclonedx.REMEDY}")
        return b""
    name, epoch_s = release.project.project.name, int(SOURCE_DATE_EPOCH)
    return cyclonedx.write(name, release.digest, sorted(components), epoch_s=epoch_s, container=False)


async def _publish_image(
    image: BuiltImage, built: ReleaseBuilt, envelopes: Mapping[str, tuple[bytes, str]], *, signed: bool
) -> None:
    """Give an image the release's names, and keep what was signed of it beside it."""
    mine = {one.bill_of_materials.removesuffix(BILL_FILE) for one in image.platforms}
    async with Registry(parse_reference(image.reference)) as registry:
        manifest = await registry.manifest(image.digest)
        if manifest is None:
            message = f"{image.reference} is not there any more. Build it again: openbell run --no-cache"
            raise AdapterError("registry", "tag", message, effect="not_applied")
        for name in dict.fromkeys((built.ref, built.commit[:7], built.version)):
            await registry.push_manifest(tag_of(name), manifest.content, manifest.media_type)
        if signed:
            kept = {content: kind for name, (content, kind) in envelopes.items() if kind == PROVENANCE or name in mine}
            await registry.attach(manifest.descriptor, kept)
