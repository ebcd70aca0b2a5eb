"""What is asked of an API server: a proxy on 127.0.0.1 that forwards everything and writes each request down.

It speaks TLS with a certificate of its own, for programs keep their tokens to themselves without. One connection
carries one request, so that only heads are read; what follows, such as a port that is forwarded, goes through as it is.
Requests are named as permissions are: verb, group and resource.
"""

import base64
import contextlib
import http.server
import json
import re
import select
import socket
import ssl
import subprocess
import threading
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

CHUNK = 65536
VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
CREATED, FORBIDDEN = 201, 403
_NAMESPACED = re.compile(r"/api(?:s/(?P<group>[^/]+))?/[^/]+/namespaces/(?P<namespace>[^/]+)/(?P<rest>.+)")


class Asked(msgspec.Struct, frozen=True):
    """One request, and the status of its answer."""

    method: str
    path: str
    status: int

    @property
    def permissions(self) -> set[tuple[str, str, str]]:
        """Group, resource and verb of each permission that it took; none for what belongs to no namespace."""
        url = urllib.parse.urlsplit(self.path)
        found = _NAMESPACED.fullmatch(url.path)
        if found is None:
            return set()
        parts: list[str] = [*found["rest"].split("/"), "", ""]
        resource, name, below = parts[:3]
        whole = f"{resource}/{below}" if below else resource
        verbs = {VERBS.get(self.method, "get" if name else "list")}
        if self.method == "PATCH" and self.status == CREATED:
            verbs.add("create")  # Server-side apply of what was not there.
        return {(found["group"] or "", whole, verb) for verb in verbs}


class Recorder(http.server.ThreadingHTTPServer):
    """Listens for requests, and keeps them in `asked`."""

    daemon_threads = True

    def __init__(self, cluster: Mapping[str, str], folder: Path) -> None:
        self.certificate, key = _make_certificate(folder)
        self.own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.own.load_cert_chain(self.certificate, key)
        self.asked: list[Asked] = []
        upstream = urllib.parse.urlsplit(cluster["server"])
        self.address = (str(upstream.hostname), upstream.port or 443)
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self.context = ssl.create_default_context(cadata=authority)
        for context in (self.own, self.context):
            # In 1.3 a session's ticket comes at any time: who then reads waits for what is not underway.
            context.maximum_version = ssl.TLSVersion.TLSv1_2
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"https://127.0.0.1:{self.server_port}"

    @property
    def permissions(self) -> set[tuple[str, str, str]]:
        """Every permission that was taken."""
        return {each for one in self.asked for each in one.permissions}


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Recorder

    def handle(self) -> None:
        with contextlib.suppress(OSError), self.server.own.wrap_socket(self.connection, server_side=True) as client:
            self._forward(client)

    def _forward(self, client: ssl.SSLSocket) -> None:
        lines = _read_head(client).decode("latin-1").split("\r\n")
        if not lines[0]:
            return
        method, path, _ = lines[0].split(" ", 2)
        if not any(line.lower().startswith("upgrade:") for line in lines):
            lines = [line for line in lines if not line.lower().startswith("connection:")]
            lines.insert(1, "Connection: close")
        with (
            socket.create_connection(self.server.address) as plain,
            self.server.context.wrap_socket(plain, server_hostname=self.server.address[0]) as upstream,
        ):
            upstream.sendall("\r\n".join(lines).encode("latin-1"))
            self._carry(client, upstream, method, path)

    def _carry(self, client: ssl.SSLSocket, upstream: ssl.SSLSocket, method: str, path: str) -> None:
        """Carry bytes both ways until one side ends, and write down the status that comes first."""
        known = False
        while True:
            held = [one for one in (client, upstream) if one.pending()]
            for source in held or select.select([client, upstream], [], [])[0]:
                data = source.recv(CHUNK)
                if not data:
                    return
                if source is upstream and not known:
                    known = True
                    self.server.asked.append(Asked(method, path, int(data.split(b" ", 2)[1])))
                (client if source is upstream else upstream).sendall(data)


def _read_head(connection: ssl.SSLSocket) -> bytes:
    """Read until the head of a request is there; what has come of its body is behind it."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(CHUNK)
        if not more:
            return b""
        data += more
    return data


def _make_certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate for 127.0.0.1 and its key."""
    certificate, key = folder / "recorder.pem", folder / "recorder.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc"]
    command += ["-subj", "/CN=recorder", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "1"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    return certificate, key


@contextlib.contextmanager
def recording(kubeconfig: Path) -> Iterator[Recorder]:
    """Have a recorder before the cluster that a kubeconfig in JSON leads to."""
    content: Any = json.loads(kubeconfig.read_text())
    with Recorder(content["clusters"][0]["cluster"], kubeconfig.parent) as recorder:
        thread = threading.Thread(target=recorder.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield recorder
        finally:
            recorder.shutdown()
            thread.join()
