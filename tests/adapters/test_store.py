"""The store: whole results or none, contents that are what they were, and disks that are full."""

import os
from pathlib import Path

import msgspec
import pytest

from openbell.adapters.store import Store, Stored, hash_file
from openbell.core.fingerprint import fingerprint, write_manifest
from openbell.core.pipeline import JobNode, JobResult
from openbell.core.project import Job
from openbell.ports import AdapterError

NODE = JobNode("unit (python=3.12)", "unit", Job(stage="test", run="x"), {"python": "3.12"})
MANIFEST = write_manifest(NODE, {"a": "1"}, {}, {}, platform="p", env={})
RESULT = JobResult(NODE.id, "unit", "test", "success", "1 test", 1.5, fingerprint(MANIFEST))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def kept(store: Store, tmp_path: Path) -> Stored:
    (tmp_path / "file").write_text("content")
    (tmp_path / "log").write_text("what it printed\n")
    (tmp_path / "file").chmod(0o755)
    output = store.add(tmp_path / "file", "bin/tool")
    stored = Stored("4f2c", 100.0, msgspec.structs.replace(RESULT, outputs=(output,)))
    store.keep(stored, MANIFEST, tmp_path / "log")
    return stored


def test_a_result_is_found_by_its_fingerprint(store: Store, tmp_path: Path) -> None:
    assert store.find(RESULT.fingerprint) is None
    stored = kept(store, tmp_path)
    assert store.find(RESULT.fingerprint) == stored
    assert store.log(RESULT.fingerprint).read_text() == "what it printed\n"
    assert store.latest_manifest(NODE.id) == MANIFEST
    assert store.latest_manifest("other") is None


def test_outputs_come_back_as_they_were(store: Store, tmp_path: Path) -> None:
    output = kept(store, tmp_path).result.outputs[0]
    found = store.fetch(output, tmp_path / "out")
    assert found == tmp_path / "out/bin/tool"
    assert found.read_text() == "content"
    assert os.access(found, os.X_OK)
    found.write_text("changed")
    assert store.fetch(output, tmp_path / "out").read_text() == "content"


def test_a_name_that_cannot_be_written_down_is_refused(store: Store, tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff\xfe")
    (tmp_path / name).touch()
    with pytest.raises(AdapterError, match=r"the name of the output b'\\xff\\xfe' is not UTF-8. Rename it."):
        store.add(tmp_path / name, name)


def test_keeping_twice_replaces(store: Store, tmp_path: Path) -> None:
    stored = kept(store, tmp_path)
    store.keep(msgspec.structs.replace(stored, run="9999"), MANIFEST, tmp_path / "gone")
    found = store.find(RESULT.fingerprint)
    assert found is not None
    assert found.run == "9999"
    folder = store.root / "results" / RESULT.fingerprint[:2]
    assert [path.name for path in folder.iterdir()] == [RESULT.fingerprint]


@pytest.mark.parametrize("damage", ["", "{", '{"run": 3}'])
def test_a_damaged_result_is_none(store: Store, tmp_path: Path, damage: str) -> None:
    kept(store, tmp_path)
    (store.root / "results" / RESULT.fingerprint[:2] / RESULT.fingerprint / "result.json").write_text(damage)
    assert store.find(RESULT.fingerprint) is None


def test_a_result_whose_contents_are_gone_is_none(store: Store, tmp_path: Path) -> None:
    stored = kept(store, tmp_path)
    sha256 = stored.result.outputs[0].sha256
    (store.root / "objects" / sha256[:2] / sha256).unlink()
    assert store.find(RESULT.fingerprint) is None


def test_damaged_contents_are_refused_and_thrown_away(store: Store, tmp_path: Path) -> None:
    output = kept(store, tmp_path).result.outputs[0]
    path = store.root / "objects" / output.sha256[:2] / output.sha256
    path.chmod(0o644)
    path.write_text("something else")
    with pytest.raises(AdapterError, match="bin/tool was damaged in the store"):
        store.fetch(output, tmp_path / "out")
    assert store.find(RESULT.fingerprint) is None


def test_a_path_that_leads_out_is_refused(store: Store, tmp_path: Path) -> None:
    output = msgspec.structs.replace(kept(store, tmp_path).result.outputs[0], path="../escaped")
    with pytest.raises(AdapterError, match="leads out of the folder"):
        store.fetch(output, tmp_path / "out")
    assert not (tmp_path / "escaped").exists()


def test_the_same_contents_are_kept_once(store: Store, tmp_path: Path) -> None:
    kept(store, tmp_path)
    (tmp_path / "copy").write_text("content")
    assert store.add(tmp_path / "copy", "other").sha256 == hash_file(tmp_path / "file")[0]
    assert len([path for path in (store.root / "objects").rglob("*") if path.is_file()]) == 1


def test_a_store_that_cannot_be_written_says_where_and_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    store = Store(tmp_path / "file" / "store")
    with pytest.raises(AdapterError, match=r"Not a directory in .*store\. Free space or name another folder") as caught:
        store.add(tmp_path / "file", "x")
    assert caught.value.effect == "not_applied"
    with pytest.raises(AdapterError, match="Not a directory"):
        store.keep(Stored("r", 1.0, RESULT), MANIFEST, tmp_path / "log")


def test_nothing_half_written_is_left_when_writing_fails(store: Store, tmp_path: Path, full_disk: None) -> None:
    with pytest.raises(AdapterError, match="No space left on device"):
        store.keep(Stored("r", 1.0, RESULT), MANIFEST, tmp_path / "log")
    assert store.find(RESULT.fingerprint) is None
    assert [path for path in store.root.rglob("*") if path.is_file()] == []


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", refuse)
