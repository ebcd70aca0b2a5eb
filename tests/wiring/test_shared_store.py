"""Results that two machines share: hits across them, and everything that must not be believed or written."""

import asyncio
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from openbell.adapters.store import Store
from openbell.core.project import TriggerKind
from openbell.wiring import pipeline
from openbell.wiring.pipeline import PreparedRun, RunRequest
from openbell.wiring.project import open_project
from openbell.wiring.shared_store import ENTRY_BYTES_MAX, Entry, SharedStore, open_shared
from openbell.wiring.verification import Unobserved
from tests.fakes.blob_server import TOKEN, BlobServer, blob_server
from tests.fakes.projects import ScratchProject, isolate

CONFIGURATION = """
[project]
name = "shared"
[cache]
remote = "{remote}"
[jobs.lint]
stage = "quality"
run = "echo linting"
[jobs.bundle]
stage = "build"
run = "tr a-z A-Z < a.txt > {{out}}/A.txt; touch {{out}}/empty"
[jobs.signed]
stage = "build"
run = "echo signed > {{out}}/S.txt"
secrets = ["SIGNING_KEY"]
"""
Machine = Callable[[str], Path]


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    isolate(monkeypatch, tmp_path)
    for name in ("OPENBELL_CACHE_KEY", "OPENBELL_UNTRUSTED", "OPENBELL_CACHE_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SIGNING_KEY", "tr0ub4dor&3")
    (tmp_path / "shared").mkdir()
    return tmp_path / "shared"


@pytest.fixture
def machine(tmp_path: Path, shared: Path) -> Machine:
    return machines(tmp_path, str(shared))


def machines(tmp_path: Path, remote: str) -> Machine:
    """Give checkouts of one repository, each with a state of its own."""
    first = ScratchProject(tmp_path / "first", CONFIGURATION.format(remote=remote))

    def clone(name: str) -> Path:
        shutil.copytree(first.root, tmp_path / name, symlinks=True, dirs_exist_ok=True)
        return tmp_path / name

    return clone


async def run(root: Path, kind: TriggerKind = "person", *, good: bool = True) -> PreparedRun:
    prepared = pipeline.prepare(open_project(root), RunRequest(kind=kind))
    end = await pipeline.execute(prepared, Unobserved(), cancel=asyncio.Event())
    assert (end.outcome == "success") == good
    return prepared


def looked(root: Path, kind: TriggerKind = "person") -> PreparedRun:
    prepared = pipeline.prepare(open_project(root), RunRequest(kind=kind))
    if prepared.shared:
        prepared.shared.close()
    return prepared


def files(shared: Path, pattern: str = "*/*/*") -> list[Path]:
    return sorted(shared.glob(pattern))


async def test_what_passed_on_one_machine_is_reused_on_another(machine: Machine) -> None:
    first = await run(machine("a"))
    other = looked(machine("b"))
    assert set(other.hits) == {"lint", "bundle"}
    assert other.hits["lint"].reason == f"same fingerprint as run {first.workplace.run}, from the shared store"
    assert set(other.misses) == {"signed"}, "what had a secret is not shared"
    store = Store(other.place.state.store)
    assert store.log(other.hits["lint"].fingerprint).read_text() == "linting\n"
    assert [store.content(output).read_text() for output in other.hits["bundle"].outputs] == ["HELLO\n", ""]
    again = looked(other.place.root)
    assert again.hits["lint"].reason == f"same fingerprint as run {first.workplace.run}", "it is here by now"


async def test_no_secret_gets_there(machine: Machine, shared: Path) -> None:
    await run(machine("a"))
    contents = [path.read_bytes() for path in files(shared)]
    assert len(contents) == 4
    assert not [content for content in contents if b"tr0ub4dor" in content or b"signed" in content]


async def test_pull_requests_read_and_never_write(machine: Machine, shared: Path) -> None:
    await run(machine("a"), "pull-request")
    assert files(shared) == []
    await run(machine("b"))
    assert "lint" in looked(machine("c"), "pull-request").hits


async def test_what_is_marked_as_untrusted_writes_nowhere(
    machine: Machine, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENBELL_UNTRUSTED", "1")
    prepared = await run(machine("a"))
    assert files(shared) == []
    assert looked(prepared.place.root).hits == {}
    monkeypatch.delenv("OPENBELL_UNTRUSTED")
    await run(machine("b"))
    monkeypatch.setenv("OPENBELL_UNTRUSTED", "1")
    assert "lint" in looked(machine("c")).hits


async def test_failures_are_never_shared(machine: Machine, shared: Path) -> None:
    root = machine("a")
    (root / "a.txt").unlink()
    await run(root, good=False)
    assert {looked(machine("b")).hits.get(name) for name in ("lint", "bundle")} == {None}
    assert len(files(shared, "results/*/*")) == 1, "only lint passed"


def damaged(path: Path) -> None:
    content = bytearray(path.read_bytes() or b"x")
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] or b"more")


