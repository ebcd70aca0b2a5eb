"""What every shared store does: a folder, an HTTP server, a bucket."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from openbell.adapters.folder_blobs import FolderBlobs
from openbell.adapters.http_blobs import HttpBlobs
from openbell.adapters.s3_blobs import S3Blobs
from openbell.ports import AdapterError, Blobs
from tests.fakes.blob_server import TOKEN, blob_server

NAME = "objects/ab/abcd"


@pytest.fixture(params=["folder", "http", "s3"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Blobs]:
    if request.param == "folder":
        (tmp_path / "shared").mkdir()
        yield FolderBlobs(tmp_path / "shared")
        return
    with blob_server(s3=request.param == "s3") as server:
        if request.param == "http":
            opened: Blobs = HttpBlobs(f"{server.url}/results", token=TOKEN)
        else:
            for name, value in {
                "AWS_ACCESS_KEY_ID": "key",
                "AWS_SECRET_ACCESS_KEY": "x",
                "AWS_ENDPOINT_URL": server.url,
            }.items():
                monkeypatch.setenv(name, value)
            opened = S3Blobs("bucket", "deep/prefix")
        yield opened
        opened.close()


@pytest.mark.parametrize("size", [0, 1, 100_000])
def test_what_is_put_is_got(blobs: Blobs, tmp_path: Path, size: int) -> None:
    (tmp_path / "source").write_bytes(b"x" * size)
    blobs.put(NAME, tmp_path / "source")
    assert blobs.get(NAME, tmp_path / "target", size_bytes_max=size)
    assert (tmp_path / "target").read_bytes() == b"x" * size


def test_the_last_one_put_counts(blobs: Blobs, tmp_path: Path) -> None:
    for content in ("one", "two"):
        (tmp_path / "source").write_text(content)
        blobs.put(NAME, tmp_path / "source")
    assert blobs.get(NAME, tmp_path / "target", size_bytes_max=9)
    assert (tmp_path / "target").read_text() == "two"


def test_what_is_not_there_is_none(blobs: Blobs, tmp_path: Path) -> None:
    assert not blobs.get(NAME, tmp_path / "target", size_bytes_max=9)
    blobs.remove(NAME)
    (tmp_path / "source").write_text("content")
    blobs.put(NAME, tmp_path / "source")
    blobs.remove(NAME)
    assert not blobs.get(NAME, tmp_path / "target", size_bytes_max=9)


def test_what_is_too_large_is_refused(blobs: Blobs, tmp_path: Path) -> None:
    (tmp_path / "source").write_text("content")
    blobs.put(NAME, tmp_path / "source")
    with pytest.raises(AdapterError, match="objects/ab/abcd is larger than 6 bytes") as caught:
        blobs.get(NAME, tmp_path / "target", size_bytes_max=6)
    assert caught.value.retryable
