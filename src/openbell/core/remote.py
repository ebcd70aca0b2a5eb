"""Where a shared store is, as `[cache] remote` says it. Knows no protocol; the adapters do."""

import re
from collections.abc import Iterator
from typing import Literal

import msgspec

from openbell.core.project import Problem, Project

_HTTP = re.compile(r"https?://[^\s/?#@]+(/[^\s?#]*)?")
_S3 = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(/(?P<prefix>[^\s?#]*))?")


class Remote(msgspec.Struct, frozen=True):
    """A shared store: the kind of it, where it is (a path, a URL, a bucket), and below which prefix of a bucket."""

    kind: Literal["folder", "http", "s3"]
    address: str
    prefix: str = ""


def parse_remote(text: str) -> Remote | None:
    """Read where a shared store is; None when the text says no such place."""
    if text.startswith("/"):
        return Remote("folder", text)
    if _HTTP.fullmatch(text):
        return Remote("http", text)
    found = _S3.fullmatch(text)
    return Remote("s3", found["bucket"], (found["prefix"] or "").strip("/")) if found else None


def check_remote(project: Project) -> Iterator[Problem]:
    """Return what is wrong with where results are shared. A password does not belong into a file of the repository."""
    remote = project.cache.remote
    if remote and parse_remote(remote) is None:
        message = (
            f'remote = "{_without_password(remote)}" is no place for results. Write "/FOLDER", "https://HOST/PATH" '
            'without user and password, or "s3://BUCKET/PREFIX".'
        )
        yield Problem(("cache", "remote"), message)


def _without_password(text: str) -> str:
    return re.sub(r"//[^/@]*@", "//***@", text)
