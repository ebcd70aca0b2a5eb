"""Results that machines share: found here they are kept here too, and what passes here is left there.

Nothing that comes from there is taken on trust. An entry bears the hash of all that is in it (an HMAC where
OPENBELL_CACHE_KEY is set, so that only who has the key can write what is believed), its manifest must have the
fingerprint that was asked for, and each output must have the content that the entry names. What does not fit is no
result, and is removed where we may write. A store that does not answer is left alone for the rest of the run, which
goes on without it and says so once.

    results/FINGERPRINT   the result, its manifest and its log
    objects/SHA256        contents of files that jobs left
"""

import hashlib
import hmac
import os
import tempfile
import threading
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

import msgspec

from openbell.adapters.store import Store, Stored, hash_file
from openbell.core.fingerprint import Manifest, fingerprint
from openbell.core.pipeline import JobNode, Output
from openbell.core.project import Project, TriggerKind
from openbell.core.remote import Remote, parse_remote
from openbell.ports import AdapterError, Blobs

SCHEMA = 1
KEY_VARIABLE = "OPENBELL_CACHE_KEY"
UNTRUSTED_VARIABLE = "OPENBELL_UNTRUSTED"
THREADS = 8
ENTRY_BYTES_MAX = 256_000_000
DIGEST_BYTES = 32
FAILURES_MAX = 2
"""So many errors, and the store is left alone: one may be bad luck."""

PATIENCE_S = 60.0
"""How long the end of a run waits for what is still being written there."""


class Entry(msgspec.Struct, frozen=True):
    """One result as it is shared."""

    schema: int
    stored: Stored
    manifest: Manifest
    log: bytes


def may_write(project: Project, kind: TriggerKind) -> bool:
    """Say whether a run may write to the shared store: pull requests may be anybody's, and only read."""
    return project.cache.push and kind != "pull-request" and not is_untrusted()


def is_untrusted() -> bool:
    """Say whether whoever started this run marked it as somebody else's code."""
    return os.environ.get(UNTRUSTED_VARIABLE, "") not in ("", "0", "false")


def open_blobs(remote: Remote) -> Blobs:
    """Open a shared store; raises `AdapterError` when its package or its credentials are not here."""
    if remote.kind == "folder":
        from openbell.adapters.folder_blobs import FolderBlobs

        return FolderBlobs(Path(remote.address))
    if remote.kind == "http":
        from openbell.adapters.http_blobs import HttpBlobs

        return HttpBlobs(remote.address)
    try:
        from openbell.adapters.s3_blobs import S3Blobs
    except ImportError:
        message = "buckets need a package that is not installed: pip install 'openbell[cache]'"
        raise AdapterError("S3", "open", message, effect="not_applied") from None
    return S3Blobs(remote.address, remote.prefix)


def open_shared(project: Project, store: Store, kind: TriggerKind) -> "SharedStore":
    """Open the shared store of a project for a run of a kind."""
    remote = parse_remote(project.cache.remote)
    if remote is None:
        raise AdapterError("shared store", "open", "[cache] remote is not set.", effect="not_applied")
    key = os.environ.get(KEY_VARIABLE, "").encode()
    shared = SharedStore(store, key=key, writes=may_write(project, kind))
    try:
        shared.blobs = open_blobs(remote)
    except AdapterError as error:
        shared.give_up(error)
    return shared


