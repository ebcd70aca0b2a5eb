"""Images of containers: references, manifests, an index of platforms, and what an image must have to be released.

Knows the documents, not where they come from: registries and builders are adapters. The documents it composes are the
same bytes for the same content, so that two builds of one content have one digest.

Source: OCI image-spec 1.1 and distribution-spec 1.1; Docker's manifest schema 2, which OCI's was made of.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
LIST_2 = "application/vnd.docker.distribution.manifest.list.v2+json"
MANIFEST_2 = "application/vnd.docker.distribution.manifest.v2+json"
INDEXES = (OCI_INDEX, LIST_2)
MANIFESTS = (OCI_INDEX, OCI_MANIFEST, LIST_2, MANIFEST_2)
"""Every media type that a registry is asked for."""

TAG_LENGTH_MAX = 128
ROOT = ("", "0", "root")

_CONFIG_KEYS = ("architecture", "os", "variant", "author", "created", "history", "rootfs")
_CONTAINER_KEYS = (
    "Cmd", "Entrypoint", "Env", "ExposedPorts", "Healthcheck", "Labels", "Shell", "StopSignal", "User", "Volumes",
    "WorkingDir",
)  # fmt: skip
_BUILDERS_LABELS = ("io.buildah.version",)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_PLATFORM = re.compile(r"[a-z0-9]+/[a-z0-9_]+(?:/[a-z0-9]+)?")


class Document(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A document of a registry: camel case, what is empty is left out."""


class Platform(Document, frozen=True, rename="camel", omit_defaults=True):
    """What an image runs on, such as linux/arm64."""

    architecture: str
    os: str
    variant: str = ""

    @property
    def name(self) -> str:
        """As people and builders write it."""
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


class Descriptor(Document, frozen=True, rename="camel", omit_defaults=True):
    """A content by its digest."""

    media_type: str
    digest: str
    size_bytes: int = msgspec.field(name="size")
    platform: Platform | None = None
    artifact_type: str = ""
    annotations: dict[str, str] = {}


class ImageManifest(Document, frozen=True, rename="camel", omit_defaults=True):
    """One platform's image: its configuration and its layers; or something that is kept beside an image."""

    schema_version: int
    config: Descriptor
    layers: tuple[Descriptor, ...]
    media_type: str = ""
    artifact_type: str = ""
    subject: Descriptor | None = None
    annotations: dict[str, str] = {}


class ImageIndex(Document, frozen=True, rename="camel", omit_defaults=True):
    """An image for several platforms."""

    schema_version: int
    manifests: tuple[Descriptor, ...]
    media_type: str = ""
    annotations: dict[str, str] = {}


class HealthCheck(msgspec.Struct, frozen=True, rename="pascal"):
    """The command that says whether a container is well."""

    test: tuple[str, ...] = ()


class ContainerConfig(msgspec.Struct, frozen=True, rename="pascal"):
    """What a container of the image runs, as whom, and what is written on it."""

    user: str = ""
    healthcheck: HealthCheck | None = None
    labels: dict[str, str] | None = None


class ImageConfig(msgspec.Struct, frozen=True):
    """The configuration of one platform's image, as far as it is looked at."""

    architecture: str
    os: str
    variant: str = ""
    created: str = ""
    config: ContainerConfig = ContainerConfig()

    @property
    def platform(self) -> Platform:
        """What it runs on."""
        return Platform(self.architecture, self.os, self.variant)


class Recipe(msgspec.Struct, frozen=True):
    """What is built: a Dockerfile with a context, its arguments, what is written on it, and its time (Unix seconds)."""

    context: str
    dockerfile: str
    target: str
    arguments: Mapping[str, str]
    labels: Mapping[str, str]
    epoch_s: int
    layers_cached: bool = True


class Reference(msgspec.Struct, frozen=True):
    """Where an image is: REGISTRY/REPOSITORY, and which, by tag or digest."""

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """REGISTRY/REPOSITORY, without which one."""
        return f"{self.registry}/{self.repository}"

    @property
    def version(self) -> str:
        """Which one: its digest, else its tag."""
        return self.digest or self.tag or "latest"

    def __str__(self) -> str:
        """As people and programs write it."""
        return f"{self.name}@{self.digest}" if self.digest else f"{self.name}:{self.version}"


