"""A shared store over HTTP that refuses, breaks, or is away."""

import socket
import time
from pathlib import Path

import pytest

from openbell.adapters.http_blobs import HttpBlobs
from openbell.ports import AdapterError
from tests.fakes.blob_server import blob_server


def test_who_has_no_token_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENBELL_CACHE_TOKEN", raising=False)
    with blob_server() as server:
        blobs = HttpBlobs(server.url)
        with pytest.raises(AdapterError, match=r"it answers 403\. Set OPENBELL_CACHE_TOKEN to its token"):
            blobs.get("a", tmp_path / "t", size_bytes_max=1)
        server.broken = True
        with pytest.raises(AdapterError, match="it answers 500"):
            blobs.remove("a")
        blobs.close()


def test_a_server_that_is_away_costs_no_time(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        blobs = HttpBlobs(f"http://127.0.0.1:{taken.getsockname()[1]}", token="t")
        began_s = time.monotonic()
        with pytest.raises(AdapterError, match="it cannot be reached") as caught:
            blobs.get("a", tmp_path / "t", size_bytes_max=1)
        assert time.monotonic() - began_s < 5
        assert caught.value.retryable
        blobs.close()
