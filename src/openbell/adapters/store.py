"""The store of results in the file system: what a job left, by the fingerprint of all that it could depend on.

    results/FINGERPRINT/  result.json  manifest.json  log
    objects/SHA256        contents of files that jobs left
    latest/JOB            the fingerprint of the last result of a job, to say what changed

Everything is written beside its place and renamed into it, so a reader sees a whole result or none, whatever was killed
meanwhile. A result that cannot be read, or whose objects are gone, is no result. Failures are never stored.
"""

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from openbell.core.fingerprint import Manifest
from openbell.core.pipeline import JobResult, Output
from openbell.ports import AdapterError

SYSTEM = "store"
CHUNK_BYTES = 1 << 20


class Stored(msgspec.Struct, frozen=True):
    """A result that was kept: of which run, when (Unix seconds), and what it was."""

    run: str
    at_s: float
    result: JobResult


class Store:
    """Results and objects below one folder; several processes may use it at once."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def find(self, fingerprint: str) -> Stored | None:
        """Return the result of a fingerprint, or None when there is none that is whole."""
        try:
            stored = msgspec.json.decode((self._folder(fingerprint) / "result.json").read_bytes(), type=Stored)
        except (OSError, msgspec.DecodeError):
            return None
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