def digest_of(content: bytes) -> str:
    """Name a content by its digest."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def parse_reference(text: str) -> Reference:
    """Read REGISTRY/REPOSITORY[:TAG][@sha256:DIGEST]; raises `ValueError` that says what is wrong with it."""
    rest, _, digest = text.partition("@")
    registry, slash, path = rest.partition("/")
    if not slash or not (registry == "localhost" or "." in registry or ":" in registry):
        raise ValueError(f'"{text}" names no registry. Write REGISTRY/NAME:TAG or REGISTRY/NAME@sha256:DIGEST.')
    repository, _, tag = path.partition(":")
    if not _REPOSITORY.fullmatch(repository):
        raise ValueError(f'"{repository}" is no name of a repository: small letters, digits, and ".", "_", "-", "/".')
    if digest and not _DIGEST.fullmatch(digest):
        raise ValueError(f'"{digest}" is no digest: sha256: and 64 hexadecimal digits.')
    if tag and not _TAG.fullmatch(tag):
        raise ValueError(f'"{tag}" is no tag: letters, digits, ".", "_", "-", at most {TAG_LENGTH_MAX}.')
    return Reference(registry, repository, tag, digest)


def parse_platform(text: str) -> Platform:
    """Read OS/ARCHITECTURE[/VARIANT]; raises `ValueError`."""
    if not _PLATFORM.fullmatch(text):
        raise ValueError(f'"{text}" is no platform. Write for example linux/amd64 or linux/arm64.')
    os, architecture, *variant = text.split("/")
    return Platform(architecture, os, "".join(variant))


def tag_of(name: str) -> str:
    """Write the name of a branch, version or commit as a tag may be written: `feature/fix` is `feature-fix`."""
    tag = re.sub(r"[^A-Za-z0-9._-]+", "-", name).lstrip(".-")[:TAG_LENGTH_MAX]
    return tag or "unnamed"


def encode(document: msgspec.Struct) -> bytes:
    """Write a document down, always in the same bytes."""
    return msgspec.json.encode(document, order="deterministic")


def compose_index(images: Iterable[Descriptor]) -> bytes:
    """Compose the index of an image for several platforms, in the order of their names."""
    manifests = sorted(images, key=lambda one: one.platform.name if one.platform else "")
    return encode(ImageIndex(2, tuple(manifests), OCI_INDEX))


def labels(
    *,
    title: str,
    epoch_s: int,
    description: str = "",
    source: str = "",
    revision: str = "",
    version: str = "",
    licences: str = "",
) -> dict[str, str]:
    """Compose the labels of the image standard; what is not known is left out."""
    found = {
        "title": title,
        "description": description,
        "source": source,
        "revision": revision,
        "version": version,
        "created": timestamp(epoch_s),
        "licenses": licences,
    }
    return {f"org.opencontainers.image.{name}": value for name, value in found.items() if value}


def timestamp(epoch_s: int) -> str:
    """Write Unix seconds as RFC 3339 does, in UTC."""
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def normalise(manifest: ImageManifest, config: bytes) -> tuple[bytes, bytes]:
    """Write an image's manifest and configuration anew: in the standard's types, without what differs by build.

    Builders leave the names of containers and of images of their own machine in the configuration, so that no two
    builds have one digest. The health check stays, for which the standard has no field: that is how Docker's builder
    writes it down too.
    """
    found = msgspec.json.decode(config, type=dict[str, Any])
    runs = found.get("config") or {}
    kept = {key: found[key] for key in _CONFIG_KEYS if found.get(key)}
    history = found.get("history") or ()
    kept["history"] = [{key: value for key, value in one.items() if key != "comment"} for one in history]
    kept["config"] = {key: runs[key] for key in _CONTAINER_KEYS if runs.get(key)}
    if written := runs.get("Labels"):
        kept["config"]["Labels"] = {key: value for key, value in written.items() if key not in _BUILDERS_LABELS}
    content = msgspec.json.encode(kept, order="deterministic")
    described = Descriptor(OCI_CONFIG, digest_of(content), len(content))
    layers = tuple(msgspec.structs.replace(one, media_type=_layer_type(one.media_type)) for one in manifest.layers)
    return encode(ImageManifest(2, described, layers, OCI_MANIFEST)), content


def _layer_type(media_type: str) -> str:
    return {
        "application/vnd.docker.image.rootfs.diff.tar.gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
        "application/vnd.docker.image.rootfs.diff.tar": "application/vnd.oci.image.layer.v1.tar",
    }.get(media_type, media_type)


def faults(config: ImageConfig, *, allowed: Sequence[str] = ()) -> tuple[str, ...]:
    """Say what an image lacks: a user that is not root, a health check. `allowed` waives "root", "no-health-check"."""
    found = []
    user = config.config.user.partition(":")[0]
    if user in ROOT and "root" not in allowed:
        said = f"runs as {user}" if user else "names no USER, so it runs as root"
        found.append(f"the image {said}. Write USER 65532:65532 in its last stage, or allow it: --allow root")
    check = config.config.healthcheck
    if (check is None or check.test[:1] in ((), ("NONE",))) and "no-health-check" not in allowed:
        found.append("the image has no HEALTHCHECK. Write one in its last stage, or allow it: --allow no-health-check")
    return tuple(found)
