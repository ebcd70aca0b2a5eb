"""The API client against a server that refuses, is busy, breaks off or is not there."""

import asyncio
import datetime as dt
import email.utils
import gc
import json
import os
import socket
import sys
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from lightkube.config.kubeconfig import KubeConfig

from openbell.adapters.kubernetes import api as module
from openbell.adapters.kubernetes import kubeconfig
from openbell.adapters.kubernetes.api import Api, is_forbidden, is_missing
from openbell.adapters.kubernetes.objects import Pod, Pods
from openbell.ports import AdapterError
from tests.adapters.kubernetes.apiserver import DROPPED, Answer, Server, refusal, serving, write_kubeconfig

BUSY = refusal(429, "TooManyRequests", "too many requests, please try again later", Retry_After="1")
BROKEN = refusal(503, "ServiceUnavailable", "the server is currently unable to handle the request")
CONFLICT = refusal(
    409, "Conflict",
    'Apply failed with 1 conflict: conflict with "kubectl-edit" using gateway.networking.k8s.io/v1: .spec.rules',
)  # fmt: skip
POD = Answer(body=b'{"metadata": {"name": "api-1"}}')
DEPLOYMENT = "apps/v1/deployments/api"

Operation = Callable[[Api], Awaitable[Any]]


def read(api: Api) -> Awaitable[Any]:
    return api.read("v1/pods/api-1", Pod)


def apply(api: Api) -> Awaitable[Any]:
    return api.apply(DEPLOYMENT, {"kind": "Deployment"})


def merge(api: Api) -> Awaitable[Any]:
    return api.merge(DEPLOYMENT, {})


def create(api: Api) -> Awaitable[Any]:
    return api.create("v1/events", {})


def delete(api: Api) -> Awaitable[Any]:
    return api.delete(DEPLOYMENT)


def ask_pod(api: Api) -> Awaitable[Any]:
    return api.ask_pod("api-1", 8080, "/drain", "POST", {"to": "green"})


