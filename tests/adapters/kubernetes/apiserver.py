"""An API server that answers what a test tells it to, over HTTP on 127.0.0.1, and a kubeconfig that leads to it."""

import contextlib
import http.server
import json
import threading
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec


class Request(msgspec.Struct, frozen=True):
    """What was asked."""

    method: str
    path: str
    params: dict[str, str]
    headers: dict[str, str]
    body: bytes


class Answer(msgspec.Struct, frozen=True):
    """What is answered; a status of 0 is a connection that is dropped without an answer."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = {}


def refusal(status: int, reason: str, message: str, **headers: str) -> Answer:
    """A refusal as Kubernetes words it."""
    content = {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": status,
    }  # fmt: skip
    return Answer(
        status, json.dumps(content).encode(), {name.replace("_", "-"): text for name, text in headers.items()}
    )


DROPPED = Answer(0)


class Server(http.server.ThreadingHTTPServer):
    """Answers in the given order, then always the last; remembers what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        self.answers: list[Answer] = [Answer()]
        self.requests: list[Request] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def asked(self) -> list[tuple[str, str]]:
        return [(request.method, request.path) for request in self.requests]

    def next_answer(self) -> Answer:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # One packet for head and body: two would wait for each other's acknowledgement.
    server: Server

    def _answer(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        params = dict(urllib.parse.parse_qsl(url.query))
        self.server.requests.append(Request(self.command, url.path, params, headers, body))
        answer = self.server.next_answer()
        if answer.status == 0:
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in {**answer.headers, "Content-Length": str(len(answer.body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)

    do_GET = do_POST = do_PATCH = do_DELETE = _answer  # noqa: N815 - the names that http.server calls

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - it is the name in the standard library
        """Say nothing."""


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    """A server that listens, until the end of the block."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def write_kubeconfig(path: Path, url: str, user: Mapping[str, Any] | None = None) -> Path:
    """Write a kubeconfig with one context, "here"; JSON is YAML. No certificates are loaded, which takes time."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "one", "user": "me"}}],
        "clusters": [{"name": "one", "cluster": {"server": url, "insecure-skip-tls-verify": True}}],
        "users": [{"name": "me", "user": dict(user or {"token": "t0ken"})}],
    }
    path.write_text(json.dumps(content))
    return path
