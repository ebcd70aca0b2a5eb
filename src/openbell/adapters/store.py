"""The store of results in the file system: what a job left, by the fingerprint of all that it could depend on.

    results/FINGERPRINT/  result.json  manifest.json  log
    objects/SHA256        contents of files that jobs left
    latest/JOB            the fingerprint of the last result of a job, to say what changed

Everything is written beside its place and renamed into it, so a reader sees a whole result or none, whatever was killed
meanwhile. A result that cannot be read, or whose objects are gone, is no result. Failures are never stored.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from openbell.core.fingerprint import Manifest
from openbell.core.pipeline import JobResult, Output
from openbell.ports import AdapterError

SYSTEM = "store"
CHUNK_BYTES = 1 << 20
ORPHAN_S = 7 * 86_400.0
"""So long a content is kept that no result names: a run that is gone on with may need it."""

RECENT_S = 3600.0
"""What was used in this time may be about to be used by a run that has not begun its jobs yet."""


class Stored(msgspec.Struct, frozen=True):
    """A result that was kept: of which run, when (Unix seconds), and what it was."""

    run: str
    at_s: float
    result: JobResult


_READER = msgspec.json.Decoder(Stored)


class Usage(msgspec.Struct, frozen=True):
    """How much is kept, or was removed: results, contents, their size, and since when the oldest was not used."""

    results: int
    objects: int
    size_bytes: int
    unused_s: float


class _Entry(msgspec.Struct, frozen=True):
    """A kept result as eviction sees it: when it was last used (Unix seconds), its own size, the contents it names."""

    fingerprint: str
    used_s: float
    size_bytes: int
    objects: frozenset[str]


class Store:
    """Results and objects below one folder; several processes may use it at once."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def find(self, fingerprint: str) -> Stored | None:
        """Return the result of a fingerprint, or None when there is none that is whole; it counts as used now."""
        file = f"{self._folder(fingerprint)}/result.json"
        try:
            with open(file, "rb") as content:  # noqa: PTH123 (once per job of a run in which all is known)
                stored = _READER.decode(content.read())
        except (OSError, msgspec.DecodeError):
            return None
        with contextlib.suppress(OSError):
            os.utime(file)
        return stored if self.holds(stored.result.outputs) else None

    def holds(self, outputs: Iterable[Output]) -> bool:
        """Say whether the contents of all these files are there."""
        return all(self._object(output.sha256).is_file() for output in outputs)

    def keep(self, stored: Stored, manifest: Manifest, log: Path) -> None:
        """Keep a result under its fingerprint; one that is there already is replaced."""
        fingerprint = stored.result.fingerprint
        with self._guard("keep"), self._beside(self._folder(fingerprint)) as folder:
            (folder / "manifest.json").write_bytes(msgspec.json.encode(manifest))
            if log.exists():
                shutil.copyfile(log, folder / "log")
            _write(folder / "result.json", msgspec.json.encode(stored))
        with self._guard("keep"):
            latest = self.root / "latest" / _name_of(stored.result.id)
            self._write_file(latest, fingerprint.encode())

    def add(self, file: Path, path: str) -> Output:
        """Keep a file's content by its hash, and say what it is; `path` is its name for those who want it back.

        Raises `AdapterError` when the name is not UTF-8: it is written down in results and releases.
        """
        try:
            path.encode()
        except UnicodeEncodeError:
            message = f"the name of the output {os.fsencode(path)!r} is not UTF-8. Rename it."
            raise AdapterError(SYSTEM, "add", message, effect="not_applied") from None
        with self._guard("add"):
            sha256, size = hash_file(file)
            target = self._object(sha256)
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".new-", delete=False) as copy:
                    with file.open("rb") as source:
                        shutil.copyfileobj(source, copy, CHUNK_BYTES)
                    copy.flush()
                    os.fsync(copy.fileno())
                Path(copy.name).chmod(0o444)
                Path(copy.name).rename(target)
            return Output(path, sha256, size, executable=bool(file.stat().st_mode & 0o100))

    @property
    def incoming(self) -> Path:
        """Where contents wait that are not known to be what they should be."""
        return self.root / "incoming"

    def has(self, output: Output) -> bool:
        """Say whether a content is kept here."""
        return self._object(output.sha256).is_file()

    def content(self, output: Output) -> Path:
        """Return the file with a kept content; whoever sends it away has its hash checked where it arrives."""
        return self._object(output.sha256)

    def fetch(self, output: Output, folder: Path) -> Path:
        """Write a kept file into a folder under its path; raises `AdapterError` when its content is not what it was."""
        target = folder / output.path
        if not target.resolve().is_relative_to(folder.resolve()):
            raise AdapterError(SYSTEM, "fetch", f"{output.path} leads out of the folder.", effect="not_applied")
        with self._guard("fetch"):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self._object(output.sha256), target)
            target.chmod(0o755 if output.executable else 0o644)
            if hash_file(target)[0] != output.sha256:
                self._object(output.sha256).unlink()
                message = f"{output.path} was damaged in the store and is removed from it. Run again."
                raise AdapterError(SYSTEM, "fetch", message, effect="not_applied")
        return target

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep everything that is here from being removed while the block lasts."""
        with self._lock_file() as file:
            if file is not None:
                fcntl.flock(file, fcntl.LOCK_SH)
            yield

    @contextlib.contextmanager
    def _lock_file(self) -> Iterator[BinaryIO | None]:
        """Open the file that is locked; None where it cannot be written: then nothing can be removed either."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            file = (self.root / "lock").open("ab")
        except OSError:
            yield None
            return
        with file:
            yield file

    def usage(self, *, now_s: float | None = None) -> "Usage":
        """Count what is kept: results, contents, and their size. `unused_s` is since when the oldest was not used."""
        entries, objects = self._entries(), self._sizes("objects")
        size = sum(entry.size_bytes for entry in entries) + sum(objects.values())
        now_s = time.time() if now_s is None else now_s
        oldest_s = min((entry.used_s for entry in entries), default=now_s)
        return Usage(len(entries), len(objects), size, max(0.0, now_s - oldest_s))

    def evict(
        self, size_bytes_max: int, *, pinned: frozenset[str] = frozenset(), now_s: float | None = None
    ) -> "Usage | None":
        """Remove what was used least recently until no more than so much is kept; returns what was removed.

        Never what is `pinned` (fingerprints), what was used in the last `RECENT_S`, or anything while a run uses the
        store: then the answer is None. A content goes with the last result that names it. Raises `AdapterError` when
        the file system refuses.
        """
        now_s = time.time() if now_s is None else now_s
        with self._lock_file() as file:
            if file is None:
                return None
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return None
            with self._guard("evict"):
                return self._evict(size_bytes_max, pinned, now_s)

    def _evict(self, size_bytes_max: int, pinned: frozenset[str], now_s: float) -> "Usage":
        objects, entries = self._sizes("objects"), self._entries()
        named = Counter(sha256 for entry in entries for sha256 in entry.objects)
        size = sum(entry.size_bytes for entry in entries) + sum(objects.values())
        removed, contents, before = 0, 0, size

        def drop(sha256: str) -> int:
            freed = objects.pop(sha256, 0)
            self._object(sha256).unlink(missing_ok=True)
            return freed

        for sha256 in [name for name in objects if name not in named]:
            if self._age_s(self._object(sha256), now_s) > ORPHAN_S:
                size -= drop(sha256)
                contents += 1
        for entry in sorted(entries, key=lambda entry: entry.used_s):
            if size <= size_bytes_max:
                break
            if entry.fingerprint in pinned or now_s - entry.used_s < RECENT_S:
                continue
            shutil.rmtree(self._folder(entry.fingerprint), ignore_errors=True)
            size, removed = size - entry.size_bytes, removed + 1
            for sha256 in entry.objects:
                named[sha256] -= 1
                if not named[sha256]:
                    size -= drop(sha256)
                    contents += 1
        return Usage(removed, contents, before - size, 0.0)

    def _entries(self) -> list["_Entry"]:
        entries = []
        for folder in (self.root / "results").glob("??/*"):
            if folder.name.startswith("."):
                continue
            try:
                stored = msgspec.json.decode((folder / "result.json").read_bytes(), type=Stored)
                used_s = (folder / "result.json").stat().st_mtime
                objects = frozenset(output.sha256 for output in stored.result.outputs)
            except (OSError, msgspec.DecodeError):
                used_s, objects = 0.0, frozenset()
            with contextlib.suppress(FileNotFoundError):
                size = sum(path.stat().st_size for path in folder.iterdir())
                entries.append(_Entry(folder.name, used_s, size, objects))
        return entries

    def _sizes(self, name: str) -> dict[str, int]:
        sizes = {}
        for path in (self.root / name).glob("??/*"):
            with contextlib.suppress(FileNotFoundError):
                sizes[path.name] = path.stat().st_size
        return sizes

    def _age_s(self, path: Path, now_s: float) -> float:
        try:
            return now_s - path.stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def log(self, fingerprint: str) -> Path:
        """Return the file with the log of a kept result."""
        return self._folder(fingerprint) / "log"

    def latest(self, job_id: str) -> str | None:
        """Return the fingerprint of the last kept result of a job."""
        try:
            return (self.root / "latest" / _name_of(job_id)).read_text()
        except (OSError, UnicodeDecodeError):
            return None

    def manifest(self, fingerprint: str) -> Manifest | None:
        """Return the manifest of a kept result: what the fingerprint was made of."""
        try:
            return msgspec.json.decode((self._folder(fingerprint) / "manifest.json").read_bytes(), type=Manifest)
        except (OSError, msgspec.DecodeError):
            return None

    def latest_manifest(self, job_id: str) -> Manifest | None:
        """Return the manifest of the last kept result of a job, to say why a new one is needed."""
        fingerprint = self.latest(job_id)
        return self.manifest(fingerprint) if fingerprint else None

    def _folder(self, fingerprint: str) -> Path:
        return self.root / "results" / fingerprint[:2] / fingerprint

    def _object(self, sha256: str) -> Path:
        return self.root / "objects" / sha256[:2] / sha256

    @contextlib.contextmanager
    def _beside(self, target: Path) -> Iterator[Path]:
        """Give a folder to fill, and put it in its place when it is filled."""
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=target.parent, prefix=".new-"))
        try:
            yield folder
            if target.exists():
                old = Path(tempfile.mkdtemp(dir=target.parent, prefix=".old-"))
                with contextlib.suppress(FileNotFoundError):
                    target.rename(old / "result")
                shutil.rmtree(old, ignore_errors=True)
            with contextlib.suppress(FileExistsError):
                folder.rename(target)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _write_file(self, target: Path, content: bytes) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".new-", delete=False) as file:
            file.write(content)
        Path(file.name).rename(target)

    @contextlib.contextmanager
    def _guard(self, operation: str) -> Iterator[None]:
        """Turn what the file system refuses into an error that says where and what to do."""
        try:
            yield
        except OSError as error:
            message = f"{error.strerror or error} in {self.root}. Free space or name another folder in OPENBELL_STATE."
            raise AdapterError(SYSTEM, operation, message, effect="not_applied") from error


def hash_file(file: Path) -> tuple[str, int]:
    """Return the SHA-256 of a file's content, and its size in bytes."""
    digest, size = hashlib.sha256(), 0
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return digest.hexdigest(), size


def _write(file: Path, content: bytes) -> None:
    with file.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _name_of(job_id: str) -> str:
    return hashlib.sha256(job_id.encode()).hexdigest()[:32]
