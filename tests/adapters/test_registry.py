"""A registry over a transport of the test's own: logins, repetitions, and contents that are not what they should be.

`tests/wiring/test_images.py` and `tests/e2e/test_images.py` speak to a real one.
"""

import base64
import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from openbell.adapters.registry import TRIES, Registry, login_of
from openbell.core.image import OCI_MANIFEST, Reference, digest_of
from openbell.ports import AdapterError

PLACE = Reference("registry.example", "acme/engine")
CONTENT = b'{"schemaVersion":2}'
Answer = Callable[[httpx.Request], httpx.Response]


@pytest.fixture(autouse=True)
def nobodys_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in ("REGISTRY_AUTH_FILE", "DOCKER_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def registry(answer: Answer) -> Registry:
    return Registry(PLACE, transport=httpx.MockTransport(answer), pause_s=0.0)


async def test_a_manifest_is_read_and_named_by_its_bytes() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url == "https://registry.example/v2/acme/engine/manifests/v1"
        return httpx.Response(200, content=CONTENT, headers={"Content-Type": f"{OCI_MANIFEST}; charset=utf-8"})

    async with registry(answer) as asked:
        found = await asked.manifest("v1")
    assert found is not None
    assert (found.digest, found.media_type) == (digest_of(CONTENT), OCI_MANIFEST)


async def test_what_is_not_there_is_none() -> None:
    async with registry(lambda _: httpx.Response(404)) as asked:
        assert await asked.manifest("v1") is None
        assert not await asked.has_blob(digest_of(b""))


async def test_another_content_than_was_asked_for_is_refused() -> None:
    async with registry(lambda _: httpx.Response(200, content=CONTENT)) as asked:
        with pytest.raises(AdapterError, match="tampered with"):
            await asked.manifest(digest_of(b"other"))
        with pytest.raises(AdapterError, match="tampered with"):
            await asked.read_blob(digest_of(b"other"))
        with pytest.raises(AdapterError, match="more than 3 bytes"):
            await asked.read_blob(digest_of(CONTENT), bytes_max=3)


async def test_a_login_is_asked_for_where_the_registry_says() -> None:
    asked_for: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked_for.append(request.url.path)
        if request.url.host == "login.example":
            assert request.headers["Authorization"] == "Basic " + base64.b64encode(b"me:secret").decode()
            assert request.url.params["scope"] == "repository:acme/engine:pull,push"
            assert request.url.params["service"] == "registry.example"
            return httpx.Response(200, json={"token": "t1"})
        if request.headers.get("Authorization") != "Bearer t1":
            challenge = 'Bearer realm="https://login.example/token",service="registry.example"'
            return httpx.Response(401, headers={"WWW-Authenticate": challenge})
        return httpx.Response(200, content=CONTENT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENBELL_REGISTRY_USER", "me")
        patch.setenv("OPENBELL_REGISTRY_PASSWORD", "secret")
        async with registry(answer) as asked:
            assert await asked.manifest("v1") is not None
            assert await asked.read_blob(digest_of(CONTENT)) == CONTENT
    assert asked_for.count("/token") == 1


async def test_a_login_that_does_not_help_is_told_without_it() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        problem = {"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]}
        return httpx.Response(401, json=problem, headers={"WWW-Authenticate": 'Basic realm="r"'})

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENBELL_REGISTRY_USER", "me")
        patch.setenv("OPENBELL_REGISTRY_PASSWORD", "secret")
        async with registry(answer) as asked:
            with pytest.raises(AdapterError, match=r"401 Unauthorized, authentication required\. Log in") as caught:
                await asked.manifest("v1")
    assert "secret" not in str(caught.value)


async def test_what_fails_on_the_way_is_repeated() -> None:
    seen = 0

    def answer(request: httpx.Request) -> httpx.Response:
        nonlocal seen
        seen += 1
        if seen == 1:
            raise httpx.ConnectError("refused", request=request)
        return httpx.Response(503) if seen == 2 else httpx.Response(200, content=CONTENT)

    async with registry(answer) as asked:
        assert await asked.manifest("v1") is not None
    assert seen == 3


@pytest.mark.parametrize(("status", "asked_times"), [(503, TRIES), (403, 1)])
async def test_what_goes_on_failing_is_told(status: int, asked_times: int) -> None:
    seen = 0

    def answer(request: httpx.Request) -> httpx.Response:
        nonlocal seen
        seen += 1
        return httpx.Response(status)

    async with registry(answer) as asked:
        with pytest.raises(AdapterError, match=str(status)) as caught:
            await asked.manifest("v1")
    assert (seen, caught.value.retryable) == (asked_times, status == 503)


async def test_a_registry_that_lost_what_it_was_given_is_told() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(201) if request.method == "PUT" else httpx.Response(404)

    async with registry(answer) as asked:
        with pytest.raises(AdapterError, match=r"was given sha256:.* and has nothing"):
            await asked.push_manifest("v1", CONTENT, OCI_MANIFEST)


async def test_a_content_is_sent_once_and_again_when_it_broke_off() -> None:
    sent: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "HEAD":
            return httpx.Response(404)
        if request.method == "POST":
            return httpx.Response(202, headers={"Location": "/v2/acme/engine/blobs/uploads/1?state=x"})
        assert dict(request.url.params) == {"state": "x", "digest": digest_of(CONTENT)}
        sent.append(request.content)
        return httpx.Response(502) if len(sent) == 1 else httpx.Response(201)

    async with registry(answer) as asked:
        await asked.push_blob(digest_of(CONTENT), CONTENT)
    assert sent == [CONTENT, CONTENT]


@pytest.mark.parametrize("name", ["registry.example", "https://registry.example", "https://registry.example/v1/"])
def test_logins_of_other_programs_are_found(nobodys_home: Path, name: str) -> None:
    (nobodys_home / ".docker").mkdir()
    (nobodys_home / ".docker" / "config.json").write_text(json.dumps({"auths": {name: {"auth": "bWU6eA=="}}}))
    assert login_of("registry.example") == "bWU6eA=="
    assert login_of("other.example") == ""
