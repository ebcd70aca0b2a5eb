"""An image from a Dockerfile: built for each platform, looked at, pushed, read back, and named by its digest.

A job's `run` calls it, and people do. What it leaves in a job's `{out}` is part of the release: `images.json` says
which image each service runs. Tags are given to what was released, when it is (`openbell.wiring.publication`).
"""

import os
import platform as platform_module
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from openbell.adapters import buildah, cyclonedx, docker
from openbell.adapters.layers import read_components
from openbell.adapters.registry import Registry
from openbell.core import dockerfile
from openbell.core.image import (
    OCI_INDEX,
    Descriptor,
    ImageConfig,
    ImageManifest,
    Platform,
    Recipe,
    Reference,
    compose_index,
    digest_of,
    faults,
    labels,
    normalise,
    parse_platform,
    parse_reference,
    tag_of,
)
from openbell.ports import AdapterError
from openbell.wiring.releases import IMAGES
from openbell.wiring.surroundings import SOURCE_DATE_EPOCH

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
Progress = Callable[[str], None]


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody wants built; `registry` is HOST[:PORT][/PATH], and empty when nothing is pushed."""

    context: Path
    name: str
    dockerfile: Path
    registry: str = ""
    platforms: tuple[str, ...] = ("linux/amd64",)
    target: str = ""
    arguments: Mapping[str, str] = {}
    services: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    source: str = ""
    revision: str = ""
    version: str = ""
    licences: str = ""
    description: str = ""
    allowed: tuple[str, ...] = ()
    layers_cached: bool = True


class BaseImage(msgspec.Struct, frozen=True):
    """An image that ours begins with; without a digest, if it was made on the machine and never in a registry."""

    name: str
    platform: str
    digest: str = ""


class PlatformImage(msgspec.Struct, frozen=True):
    """The image for one platform."""

    platform: str
    digest: str
    size_bytes: int
    bill_of_materials: str = ""
    """The file beside it in the release."""


class BuiltImage(msgspec.Struct, frozen=True):
    """`openbell image build --json`, and NAME.image.json in a release; described in docs/schema/image.json."""

    name: str
    reference: str
    digest: str
    platforms: tuple[PlatformImage, ...]
    labels: dict[str, str]
    user: str
    bases: tuple[BaseImage, ...]
    created: str
    pushed: bool
    tags: tuple[str, ...] = ()


class CannotBuildError(Exception):
    """The machine cannot build the image now; that says nothing of what would be built."""


class FaultyImageError(Exception):
    """What was built must not be released as it is."""


class Builder(Protocol):
    """What builds an image for one platform into a folder; the modules of the adapters are such."""

    async def is_there(self) -> bool:
        """Say whether this machine has it."""

    async def obtain(self, image: str, platform: Platform | None) -> str:
        """Have a base image; returns its digest. Raises `AdapterError` when it cannot be had."""

    async def build(self, recipe: Recipe, platform: Platform, folder: Path) -> None:
        """Build into a folder that is not there yet; raises `AdapterError` when it fails."""


async def _builder() -> Builder:
    """Choose what builds: buildah, which needs no daemon, else Docker's buildx."""
    builders: tuple[Builder, ...] = (buildah, docker)
    for builder in builders:
        if await builder.is_there():
            return builder
    raise CannotBuildError("there is neither buildah nor docker buildx. On Debian and Ubuntu: apt-get install buildah")