def emptied(path: Path) -> None:
    path.write_bytes(b"" if path.read_bytes() else b"x")


@pytest.mark.parametrize("spoil", [damaged, truncated, emptied, Path.unlink])
@pytest.mark.parametrize("kind", ["results", "objects"])
async def test_what_is_not_whole_is_no_result(
    machine: Machine, shared: Path, spoil: Callable[[Path], None], kind: str
) -> None:
    await run(machine("a"))
    for path in files(shared, f"{kind}/*/*"):
        spoil(path)
    other = looked(machine("b"))
    assert "bundle" not in other.hits
    store = Store(other.place.state.store)
    assert store.find(other.inputs["bundle"].fingerprint) is None
    assert list(store.incoming.iterdir()) == []
    await run(machine("b"))
    assert "bundle" in looked(machine("c")).hits, "it was written again"


async def test_a_result_in_the_place_of_another_is_none(machine: Machine, shared: Path) -> None:
    await run(machine("a"))
    one, other = files(shared, "results/*/*")
    content = one.read_bytes()
    other.write_bytes(content)
    assert len(looked(machine("b")).hits) == 1


async def test_only_who_has_the_key_is_believed(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    await run(machine("a"))
    monkeypatch.setenv("OPENBELL_CACHE_KEY", "shared among us")
    assert looked(machine("b")).hits == {}
    await run(machine("b"))
    assert "lint" in looked(machine("c")).hits
    monkeypatch.setenv("OPENBELL_CACHE_KEY", "another")
    assert looked(machine("d")).hits == {}


async def test_a_manifest_that_was_exchanged_is_no_result(machine: Machine, shared: Path) -> None:
    prepared = await run(machine("a"))
    place, store = prepared.place, Store(prepared.place.state.store)
    one = open_shared(place.project, store, "person")
    fingerprint = prepared.inputs["lint"].fingerprint
    name = f"results/{fingerprint[:2]}/{fingerprint}"
    assert one.blobs is not None
    assert one.blobs.get(name, shared / "copy", size_bytes_max=ENTRY_BYTES_MAX)
    entry = one.unpack((shared / "copy").read_bytes(), fingerprint)
    assert entry is not None
    assert one.unpack(one.pack(entry), fingerprint) == entry
    forged = msgspec.structs.replace(entry, manifest=msgspec.structs.replace(entry.manifest, command="true"))
    assert one.unpack(one.pack(forged), fingerprint) is None
    failed = msgspec.structs.replace(entry.stored.result, outcome="failure")
    bad: Entry = msgspec.structs.replace(entry, stored=msgspec.structs.replace(entry.stored, result=failed))
    assert one.unpack(one.pack(bad), fingerprint) is None
    one.close()


@pytest.fixture
def server(shared: Path) -> Iterator[BlobServer]:
    with blob_server() as running:
        yield running


async def test_a_server_is_shared_by_those_with_its_token(
    server: BlobServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = machines(tmp_path, f"{server.url}/results")
    refused = await run(machine("a"))
    assert server.contents == {}
    assert [note for note in told(refused) if "it answers 403. Set OPENBELL_CACHE_TOKEN" in note]
    monkeypatch.setenv("OPENBELL_CACHE_TOKEN", TOKEN)
    await run(machine("b"))
    assert "lint" in looked(machine("c")).hits


def told(prepared: PreparedRun) -> list[str]:
    assert prepared.shared is not None
    return prepared.shared.notes


async def test_a_server_that_breaks_is_left_alone_and_told_of_once(server: BlobServer, tmp_path: Path) -> None:
    server.broken = True
    prepared = await run(machines(tmp_path, server.url)("a"))
    assert len(told(prepared)) == 1
    assert told(prepared)[0].startswith("Without the shared store: http://127.0.0.1:")
    assert len(server.requests) <= 4, "not once per job"
    document = pipeline.document(prepared, "success", ())
    assert document.notes == tuple(told(prepared))


async def test_a_bucket_without_credentials_is_done_without(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    prepared = await run(machines(tmp_path, "s3://bucket/prefix")("a"))
    assert told(prepared)[0].startswith("Without the shared store: s3://bucket/prefix: no credentials.")


def test_closing_twice_does_no_harm(tmp_path: Path) -> None:
    one = SharedStore(Store(tmp_path))
    one.close()
    one.close()
    assert one.notes == []