class SharedStore:
    """The shared store of one run. `notes` is what the run has to say about it."""

    def __init__(self, store: Store, blobs: Blobs | None = None, *, key: bytes = b"", writes: bool = True) -> None:
        self.store = store
        self.blobs = blobs
        self.key = key
        self.writes = writes
        self.notes: list[str] = []
        self._failures = 0
        self._away = False
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="openbell-share")
        self._writing: list[Future[None]] = []

    def find(self, fingerprints: Iterable[str]) -> dict[str, Stored]:
        """Fetch the results of those fingerprints that are there into this machine's store, side by side."""
        found: dict[str, Stored] = {}
        asked = {print_: self._pool.submit(self._fetch, print_) for print_ in dict.fromkeys(fingerprints)}
        for print_, answer in asked.items():
            stored = answer.result()
            if stored is not None:
                found[print_] = stored
        return found

    def leave(self, node: JobNode, stored: Stored, manifest: Manifest, log: Path) -> None:
        """Write a result there, in the background. Only what passed, and no result of a job that has secrets."""
        if self.writes and stored.result.outcome == "success" and not node.job.secrets:
            content = log.read_bytes() if log.exists() else b""
            self._writing.append(self._pool.submit(self._push, Entry(SCHEMA, stored, manifest, content)))

    def close(self) -> None:
        """Wait for what is being written, but not for ever."""
        pending = wait(self._writing, timeout=PATIENCE_S).not_done
        if pending:
            self.notes.append(f"The shared store did not take {len(pending)} results in time.")
        self._pool.shutdown(wait=not pending, cancel_futures=True)
        self.writes = False
        if self.blobs is not None:
            self.blobs.close()

    def give_up(self, error: AdapterError) -> None:
        """Note that the store does not answer; after a few times it is left alone."""
        with self._lock:
            self._failures += 1
            if self._failures == 1:
                self.notes.append(f"Without the shared store: {error.message}")
            if self._failures >= FAILURES_MAX or not error.retryable:
                self._away = True

    def _fetch(self, print_: str) -> Stored | None:
        blobs = self.blobs
        if blobs is None or self._away:
            return None
        self.store.incoming.mkdir(parents=True, exist_ok=True)
        try:
            with tempfile.TemporaryDirectory(dir=self.store.incoming) as folder:
                entry = self._fetch_entry(blobs, print_, Path(folder))
                if entry is None or not self._fetch_outputs(blobs, entry, Path(folder)):
                    return None
                (Path(folder) / "log").write_bytes(entry.log)
                self.store.keep(entry.stored, entry.manifest, Path(folder) / "log")
        except AdapterError as error:
            self.give_up(error)
            return None
        return entry.stored

    def _fetch_entry(self, blobs: Blobs, print_: str, folder: Path) -> Entry | None:
        file, name = folder / "entry", entry_name(print_)
        if not blobs.get(name, file, size_bytes_max=ENTRY_BYTES_MAX):
            return None
        entry = self.unpack(file.read_bytes(), print_)
        if entry is None:
            self._discard(blobs, name)
        return entry

    def unpack(self, content: bytes, print_: str) -> Entry | None:
        """Read an entry; None when it is not whole, not signed by our key, or not the result that was asked for."""
        payload = content[DIGEST_BYTES:]
        if not hmac.compare_digest(content[:DIGEST_BYTES], self._digest(payload)):
            return None
        try:
            entry = msgspec.msgpack.decode(payload, type=Entry)
        except msgspec.DecodeError:
            return None
        result = entry.stored.result
        fits = fingerprint(entry.manifest) == print_ == result.fingerprint
        return entry if fits and entry.schema == SCHEMA and result.outcome == "success" else None

    def pack(self, entry: Entry) -> bytes:
        """Write an entry, with the hash of all that is in it before it."""
        payload = msgspec.msgpack.encode(entry)
        return self._digest(payload) + payload

    def _digest(self, payload: bytes) -> bytes:
        return hmac.digest(self.key, payload, "sha256") if self.key else hashlib.sha256(payload).digest()

    def _fetch_outputs(self, blobs: Blobs, entry: Entry, folder: Path) -> bool:
        """Fetch the contents that are not here; False when one is not there, or not what it should be."""
        for output in entry.stored.result.outputs:
            if self.store.has(output):
                continue
            file, name = folder / "output", object_name(output)
            if not blobs.get(name, file, size_bytes_max=output.size_bytes):
                return False
            if hash_file(file) != (output.sha256, output.size_bytes):
                self._discard(blobs, name)
                return False
            self.store.add(file, output.path)
        return True

    def _discard(self, blobs: Blobs, name: str) -> None:
        """Remove what is damaged, so that the next one does not fetch it again."""
        if self.writes:
            blobs.remove(name)

    def _push(self, entry: Entry) -> None:
        """Write the contents first, then the entry that names them: who finds it finds everything."""
        blobs = self.blobs
        if blobs is None or self._away:
            return
        try:
            for output in entry.stored.result.outputs:
                blobs.put(object_name(output), self.store.content(output))
            with tempfile.NamedTemporaryFile(dir=self.store.root, prefix=".entry-") as file:
                file.write(self.pack(entry))
                file.flush()
                blobs.put(entry_name(entry.stored.result.fingerprint), Path(file.name))
        except AdapterError as error:
            self.give_up(error)
        except OSError as error:
            self.give_up(AdapterError("shared store", "write", error.strerror or str(error)))


def entry_name(print_: str) -> str:
    """Name an entry in the shared store."""
    return f"results/{print_[:2]}/{print_}"


def object_name(output: Output) -> str:
    """Name an output's content in the shared store."""
    return f"objects/{output.sha256[:2]}/{output.sha256}"
