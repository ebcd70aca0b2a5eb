"""Nothing that a job leaves has one of its secrets: neither what a file contains nor how it is called.

Reports are for people, who need the rest of them: there a secret is masked. Everything else is taken away, and a job
whose outputs would have had a secret has failed: a program with another content than the one that was built is worse
than none. What is looked at are the files themselves and what is packed into zip archives (wheels, jars) and gzip
streams (tar.gz). What is packed otherwise, or encrypted, is not seen.
"""

import contextlib
import gzip
import os
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import msgspec

from openbell.core.fingerprint import Manifest
from openbell.core.masking import Masker
from openbell.core.project import Job

CHUNK_BYTES = 1 << 20
UNPACKED_BYTES_MAX = 1 << 30
"""So much is looked at of each thing that is packed."""

REPORT_BYTES_MAX = 50_000_000
_GZIP = b"\x1f\x8b"


def remove_secrets(job: Job, out: Path, masker: Masker) -> tuple[str, ...]:
    """Take the secrets out of what a job left in its folder; returns the masked names of files that are gone."""
    if not masker.longest_bytes or out.is_symlink() or not out.is_dir():
        return ()
    reports = {name for name in msgspec.structs.astuple(job.reports) if name}
    gone = []
    for path, name in _entries(out):
        if not os.path.lexists(path):
            # It was in a folder that is gone already.
            continue
        shown = masker.show(masker.mask(name))
        if shown == name and name in reports and _mask_report(path, masker):
            continue
        if shown != name or _has_secret(path, masker):
            gone.append(shown)
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
    return tuple(gone)


def job_masker(job: Job, secret: Callable[[str], str | None] = os.environ.get) -> Masker:
    """Make what hides the secrets of a job, as far as they are there."""
    return Masker(value for name in job.secrets if (value := secret(name)))


def without_secrets(manifest: Manifest, job: Job) -> Manifest:
    """Return a manifest as it may be kept: a file may be called as a secret is, or somebody has written one down."""
    masker = job_masker(job)
    if not masker.longest_bytes:
        return manifest
    return msgspec.convert(_masked(msgspec.to_builtins(manifest), masker), Manifest)


def _masked(value: Any, masker: Masker) -> Any:
    if isinstance(value, str):
        return masker.mask(value)
    if isinstance(value, dict):
        return {masker.mask(key): _masked(member, masker) for key, member in value.items()}
    return [_masked(member, masker) for member in value] if isinstance(value, list | tuple) else value


def _entries(out: Path) -> Sequence[tuple[Path, str]]:
    """List files, links and folders, folders before what is in them; names that are no UTF-8 have surrogates."""
    found = []
    for folder, folders, files in os.walk(out):
        folders.sort()
        found += [Path(folder, name) for name in (*folders, *sorted(files))]
    return [(path, path.relative_to(out).as_posix()) for path in found]


def _mask_report(report: Path, masker: Masker) -> bool:
    """Mask a report in its place; False when it is no text of a size that people read."""
    if report.is_symlink() or not report.is_file() or report.stat().st_size > REPORT_BYTES_MAX:
        return False
    text = report.read_bytes().decode(errors="surrogateescape")
    masked = masker.mask(text)
    if masked != text:
        report.write_bytes(masked.encode(errors="surrogateescape"))
    return True


def _has_secret(path: Path, masker: Masker) -> bool:
    if path.is_symlink():
        return masker.hides(os.fsdecode(path.readlink()))
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        if _has_secret_in(stream, masker):
            return True
        stream.seek(0)
        return _packed_has_secret(stream, masker)


def _has_secret_in(stream: "Readable", masker: Masker) -> bool:
    return any(masker.hides(window) for window in _windows(stream, masker))


def _packed_has_secret(stream: BinaryIO, masker: Masker) -> bool:
    """Look into an archive; what cannot be unpacked is none, or damaged."""
    with contextlib.suppress(OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error):
        if stream.read(2) == _GZIP:
            stream.seek(0)
            with gzip.open(stream) as unpacked:
                return _has_secret_in(_Bounded(unpacked), masker)
        if zipfile.is_zipfile(stream):
            with zipfile.ZipFile(stream) as archive:
                return any(_member_has_secret(archive, entry, masker) for entry in archive.infolist())
    return False


def _member_has_secret(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, masker: Masker) -> bool:
    if masker.hides(entry.filename):
        return True
    with archive.open(entry) as member:
        return _has_secret_in(_Bounded(member), masker)


class Readable(Protocol):
    """What bytes can be read from."""

    def read(self, size: int, /) -> bytes:
        """Read so many bytes at most; none at the end."""


class _Bounded:
    """Reads the beginning of what is packed: a bomb of zeros would never end."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._left_bytes = UNPACKED_BYTES_MAX

    def read(self, size: int, /) -> bytes:
        """Read on, up to the bound."""
        content = self._stream.read(min(size, self._left_bytes))
        self._left_bytes -= len(content)
        return content


def _windows(stream: Readable, masker: Masker) -> Iterator[bytes]:
    """Read a stream in windows that overlap by several times the longest form."""
    overlap = 4 * masker.longest_bytes + 4096
    kept = b""
    while chunk := stream.read(max(CHUNK_BYTES, overlap)):
        yield kept + chunk
        kept = (kept + chunk)[-overlap:]
