"""A registry of images, by the standard that they all speak: contents by digest, manifests by tag or digest.

What is read is checked against its digest, always. A request that fails on the way, or that the registry has no time
for, is repeated; contents by digest may be sent twice without harm. Logins are those of docker and podman
(`~/.docker/config.json`, `auth.json`), or OPENBELL_REGISTRY_USER and OPENBELL_REGISTRY_PASSWORD.

Source: OCI distribution-spec 1.1; https://distribution.github.io/distribution/spec/auth/token/
"""

import asyncio
import base64
import contextlib
import hashlib
import os
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import msgspec

from openbell.core.image import (
    MANIFESTS,
    OCI_CONFIG,
    OCI_MANIFEST,
    Descriptor,
    ImageManifest,
    Reference,
    digest_of,
    encode,
)
from openbell.ports import AdapterError

SYSTEM = "registry"
TRIES = 5
PAUSE_S = 0.5
TIMEOUT_S = 30.0
MANIFEST_BYTES_MAX = 4_000_000
CHUNK_BYTES = 1 << 20
ENVELOPE = "application/vnd.dsse.envelope.v1+json"
ATTESTATION = "application/vnd.in-toto+json"
ATTACHED_MAX = 50
"""Statements kept beside one image; the oldest go first. The same content is often released by several commits."""

BUSY = (408, 425, 429, 500, 502, 503, 504)
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')


class Manifest(msgspec.Struct, frozen=True):
    """A manifest as the registry has it: its bytes, its type, its digest."""

    content: bytes
    media_type: str
    digest: str

    @property
    def descriptor(self) -> Descriptor:
        """How another document names it."""
        return Descriptor(self.media_type, self.digest, len(self.content))