async def build(order: Order, *, out: Path | None, progress: Progress) -> BuiltImage:
    """Build what is wanted for every platform, push it if there is a registry, and write down what it is.

    Raises `CannotBuildError` where there is no builder or no base image, `FaultyImageError` for an image without a
    user or a health check, `ValueError` for a name that is none, and `AdapterError`.
    """
    place = parse_reference(f"{order.registry or 'localhost'}/{order.name}")
    platforms = [parse_platform(name) for name in dict.fromkeys(order.platforms)]
    builder = await _builder()
    bases = await _obtain_bases(builder, order, platforms)
    epoch_s = int(os.environ.get("SOURCE_DATE_EPOCH") or SOURCE_DATE_EPOCH)
    # Newer builders know it by themselves.
    arguments = {"BUILDPLATFORM": own_platform(), **order.arguments}
    recipe = Recipe(
        str(order.context), str(order.dockerfile), order.target, arguments, _labels(order, epoch_s), epoch_s,
        order.layers_cached,
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="openbell-image-") as scratch:
        folders = {platform: Path(scratch) / platform.name.replace("/", "-") for platform in platforms}
        for platform, folder in folders.items():
            progress(f"{order.name}: building for {platform.name}")
            await _build_for(builder, platform, recipe, folder)
        built = _describe(order, place, folders, bases, recipe)
        bills = _bills(built, folders, epoch_s) if out is not None and order.registry else {}
        if order.registry:
            progress(f"{order.name}: pushing to {place.name}")
            await _push(place, folders, order.tags)
    # What nobody could run by its digest is no part of a release.
    if out is not None and order.registry:
        built = _leave(out, order, built, bills)
    return built


async def _build_for(builder: Builder, platform: Platform, recipe: Recipe, folder: Path) -> None:
    """Build for one platform, in documents that are the same for the same content."""
    await builder.build(recipe, platform, folder)
    _, manifest, config = read_folder(folder)
    if config.platform != platform and recipe.layers_cached:
        # buildah takes a layer of another platform for the same when the instructions and files before it are.
        shutil.rmtree(folder)
        await builder.build(msgspec.structs.replace(recipe, layers_cached=False), platform, folder)
        _, manifest, config = read_folder(folder)
    if config.platform != platform:
        raise FaultyImageError(f"the image for {platform.name} says it is for {config.platform.name}")
    kept = folder / manifest.config.digest.removeprefix("sha256:")
    content, rewritten = normalise(manifest, kept.read_bytes())
    (folder / "manifest.json").write_bytes(content)
    (folder / digest_of(rewritten).removeprefix("sha256:")).write_bytes(rewritten)


def own_platform() -> str:
    """What this machine runs, as images say it."""
    machine = platform_module.machine()
    return f"linux/{_ARCHITECTURES.get(machine, machine)}"


def _labels(order: Order, epoch_s: int) -> dict[str, str]:
    return labels(
        title=order.name.rpartition("/")[2], epoch_s=epoch_s, description=order.description, source=order.source,
        revision=order.revision, version=order.version, licences=order.licences,
    )  # fmt: skip


async def _obtain_bases(builder: Builder, order: Order, platforms: Sequence[Platform]) -> tuple[BaseImage, ...]:
    """Have every base image here before anything is built; one that cannot be had is no fault of the commit."""
    try:
        text = order.dockerfile.read_text()
    except OSError as error:
        raise FaultyImageError(f"{order.dockerfile}: {error.strerror}. Name another with --file.") from error
    found = []
    for base in dockerfile.bases(text, order.arguments):
        for platform in [None] if base.native else platforms:
            try:
                digest = await builder.obtain(base.image, platform)
            except AdapterError as error:
                raise CannotBuildError(error.message) from error
            found.append(BaseImage(base.image, platform.name if platform else "the builder's", digest))
    return tuple(found)


def _describe(
    order: Order,
    place: Reference,
    folders: Mapping[Platform, Path],
    bases: tuple[BaseImage, ...],
    recipe: Recipe,
) -> BuiltImage:
    """Look at what was built; raises `FaultyImageError` with everything that it lacks."""
    images: list[PlatformImage] = []
    descriptors: list[Descriptor] = []
    wrong: dict[str, None] = {}
    user = ""
    for platform, folder in folders.items():
        content, manifest, config = read_folder(folder)
        for fault in faults(config, allowed=order.allowed):
            wrong[fault] = None
        size = sum(layer.size_bytes for layer in manifest.layers)
        images.append(PlatformImage(platform.name, digest_of(content), size))
        descriptors.append(Descriptor(manifest.media_type, digest_of(content), len(content), platform))
        user = config.config.user
    if wrong:
        raise FaultyImageError("\n".join(wrong))
    digest = digest_of(compose_index(descriptors))
    reference = msgspec.structs.replace(place, digest=digest)
    created = recipe.labels["org.opencontainers.image.created"]
    return BuiltImage(
        order.name, str(reference), digest, tuple(images), dict(recipe.labels), user, bases, created,
        bool(order.registry), order.tags if order.registry else (),
    )  # fmt: skip