WRITES = [apply, merge, create, delete]


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as made:
        yield made


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is waited for between attempts."""
    monkeypatch.setattr(module, "BACKOFF_S", 0.0)
    monkeypatch.setattr(module, "BACKOFF_MAX_S", 0.0)


@pytest.fixture
async def api(server: Server, impatient: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    monkeypatch.setenv("KUBECONFIG", str(write_kubeconfig(tmp_path / "config", server.url)))
    made = Api("", "trading")
    yield made
    await made.close()


# --- what is sent


@pytest.mark.parametrize(
    ("path", "url"),
    [
        ("v1/pods/api-1", "/api/v1/namespaces/trading/pods/api-1"),
        ("apps/v1/deployments", "/apis/apps/v1/namespaces/trading/deployments"),
        (
            "gateway.networking.k8s.io/v1/httproutes/api",
            "/apis/gateway.networking.k8s.io/v1/namespaces/trading/httproutes/api",
        ),
        ("/api/v1/namespaces", "/api/v1/namespaces"),
    ],
)
async def test_paths_are_below_the_namespace_or_whole(api: Api, server: Server, path: str, url: str) -> None:
    await api.read(path, Pods)
    assert server.asked == [("GET", url)]


async def test_what_is_read_is_asked_for_with_its_parameters_and_the_token(api: Api, server: Server) -> None:
    await api.read("v1/pods", Pods, params={"labelSelector": "openbell.dev/slot=blue"})
    (request,) = server.requests
    assert request.params == {"labelSelector": "openbell.dev/slot=blue"}
    assert request.headers["authorization"] == "Bearer t0ken"
    assert "content-type" not in request.headers


@pytest.mark.parametrize(("force", "text"), [(False, "false"), (True, "true")])
async def test_applying_is_server_side_under_our_name(api: Api, server: Server, *, force: bool, text: str) -> None:
    server.answers = [Answer(body=b'{"metadata": {"generation": 3}}')]
    content = {"kind": "Deployment", "spec": {"replicas": 2}}
    assert json.loads(await api.apply(DEPLOYMENT, content, force=force)) == {"metadata": {"generation": 3}}
    (request,) = server.requests
    assert (request.method, request.headers["content-type"]) == ("PATCH", "application/apply-patch+yaml")
    assert request.params == {"fieldManager": "openbell", "force": text}
    assert json.loads(request.body) == content


async def test_merging_creating_and_deleting_say_who_and_how(api: Api, server: Server) -> None:
    await api.merge(DEPLOYMENT, {"spec": {"replicas": 1}})
    await api.create("v1/events", {"reason": "Placed"})
    await api.delete(DEPLOYMENT)
    merged, created, deleted = server.requests
    assert (merged.method, merged.headers["content-type"]) == ("PATCH", "application/merge-patch+json")
    assert (created.method, created.headers["content-type"]) == ("POST", "application/json")
    assert merged.params == created.params == {"fieldManager": "openbell"}
    assert (deleted.method, deleted.params) == ("DELETE", {"propagationPolicy": "Background"})


async def test_a_log_is_text(api: Api, server: Server) -> None:
    server.answers = [Answer(body="ready\nüber 5 ms\n".encode())]
    assert await api.text("v1/pods/api-1/log", params={"tailLines": "2"}) == "ready\nüber 5 ms\n"
    assert server.requests[0].params == {"tailLines": "2"}


async def test_a_pod_is_asked_through_the_api_server_and_answers_for_itself(api: Api, server: Server) -> None:
    server.answers = [Answer(503, b"busy")]
    answer = await ask_pod(api)
    assert (answer.status_code, answer.content) == (503, b"busy")
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/api/v1/namespaces/trading/pods/api-1:8080/proxy/drain")
    assert json.loads(request.body) == {"to": "green"}


async def test_a_pod_that_may_not_be_asked_is_another_thing_than_one_that_refuses(api: Api, server: Server) -> None:
    server.answers = [Answer(403, b"not you"), refusal(403, "Forbidden", 'cannot create resource "pods/proxy"')]
    assert (await ask_pod(api)).status_code == 403
    with pytest.raises(AdapterError, match=r"pods/proxy.*openbell render rbac") as caught:
        await ask_pod(api)
    assert (caught.value.retryable, caught.value.effect) == (False, "not_applied")


# --- busy and broken


async def test_a_busy_server_is_asked_again(api: Api, server: Server) -> None:
    server.answers = [BUSY, POD]
    assert (await api.read("v1/pods/api-1", Pod)).metadata.name == "api-1"
    assert len(server.requests) == 2


async def test_it_is_asked_again_when_it_says(api: Api, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str | None, int]] = []

    def pause_s(retry_after: str | None, attempt: int) -> float:
        asked.append((retry_after, attempt))
        return 0.0

    monkeypatch.setattr(module, "_pause_s", pause_s)
    server.answers = [BUSY, BROKEN, POD]
    await read(api)
    assert asked == [("1", 0), (None, 1)]


@pytest.mark.parametrize(
    ("retry_after", "expected_s"),
    [
        (None, 2 * module.BACKOFF_S),
        ("3", 3.0),
        ("0", module.BACKOFF_S),
        ("9" * 400, module.BACKOFF_MAX_S),
        ("soon", 2 * module.BACKOFF_S),
        ("Wed, 21 Oct 2015 07:28:00 GMT", module.BACKOFF_S),
        (email.utils.format_datetime(dt.datetime(2999, 1, 1, tzinfo=dt.UTC), usegmt=True), module.BACKOFF_MAX_S),
    ],
)
def test_the_pause_is_bounded(retry_after: str | None, expected_s: float) -> None:
    assert module._pause_s(retry_after, 1) == expected_s


def test_a_date_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    at_s = dt.datetime(2026, 1, 1, 12, 0, 0, tzinfo=dt.UTC).timestamp()
    monkeypatch.setattr("openbell.adapters.kubernetes.api.time.time", lambda: at_s)
    assert module._pause_s("Thu, 01 Jan 2026 12:00:04 GMT", 0) == 4.0


async def test_a_server_that_stays_busy_is_told_of_at_last(api: Api, server: Server) -> None:
    server.answers = [BUSY]
    with pytest.raises(AdapterError, match="too many requests") as caught:
        await apply(api)
    assert (caught.value.retryable, caught.value.effect) == (True, "not_applied")
    assert len(server.requests) == module.ATTEMPTS


@pytest.mark.parametrize("answer", [BROKEN, Answer(502, b"<html>bad gateway</html>"), DROPPED])
@pytest.mark.parametrize("operation", [read, apply, merge, delete])
async def test_what_may_be_repeated_is(api: Api, server: Server, operation: Operation, answer: Answer) -> None:
    server.answers = [answer, POD]
    await operation(api)
    assert len({(request.method, request.path, request.body) for request in server.requests}) == 1
    assert len(server.requests) == 2


@pytest.mark.parametrize("answer", [BROKEN, DROPPED])
async def test_what_may_not_be_repeated_is_sent_once(api: Api, server: Server, answer: Answer) -> None:
    server.answers = [answer, POD]
    with pytest.raises(AdapterError) as caught:
        await create(api)
    assert (caught.value.retryable, caught.value.effect) == (True, "unknown")
    assert len(server.requests) == 1


async def test_creating_waits_for_a_server_that_is_busy_for_that_did_nothing(api: Api, server: Server) -> None:
    server.answers = [BUSY, Answer(201)]
    await create(api)
    assert len(server.requests) == 2


@pytest.mark.parametrize("answer", [BROKEN, Answer(500, b""), DROPPED])
@pytest.mark.parametrize("operation", [read, *WRITES])
async def test_only_a_write_that_was_not_answered_is_unknown(
    api: Api, server: Server, operation: Operation, answer: Answer
) -> None:
    server.answers = [answer]
    with pytest.raises(AdapterError) as caught:
        await operation(api)
    assert (caught.value.system, caught.value.retryable) == ("kubernetes", True)
    assert caught.value.effect == ("not_applied" if operation is read else "unknown")


@pytest.mark.parametrize("operation", [read, *WRITES, ask_pod])
async def test_where_nobody_listens_nothing_was_done(
    tmp_path: Path, impatient: None, monkeypatch: pytest.MonkeyPatch, operation: Operation
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("KUBECONFIG", str(write_kubeconfig(tmp_path / "config", url)))
        api = Api("", "trading")
        with pytest.raises(AdapterError, match=f"the API server at {url}.* does not answer") as caught:
            await operation(api)
        await api.close()
    assert (caught.value.retryable, caught.value.effect) == (True, "not_applied")


# --- refusals


async def test_what_is_forbidden_is_named_with_the_permissions_that_suffice(api: Api, server: Server) -> None:
    forbidden = 'pods is forbidden: User "ci" cannot list resource "pods" in API group "" in the namespace "trading"'
    server.answers = [refusal(403, "Forbidden", forbidden)]
    with pytest.raises(AdapterError, match=r'cannot list resource "pods".*openbell render rbac') as caught:
        await read(api)
    assert (caught.value.retryable, caught.value.effect, len(server.requests)) == (False, "not_applied", 1)
    assert is_forbidden(caught.value)


async def test_an_unknown_user_is_told_to_log_in(api: Api, server: Server) -> None:
    server.answers = [refusal(401, "Unauthorized", "Unauthorized")]
    with pytest.raises(AdapterError, match=r"does not know us \(Unauthorized\); log in again") as caught:
        await apply(api)
    assert (caught.value.retryable, caught.value.effect) == (False, "not_applied")


async def test_what_is_not_there_is_none_or_deleted_already(api: Api, server: Server) -> None:
    server.answers = [refusal(404, "NotFound", 'pods "api-1" not found')]
    assert await api.find("v1/pods/api-1", Pod) is None
    await api.delete(DEPLOYMENT)
    with pytest.raises(AdapterError, match='pods "api-1" not found') as caught:
        await read(api)
    assert is_missing(caught.value)
    assert not is_forbidden(caught.value)


@pytest.mark.parametrize("operation", [lambda api: api.find("v1/pods/api-1", Pod), delete])
async def test_only_what_is_missing_counts_as_missing(api: Api, server: Server, operation: Operation) -> None:
    server.answers = [refusal(403, "Forbidden", "no")]
    with pytest.raises(AdapterError, match="no"):
        await operation(api)


async def test_a_conflict_names_who_owns_the_field(api: Api, server: Server) -> None:
    server.answers = [CONFLICT]
    with pytest.raises(AdapterError, match='conflict with "kubectl-edit"') as caught:
        await apply(api)
    assert not is_missing(caught.value)
    assert (caught.value.effect, len(server.requests)) == ("not_applied", 1)


async def test_a_refusal_of_somebody_else_is_told_by_its_status(api: Api, server: Server) -> None:
    for body in (b"<html>", b"[]", b"\xff", b'{"message": "\xff"}', b""):
        server.answers = [Answer(418, body)]
        with pytest.raises(AdapterError, match="GET /api/v1/namespaces/trading/pods/api-1 answered 418"):
            await read(api)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"<html>", b'{"items": 3}', b'{"items": [{"metadata": {"name": "\xff"}}]}']
)
async def test_what_is_no_object_is_told(api: Api, server: Server, body: bytes) -> None:
    server.answers = [Answer(body=body)]
    with pytest.raises(AdapterError, match="v1/pods is not what Kubernetes documents") as caught:
        await api.read("v1/pods", Pods)
    assert (caught.value.retryable, caught.value.effect) == (False, "not_applied")


# --- who we are


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "not found"),
        ("", "no cluster"),
        ("[]", "no cluster"),
        ("a: [", "no cluster"),
        ("{}", "No current context set"),
        ("{clusters: [], contexts: []}", "No current context set"),
        ("{clusters: [], contexts: [], current-context: x}", "Context 'x' not found"),
        ("{clusters: [], contexts: [{name: x, context: {cluster: y}}], current-context: x}", "KeyError: 'y'"),
        (
            "{clusters: [{name: y, cluster: {}}], contexts: [{name: x, context: {cluster: y}}], current-context: x}",
            "Missing user",
        ),
        (
            (
                "{clusters: [{name: y, cluster: {server: 'http://[::1'}}], users: [{name: u, user: {token: t}}], "
                "contexts: [{name: x, context: {cluster: y, user: u}}], current-context: x}"
            ),
            "no cluster",
        ),
        (
            (
                "{clusters: [{name: y, cluster: {certificate-authority: missing.pem}}], users: [{name: u, user: {}}], "
                "contexts: [{name: x, context: {cluster: y, user: u}}], current-context: x}"
            ),
            "No such file",
        ),
    ],
)
async def test_a_kubeconfig_of_no_use_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, message: str
) -> None:
    path = tmp_path / "config"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("KUBECONFIG", str(path))
    connect, tried = kubeconfig.connect, list[str]()

    def count(context: str, *, timeout_s: float) -> Any:
        tried.append(context)
        return connect(context, timeout_s=timeout_s)

    monkeypatch.setattr(kubeconfig, "connect", count)
    with pytest.raises(AdapterError) as caught:
        await read(Api("", "trading"))
    assert message in caught.value.message
    assert f"Name one in KUBECONFIG (now {path})" in caught.value.message
    assert (caught.value.operation, caught.value.retryable, caught.value.effect) == ("connect", False, "not_applied")
    assert len(tried) == 1, "trying again would not help"


async def test_several_files_count_as_one_and_the_first_wins(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As kubectl does it; what a file names is looked for beside that file."""
    (tmp_path / "users").mkdir()
    (tmp_path / "users" / "token").write_text("of-a-file")
    (tmp_path / "users" / "config").write_text(
        "{users: [{name: ci, user: {tokenFile: token}}], contexts: [{name: there, context: {cluster: main, user: ci}}]}"
    )
    (tmp_path / "clusters").write_text(
        f"{{clusters: [{{name: main, cluster: {{server: '{server.url}'}}}}], current-context: there}}"
    )
    later = write_kubeconfig(tmp_path / "later", "http://127.0.0.1:9")
    later.write_text(later.read_text().replace("one", "main"))
    files = [tmp_path / "users" / "config", tmp_path / "no-such-file", tmp_path / "clusters", later]
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join(map(str, files)))
    api = Api("", "trading")
    await api.read("v1/pods", Pods)
    await api.close()
    assert server.asked == [("GET", "/api/v1/namespaces/trading/pods")]
    assert server.requests[0].headers["authorization"] == "Bearer of-a-file"


