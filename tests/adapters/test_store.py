"""The store: whole results or none, contents that are what they were, and disks that are full."""

import os
from pathlib import Path

import msgspec
import pytest

from openbell.adapters.store import ORPHAN_S, RECENT_S, Store, Stored, Usage, hash_file
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


DAY_S = 86_400.0


def kept_of(store: Store, tmp_path: Path, name: str, content: str, *, used_s: float) -> str:
    """Keep a result with one output, last used at some time."""
    (tmp_path / "file").write_text(content)
    fingerprint_ = name * 64
    output = store.add(tmp_path / "file", "x")
    result = msgspec.structs.replace(RESULT, id=name, fingerprint=fingerprint_, outputs=(output,))
    store.keep(Stored("r", used_s, result), MANIFEST, tmp_path / "nolog")
    os.utime(store.root / "results" / (name * 2) / fingerprint_ / "result.json", (used_s, used_s))
    return fingerprint_


def left(store: Store) -> list[str]:
    return sorted(path.name[0] for path in (store.root / "results").glob("??/*"))


def test_what_was_used_least_recently_goes_first(store: Store, tmp_path: Path) -> None:
    now_s = 100 * DAY_S
    kept_of(store, tmp_path, "a", "x" * 100_000, used_s=now_s - 3 * DAY_S)
    kept_of(store, tmp_path, "b", "y" * 100_000, used_s=now_s - 5 * DAY_S)
    kept_of(store, tmp_path, "c", "x" * 100_000, used_s=now_s - 1 * DAY_S)
    usage = store.usage(now_s=now_s)
    assert (usage.results, usage.objects, usage.unused_s) == (3, 2, 5 * DAY_S)
    assert store.evict(usage.size_bytes, now_s=now_s) == Usage(0, 0, 0, 0.0)
    removed = store.evict(150_000, now_s=now_s)
    assert removed is not None
    assert (removed.results, removed.objects, left(store)) == (1, 1, ["a", "c"])
    removed = store.evict(100_000, now_s=now_s)
    assert removed is not None
    assert (removed.results, removed.objects) == (2, 1), "a content goes with the last that names it"
    assert store.usage(now_s=now_s).size_bytes == 0


def test_what_is_pinned_recent_or_in_use_stays(store: Store, tmp_path: Path) -> None:
    now_s = 100 * DAY_S
    pinned = kept_of(store, tmp_path, "a", "a", used_s=now_s - 9 * DAY_S)
    kept_of(store, tmp_path, "b", "b", used_s=now_s - RECENT_S / 2)
    kept_of(store, tmp_path, "c", "c", used_s=now_s - DAY_S)
    with store.in_use(), store.in_use():
        assert store.evict(0, now_s=now_s) is None
    assert left(store) == ["a", "b", "c"]
    assert store.evict(0, pinned=frozenset([pinned]), now_s=now_s) is not None
    assert left(store) == ["a", "b"]
    assert store.find(pinned) is not None


def test_what_cannot_be_removed_is_said(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept_of(store, tmp_path, "a", "a", used_s=1000.0)

    def refuse(path: Path, *, missing_ok: bool = False) -> None:
        raise OSError(30, os.strerror(30))

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(AdapterError, match="Read-only file system in "):
        store.evict(0)


def test_being_found_counts_as_use(store: Store, tmp_path: Path) -> None:
    fingerprint_ = kept_of(store, tmp_path, "a", "a", used_s=1000.0)
    assert store.find(fingerprint_) is not None
    assert store.usage().unused_s < DAY_S


def test_contents_that_nobody_names_go_after_a_while(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("nobody's")
    output = store.add(tmp_path / "file", "x")
    now_s = store.content(output).stat().st_mtime
    store.evict(10**9, now_s=now_s + ORPHAN_S - 1)
    assert store.has(output)
    store.evict(10**9, now_s=now_s + ORPHAN_S + 1)
    assert not store.has(output)


def test_a_damaged_result_is_the_first_to_go(store: Store, tmp_path: Path) -> None:
    fingerprint_ = kept_of(store, tmp_path, "a", "a", used_s=1000.0)
    (store.root / "results/aa" / fingerprint_ / "result.json").write_text("{")
    removed = store.evict(0)
    assert removed is not None
    assert (removed.results, left(store)) == (1, [])