def read_folder(folder: Path) -> tuple[bytes, ImageManifest, ImageConfig]:
    """Read one platform's image from the folder that `_build_for` left."""
    content = (folder / "manifest.json").read_bytes()
    manifest = msgspec.json.decode(content, type=ImageManifest)
    config = (folder / manifest.config.digest.removeprefix("sha256:")).read_bytes()
    return content, manifest, msgspec.json.decode(config, type=ImageConfig)


async def _push(place: Reference, folders: Mapping[Platform, Path], tags: Sequence[str]) -> None:
    """Send every content, then the manifests, then the index: nobody ever sees an image that is not whole."""
    descriptors = []
    async with Registry(place) as registry:
        for platform, folder in folders.items():
            content, manifest, _ = read_folder(folder)
            for part in (*manifest.layers, manifest.config):
                await registry.push_blob(part.digest, folder / part.digest.removeprefix("sha256:"))
            digest = await registry.push_manifest(digest_of(content), content, manifest.media_type)
            await _read_back(registry, manifest)
            descriptors.append(Descriptor(manifest.media_type, digest, len(content), platform))
        index = compose_index(descriptors)
        for version in (digest_of(index), *map(tag_of, tags)):
            await registry.push_manifest(version, index, OCI_INDEX)


async def _read_back(registry: Registry, manifest: ImageManifest) -> None:
    """See that the registry has what a manifest names; raises `AdapterError` naming what it lost."""
    await registry.read_blob(manifest.config.digest)
    lost = [layer.digest for layer in manifest.layers if not await registry.has_blob(layer.digest)]
    if lost:
        message = f"{registry.place.name} was given {', '.join(lost)}, and has it not. Push again."
        raise AdapterError("registry", "push", message, retryable=True)


def _bills(built: BuiltImage, folders: Mapping[Platform, Path], epoch_s: int) -> dict[str, bytes]:
    """Write a bill of materials for each platform, by the file that it goes to; none where that cannot be done."""
    if not cyclonedx.is_installed():
        return {}
    found = {}
    digests = {one.platform: one.digest for one in built.platforms}
    for platform, folder in folders.items():
        _, manifest, _ = read_folder(folder)
        components = read_components([folder / one.digest.removeprefix("sha256:") for one in manifest.layers])
        name = f"{_short(built.name)}-{platform.name.replace('/', '-')}.cdx.json"
        found[name] = cyclonedx.write(built.name, digests[platform.name], components, epoch_s=epoch_s, container=True)
    return found


def _short(name: str) -> str:
    return name.rpartition("/")[2]


def _leave(out: Path, order: Order, built: BuiltImage, bills: Mapping[str, bytes]) -> BuiltImage:
    """Write down for the release what was built and pushed."""
    out.mkdir(parents=True, exist_ok=True)
    for name, content in bills.items():
        (out / name).write_bytes(content)
    files = {one.platform: name for one, name in zip(built.platforms, bills, strict=False)}
    platforms = tuple(
        msgspec.structs.replace(one, bill_of_materials=files.get(one.platform, "")) for one in built.platforms
    )
    built = msgspec.structs.replace(built, platforms=platforms)
    described = out / f"{_short(order.name)}.image.json"
    described.write_bytes(msgspec.json.format(msgspec.json.encode(built), indent=2) + b"\n")
    known = out / IMAGES
    before = msgspec.json.decode(known.read_bytes(), type=dict[str, str]) if known.exists() else {}
    images = {**before, **dict.fromkeys(order.services or (_short(order.name),), built.reference)}
    known.write_bytes(msgspec.json.format(msgspec.json.encode(images, order="deterministic"), indent=2) + b"\n")
    return built
