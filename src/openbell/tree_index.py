"""What the files of a folder contain, without reading again what has not changed since it was read.

Content is the truth, a file's status (times, size, inode, mode) only a hint. The hint is trusted when it is the same as
when the content was read, and the file had been left alone for `SETTLED_NS` by then: whoever changes it later also
changes its ctime, which no program can set, so an edit that keeps size and mtime is seen. A file that was changed just
before it was read is read again next time (git calls such files racy). When the clock stands before the time at which
the index was written, it was set back, and nothing in the index is trusted.

Not seen is an edit of the same size, with its mtime put back, at the very tick of an earlier one: the clock must have
been set back for it and forward again before anybody looked.

Knows neither git nor what the files are for. Names contents as git does. Source: https://git-scm.com/docs/racy-git
"""

import hashlib
import os
import stat
import time
import zlib
from collections.abc import Iterable
from pathlib import Path

import msgspec

from openbell.files import write_whole
from openbell.ports import AdapterError

SCHEMA = 1
SETTLED_NS = 2_000_000_000
"""Longer than the coarsest clock of a file system ticks (FAT: two seconds); twice within a tick looks like once."""

CHUNK_BYTES = 1 << 20
CHECKSUM_BYTES = 4
TRIES_MAX = 3

Hint = tuple[int, int, int, int, int]
"""Time of modification and of the last change of status (nanoseconds), size in bytes, inode, mode."""


class _Written(msgspec.Struct, frozen=True):
    """The index as it is kept: of which folder, when it was written, and what was read: the hint, and the entry.

    `same` are contents that git takes for those of another entry, because it converts them: by "entry of the file
    > entry it is the same as", for the attributes of `attributes`.
    """

    schema: int
    root: str
    algorithm: str
    written_ns: int
    files: dict[str, tuple[Hint, str]]
    attributes: str = ""
    same: dict[str, bool] = {}


class TreeIndex:
    """The index of one folder, kept in a file; without a file everything is read. One scan per object."""

    def __init__(self, root: Path, file: Path | None, *, algorithm: str = "sha1", now_ns: int | None = None) -> None:
        self.root = root
        self.file = file
        self.algorithm = algorithm
        self.began_ns = time.time_ns() if now_ns is None else now_ns
        self.read_files = 0
        """How many files were read and not known."""
        known = _load(file, str(root), algorithm) if file else None
        if known is not None and known.written_ns > self.began_ns:
            known = None
        self._known = known.files if known else {}
        self._attributes = known.attributes if known else ""
        self._same = dict(known.same) if known else {}
        self._files: dict[str, tuple[Hint, str]] = {}
        self._changed = False

    def scan(self, paths: Iterable[str]) -> dict[str, str]:
        """Return mode and content of those paths that are files or links: "100644 3b18e5...".

        Raises `AdapterError` when a file cannot be read or changes while it is read.
        """
        entries: dict[str, str] = {}
        known, files = self._known, self._files
        settled_ns = self.began_ns - SETTLED_NS
        lstat, prefix = os.lstat, f"{self.root}{os.sep}"
        for path in paths:
            try:
                status = lstat(prefix + path)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise _unreadable(path, error) from error
            hint = (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_mode)
            before = known.get(path)
            if before is not None and before[0] == hint:
                entries[path] = before[1]
                files[path] = before
                continue
            entry = self._read(path, status.st_mode)
            if entry is None:
                continue
            entries[path] = entry
            self._changed = True
            if max(hint[0], hint[1]) < settled_ns and _is_text(path):
                files[path] = (hint, entry)
        return entries

    def _read(self, path: str, mode: int) -> str | None:
        """Read a file or a link; None for what is neither."""
        full = f"{self.root}{os.sep}{path}"
        try:
            if stat.S_ISLNK(mode):
                # A Path would write the target in another way: "./a" is not "a".
                target = os.readlink(full)  # noqa: PTH115
                return f"120000 {blob_id(os.fsencode(target), self.algorithm)}"
            if stat.S_ISREG(mode):
                self.read_files += 1
                return f"{'100755' if mode & 0o100 else '100644'} {hash_blob(full, self.algorithm)}"
        except OSError as error:
            raise _unreadable(path, error) from error
        return None

    def remembered(self, entry: str, other: str, attributes: str) -> bool | None:
        """Say whether git was found to take one entry for the other under these attributes; None: not known."""
        return self._same.get(f"{entry} > {other}") if attributes == self._attributes else None

    def remember(self, answers: dict[tuple[str, str], bool], attributes: str) -> None:
        """Remember what git was asked about; earlier answers under other attributes are forgotten."""
        if attributes != self._attributes:
            self._same, self._attributes = {}, attributes
        self._same |= {f"{entry} > {other}": same for (entry, other), same in answers.items()}
        self._changed = True

    def save(self) -> None:
        """Keep what was read, if it is not what was known. Done without where its folder is not there, or is full."""
        if self.file is None or not (self._changed or len(self._files) != len(self._known)):
            return
        if not self.file.parent.is_dir():
            return
        written = _Written(
            SCHEMA, str(self.root), self.algorithm, self.began_ns, self._files, self._attributes, self._same
        )
        try:
            content = msgspec.msgpack.encode(written)
            write_whole(self.file, zlib.crc32(content).to_bytes(CHECKSUM_BYTES, "big") + content)
        except (AdapterError, UnicodeEncodeError):
            return


def _load(file: Path, root: str, algorithm: str) -> _Written | None:
    """Read an index; what is damaged, older or of another folder is none."""
    try:
        content = file.read_bytes()
        if zlib.crc32(memoryview(content)[CHECKSUM_BYTES:]) != int.from_bytes(content[:CHECKSUM_BYTES], "big"):
            return None
        written = msgspec.msgpack.decode(memoryview(content)[CHECKSUM_BYTES:], type=_Written)
    except (OSError, msgspec.DecodeError):
        return None
    return written if (written.schema, written.root, written.algorithm) == (SCHEMA, root, algorithm) else None


def hash_blob(file: str, algorithm: str) -> str:
    """Name a file's content as git would, without any conversion; raises `OSError` when it changes all the time."""
    for _ in range(TRIES_MAX):
        # Not blocking: something else may be in the file's place by now, a pipe that nobody writes to.
        with os.fdopen(os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK), "rb", 0) as stream:
            size = os.fstat(stream.fileno()).st_size
            if size < CHUNK_BYTES:
                content = stream.read(CHUNK_BYTES) or b""
                if len(content) == size:
                    return blob_id(content, algorithm)
                continue
            digest, left = _begin(size, algorithm), size
            while left >= 0 and (chunk := stream.read(CHUNK_BYTES)):
                digest.update(chunk)
                left -= len(chunk)
            if left == 0:
                return digest.hexdigest()
    raise OSError(None, "it changes while it is read. Run again")


def blob_id(content: bytes, algorithm: str) -> str:
    """Name a content as git would."""
    digest = _begin(len(content), algorithm)
    digest.update(content)
    return digest.hexdigest()


def _begin(size_bytes: int, algorithm: str) -> "hashlib._Hash":
    head = b"blob %d\0" % size_bytes
    if algorithm == "sha256":
        return hashlib.sha256(head)
    return hashlib.sha1(head, usedforsecurity=False)


def _is_text(path: str) -> bool:
    """Whether a name can be written down; one whose bytes are no UTF-8 is read each time."""
    return path.isascii() or path.isprintable()


def _unreadable(path: str, error: OSError) -> AdapterError:
    message = f"{path} cannot be read: {error.strerror or error}."
    return AdapterError("openbell", "read", message, retryable=True, effect="not_applied")