async def test_the_account_of_a_pod_does_not_win_over_a_kubeconfig(
    api: Api, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kubectl and helm would speak with one cluster, and we with another."""
    monkeypatch.setattr(KubeConfig, "from_service_account", lambda **_: KubeConfig.from_server("http://127.0.0.1:9"))
    server.answers = [POD]
    assert (await api.read("v1/pods/api-1", Pod)).metadata.name == "api-1"


async def test_a_context_that_is_not_there_is_told_with_those_that_are(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(write_kubeconfig(tmp_path / "config", server.url)))
    with pytest.raises(AdapterError, match=r'has no context "there"; it has: here\. Set context') as caught:
        await read(Api("there", "trading"))
    assert caught.value.effect == "not_applied"
    named = Api("here", "trading")
    await named.read("v1/pods", Pods)
    await named.close()
    assert server.asked == [("GET", "/api/v1/namespaces/trading/pods")]


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ({"command": "no-such-program"}, "No such file"),
        ({"command": sys.executable, "args": ["-c", "import sys; sys.exit('please log in')"]}, "please log in"),
        ({"command": sys.executable, "args": ["-c", "print('no json')"]}, "no token"),
        ({"command": sys.executable, "args": ["-c", "print('{}')"]}, "KeyError: 'status'"),
    ],
)
async def test_a_program_that_gives_no_token_is_told_and_nothing_is_sent(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: dict[str, Any], message: str
) -> None:
    user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1beta1", **program}}
    monkeypatch.setenv("KUBECONFIG", str(write_kubeconfig(tmp_path / "config", server.url, user)))
    api = Api("", "trading")
    with pytest.raises(AdapterError, match=message) as caught:
        await apply(api)
    await api.close()
    assert (caught.value.operation, caught.value.retryable, caught.value.effect) == ("log in", False, "not_applied")
    assert server.requests == []


def test_two_event_loops_one_after_the_other(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(write_kubeconfig(tmp_path / "config", server.url)))
    api = Api("", "trading")
    asyncio.run(api.text("v1/pods"))

    async def again() -> None:
        await api.text("v1/pods")
        await api.close()
        await api.close()

    with warnings.catch_warnings():
        # Nobody can close the connections of a loop that has ended; they end with the client that is let go.
        warnings.simplefilter("ignore", ResourceWarning)
        asyncio.run(again())
        gc.collect()
    assert len(server.requests) == 2