class Registry:
    """One repository of one registry. Use as an async context manager."""

    def __init__(
        self, place: Reference, *, transport: httpx.AsyncBaseTransport | None = None, pause_s: float = PAUSE_S
    ) -> None:
        self.place = place
        self._pause_s = pause_s
        self._login = login_of(place.registry)
        self._authorization = ""
        self._client = httpx.AsyncClient(
            base_url=f"{_scheme(place.registry)}://{place.registry}", timeout=TIMEOUT_S, transport=transport,
            follow_redirects=True,
        )  # fmt: skip

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def manifest(self, version: str) -> Manifest | None:
        """Return a manifest by tag or digest, or None when there is none; its digest is that of its bytes.

        Raises `AdapterError` when it is not the one that was asked for by digest.
        """
        headers = {"Accept": ", ".join(MANIFESTS)}
        answer = await self._ask("GET", f"manifests/{version}", headers=headers, fine=(200, 404))
        if answer.status_code == 404:
            return None
        found = digest_of(answer.content)
        if version.startswith("sha256:") and found != version:
            message = f"{self.place.name} answers with {found} when asked for {version}: it was tampered with"
            raise AdapterError(SYSTEM, "manifest", message, effect="not_applied")
        return Manifest(answer.content, answer.headers.get("content-type", "").partition(";")[0], found)

    async def push_manifest(self, version: str, content: bytes, media_type: str) -> str:
        """Put a manifest under a tag or its digest, and see that it is there; returns its digest."""
        await self._ask(
            "PUT", f"manifests/{version}", content=content, headers={"Content-Type": media_type}, fine=(201, 202)
        )
        digest = digest_of(content)
        there = await self.manifest(version)
        if there is None or there.digest != digest:
            found = "nothing" if there is None else there.digest
            message = f"{self.place.name} was given {digest} as {version}, and has {found}. Push again."
            raise AdapterError(SYSTEM, "push", message, retryable=True)
        return digest

    async def attach(self, subject: Descriptor, envelopes: Mapping[bytes, str]) -> None:
        """Keep signed statements (envelope to type of its predicate) beside an image, besides those that are there.

        They are where cosign looks for them, under a tag that is named by the image's digest, and refer to the image,
        as registries of the newest standard list it.
        """
        layers = {layer.digest: layer for layer in await self._attached(subject.digest)}
        for content, predicate in envelopes.items():
            notes = {"dev.cosignproject.cosign/signature": "", "predicateType": predicate}
            made = Descriptor(ENVELOPE, digest_of(content), len(content), annotations=notes)
            layers[made.digest] = made
            await self.push_blob(made.digest, content)
        kept = tuple(layers.values())[-ATTACHED_MAX:]
        config = encode(_AttachmentConfig(rootfs=_Layers(tuple(one.digest for one in kept))))
        await self.push_blob(digest_of(config), config)
        described = Descriptor(OCI_CONFIG, digest_of(config), len(config))
        manifest = encode(ImageManifest(2, described, kept, OCI_MANIFEST, ATTESTATION, subject))
        await self.push_manifest(_attachment_tag(subject.digest), manifest, OCI_MANIFEST)

    async def attached(self, digest: str) -> list[bytes]:
        """Return the envelopes that are kept beside an image."""
        return [await self.read_blob(layer.digest) for layer in await self._attached(digest)]

    async def _attached(self, digest: str) -> tuple[Descriptor, ...]:
        found = await self.manifest(_attachment_tag(digest))
        if found is None:
            return ()
        layers = msgspec.json.decode(found.content, type=ImageManifest).layers
        return tuple(layer for layer in layers if layer.media_type == ENVELOPE)

    async def has_blob(self, digest: str) -> bool:
        """Say whether a content is there."""
        return (await self._ask("HEAD", f"blobs/{digest}", fine=(200, 404))).status_code == 200

    async def read_blob(self, digest: str, *, bytes_max: int = MANIFEST_BYTES_MAX) -> bytes:
        """Return a small content; raises `AdapterError` when it is another than its digest says, or larger."""
        parts, size = [], 0
        async for part in self.stream_blob(digest):
            size += len(part)
            if size > bytes_max:
                message = f"{digest} in {self.place.name} has more than {bytes_max:,} bytes"
                raise AdapterError(SYSTEM, "blob", message, effect="not_applied")
            parts.append(part)
        return b"".join(parts)

    async def stream_blob(self, digest: str) -> AsyncIterator[bytes]:
        """Yield a content part by part; raises `AdapterError` at its end when it is another than its digest says."""
        await self._authorize()
        seen = hashlib.sha256()
        try:
            async with self._client.stream("GET", self._url(f"blobs/{digest}"), headers=self._headers()) as answer:
                if answer.status_code != 200:
                    await answer.aread()
                    raise self._refused("blob", answer)
                async for part in answer.aiter_bytes(CHUNK_BYTES):
                    seen.update(part)
                    yield part
        except httpx.HTTPError as error:
            raise self._away("blob", error) from error
        if f"sha256:{seen.hexdigest()}" != digest:
            message = f"{self.place.name} has sha256:{seen.hexdigest()} where {digest} should be: it was tampered with"
            raise AdapterError(SYSTEM, "blob", message, effect="not_applied")

    async def push_blob(self, digest: str, content: bytes | Path) -> None:
        """Send a content, unless it is there already."""
        if await self.has_blob(digest):
            return
        for attempt in range(TRIES):
            begun = await self._ask("POST", "blobs/uploads/", fine=(202,))
            url = httpx.URL(str(begun.url)).join(begun.headers["location"])
            url = url.copy_merge_params({"digest": digest})
            headers = {"Content-Type": "application/octet-stream", "Content-Length": str(_size(content))}
            try:
                answer = await self._client.put(url, content=_parts(content), headers={**self._headers(), **headers})
            except httpx.HTTPError as error:
                if attempt == TRIES - 1:
                    raise self._away("push", error) from error
            else:
                if answer.status_code == 201:
                    return
                if answer.status_code not in BUSY or attempt == TRIES - 1:
                    raise self._refused("push", answer)
            await asyncio.sleep(self._pause_s * 2**attempt)

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        fine: tuple[int, ...],
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Send a request until it is answered; raises `AdapterError` with what the registry said."""
        for attempt in range(TRIES):
            last = attempt == TRIES - 1
            try:
                answer = await self._client.request(
                    method, self._url(path), content=content, headers={**self._headers(), **(headers or {})}
                )
            except httpx.HTTPError as error:
                if last:
                    raise self._away(method, error) from error
            else:
                if answer.status_code in fine:
                    return answer
                if answer.status_code == 401 and await self._log_in(answer):
                    continue
                if answer.status_code not in BUSY or last:
                    raise self._refused(method, answer)
            await asyncio.sleep(self._pause_s * 2**attempt)
        message = f"{self.place.registry} asks for a login again and again"
        raise AdapterError(SYSTEM, "login", message, effect="not_applied")

    def _url(self, path: str) -> str:
        return f"/v2/{self.place.repository}/{path}"

    def _headers(self) -> dict[str, str]:
        return {"Authorization": self._authorization} if self._authorization else {}

    async def _authorize(self) -> None:
        """Log in before a content is streamed: a stream cannot be begun again."""
        if not self._authorization:
            answer = await self._ask("GET", "tags/list", fine=(200, 404))
            del answer

    async def _log_in(self, answer: httpx.Response) -> bool:
        """Do what a 401 asks for; False when that was done before and did not help."""
        scheme, _, rest = answer.headers.get("www-authenticate", "").partition(" ")
        challenge = dict(_CHALLENGE.findall(rest))
        if scheme.lower() == "basic" and self._login:
            before, self._authorization = self._authorization, f"Basic {self._login}"
            return before != self._authorization
        realm = challenge.pop("realm", "")
        if scheme.lower() != "bearer" or not realm:
            return False
        challenge["scope"] = f"repository:{self.place.repository}:pull,push"
        login = {"Authorization": f"Basic {self._login}"} if self._login else {}
        given = await self._client.get(realm, params=challenge, headers=login)
        if given.status_code != 200:
            raise self._refused("login", given)
        document = msgspec.json.decode(given.content, type=_Token)
        before, self._authorization = self._authorization, f"Bearer {document.token or document.access_token}"
        return before != self._authorization

    def _refused(self, operation: str, answer: httpx.Response) -> AdapterError:
        said = ""
        with contextlib.suppress(msgspec.DecodeError, httpx.ResponseNotRead):
            said = "; ".join(
                one.message or one.code for one in msgspec.json.decode(answer.content, type=_Errors).errors
            )
        remedy = (
            ". Log in: docker login, podman login or OPENBELL_REGISTRY_USER" if answer.status_code in (401, 403) else ""
        )
        message = f"{self.place.name}: {answer.status_code} {answer.reason_phrase}{said and f', {said}'}{remedy}"
        return AdapterError(SYSTEM, operation.lower(), message, retryable=answer.status_code in BUSY)

    def _away(self, operation: str, error: httpx.HTTPError) -> AdapterError:
        message = f"{self.place.registry} cannot be reached: {error or type(error).__name__}"
        return AdapterError(SYSTEM, operation.lower(), message, retryable=True)


class _Layers(msgspec.Struct):
    diff_ids: tuple[str, ...]
    type: str = "layers"


class _AttachmentConfig(msgspec.Struct):
    """What readers of images expect of a configuration; statements run nowhere."""

    rootfs: _Layers
    architecture: str = ""
    os: str = ""
    config: dict[str, str] = {}


class _Token(msgspec.Struct):
    token: str = ""
    access_token: str = ""


class _Error(msgspec.Struct):
    code: str = ""
    message: str = ""


class _Errors(msgspec.Struct):
    errors: tuple[_Error, ...] = ()


class _Auth(msgspec.Struct):
    auth: str = ""


class _Logins(msgspec.Struct):
    auths: dict[str, _Auth] = {}


def _attachment_tag(digest: str) -> str:
    return f"{digest.replace(':', '-')}.att"


def login_of(registry: str) -> str:
    """Find the login for a registry, `user:password` in Base64; empty when there is none."""
    user, password = os.environ.get("OPENBELL_REGISTRY_USER"), os.environ.get("OPENBELL_REGISTRY_PASSWORD")
    if user and password:
        return base64.b64encode(f"{user}:{password}".encode()).decode()
    named = [Path(os.environ[name]) for name in ("REGISTRY_AUTH_FILE",) if os.environ.get(name)]
    docker = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    containers = Path(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}") / "containers" / "auth.json"
    for file in (*named, containers, Path.home() / ".config" / "containers" / "auth.json", docker):
        try:
            logins = msgspec.json.decode(file.read_bytes(), type=_Logins)
        except (OSError, msgspec.DecodeError):
            continue
        for name, found in logins.auths.items():
            if name.removeprefix("https://").partition("/")[0] == registry and found.auth:
                return found.auth
    return ""


def _scheme(registry: str) -> str:
    """Registries speak TLS; those of this machine need not."""
    host = registry.partition(":")[0]
    return "http" if host == "localhost" or host.startswith("127.") else "https"


def _size(content: bytes | Path) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size


async def _parts(content: bytes | Path) -> AsyncIterator[bytes]:
    """Yield a content in parts that fit into memory."""
    if isinstance(content, bytes):
        yield content
        return
    with content.open("rb") as file:
        while part := file.read(CHUNK_BYTES):
            yield part
