"""A release: what a run built, by digest, with the configuration that belongs to it. Immutable."""

import hashlib

import msgspec

from openbell.core.project import Project


class Artifact(msgspec.Struct, frozen=True):
    """One file of a release; `path` is relative to the release's `artifacts/` folder."""

    path: str
    sha256: str
    size_bytes: int


class Release(msgspec.Struct, frozen=True):
    """What goes to an environment: code and configuration together, so that both roll back together.

    The digest covers artifacts, configuration and project file, not the commit's or tag's name: the same content is the
    same release, whichever branch or tag built it.
    """

    project: Project
    commit: str
    artifacts: tuple[Artifact, ...]
    config: tuple[Artifact, ...] = ()

    @property
    def digest(self) -> str:
        """`sha256:` and the hash of the canonical JSON of everything but the commit's name."""
        content = msgspec.json.encode((self.project, self.artifacts, self.config), order="deterministic")
        return "sha256:" + hashlib.sha256(content).hexdigest()


class _Parts(msgspec.Struct, frozen=True):
    project: msgspec.Raw
    artifacts: msgspec.Raw
    config: msgspec.Raw


def digest_in(manifest: bytes) -> str:
    """Name a release by the manifest that was written for it, whichever openbell wrote it; raises `ValueError`.

    It is of the bytes as they stand there: another openbell may know other fields.
    """
    found = msgspec.json.decode(manifest, type=_Parts)
    content = b"[" + b",".join(bytes(part) for part in (found.project, found.artifacts, found.config)) + b"]"
    return "sha256:" + hashlib.sha256(content).hexdigest()
