"""A server of contents on 127.0.0.1: plain HTTP with a token, or what a store of contents needs of S3's protocol."""

import contextlib
import re
import threading
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "to-read-and-write"
ABSENT = b'<?xml version="1.0"?><Error><Code>NoSuchKey</Code><Message>There is none.</Message></Error>'


class BlobServer(ThreadingHTTPServer):
    """Keeps what is put by its path; refuses who does not show the token, or no signature where it speaks S3."""

    daemon_threads = True

    def __init__(self, *, s3: bool) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.s3 = s3
        self.contents: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.broken = False
        """Answer 500 to everything."""

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def trusts(self, authorization: str) -> bool:
        """Say whether a request may read and write."""
        return (
            authorization.startswith("AWS4-HMAC-SHA256 Credential=") if self.s3 else authorization == f"Bearer {TOKEN}"
        )


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: BlobServer

    def _answer(self, status: int, content: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", '"1"')
        self.send_header("Last-Modified", formatdate(0, usegmt=True))
        self.end_headers()
        self.wfile.write(content)

    def _refused(self) -> bool:
        self.server.requests.append(f"{self.command} {self.path}")
        status = (
            500 if self.server.broken else 200 if self.server.trusts(self.headers.get("Authorization", "")) else 403
        )
        if status != 200:
            self._answer(status)
        return status != 200

    def do_GET(self) -> None:
        if not self._refused():
            content = self.server.contents.get(self.path)
            self._answer(404, ABSENT) if content is None else self._answer(200, content)

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if not self._refused():
            self.server.contents[self.path] = content
            self._answer(200)

    def do_POST(self) -> None:
        """Remove several, which is how S3 removes."""
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if not self._refused():
            keys = re.findall("<Key>(.*?)</Key>", body)
            for key in keys:
                self.server.contents.pop(f"{self.path.partition('?')[0].rstrip('/')}/{key}", None)
            deleted = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in keys)
            self._answer(200, f"<DeleteResult>{deleted}</DeleteResult>".encode())

    def do_DELETE(self) -> None:
        if not self._refused():
            self.server.contents.pop(self.path, None)
            self._answer(204)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def blob_server(*, s3: bool = False) -> Iterator[BlobServer]:
    """Run a server as long as the block lasts."""
    server = BlobServer(s3=s3)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
