"""A bucket: whose credentials it takes, and what it says when it has none or is away."""

import socket
from pathlib import Path

import pytest

from openbell.adapters.s3_blobs import CREDENTIALS, S3Blobs
from openbell.ports import AdapterError
from tests.fakes.blob_server import blob_server


def test_without_credentials_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in CREDENTIALS:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(AdapterError, match=r"s3://bucket/p: no credentials\. Set AWS_ACCESS_KEY_ID") as caught:
        S3Blobs("bucket", "p")
    assert not caught.value.retryable


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "verysecret")


@pytest.mark.usefixtures("credentials")
def test_requests_are_signed_and_name_bucket_and_prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with blob_server(s3=True) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        (tmp_path / "source").write_text("x")
        S3Blobs("bucket", "p").put("a/b", tmp_path / "source")
        assert server.contents == {"/bucket/p/a/b": b"x"}


@pytest.mark.usefixtures("credentials")
def test_a_bucket_that_is_away_is_said_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(AdapterError) as caught:
            S3Blobs("bucket").get("a", tmp_path / "t", size_bytes_max=1)
    assert "\n" not in caught.value.message
    assert "verysecret" not in caught.value.message
