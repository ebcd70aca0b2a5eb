"""Where a shared store may be."""

import pytest

from openbell.core.remote import Remote, parse_remote


@pytest.mark.parametrize(
    ("text", "remote"),
    [
        ("/mnt/results", Remote("folder", "/mnt/results")),
        ("http://127.0.0.1:8080", Remote("http", "http://127.0.0.1:8080")),
        ("https://cache.example.com/a/b", Remote("http", "https://cache.example.com/a/b")),
        ("s3://our-bucket", Remote("s3", "our-bucket")),
        ("s3://our-bucket/", Remote("s3", "our-bucket")),
        ("s3://our.bucket/a/b/", Remote("s3", "our.bucket", "a/b")),
        ("results", None),
        ("http://", None),
        ("http://user:password@host/", None),
        ("http://host/?token=1", None),
        ("http://host/a b", None),
        ("s3://b", None),
        ("s3://Bucket", None),
        ("ftp://host", None),
        ("", None),
    ],
)
def test_a_place_is_read_or_is_none(text: str, remote: Remote | None) -> None:
    assert parse_remote(text) == remote
