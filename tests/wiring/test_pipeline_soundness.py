"""No edit yields a stale result: what is reused is what the job would find now, whatever was done to the tree.

A job is not executed here but taken to print all that it can see; a result that is reused must have printed exactly
what an independent look at the tree finds. The clock is moved: far ahead (so that every hint is old enough to be
trusted), and back again.
"""

import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from openbell.adapters import git
from openbell.adapters.store import Store, Stored
from openbell.core.pipeline import JobResult
from openbell.wiring import pipeline
from openbell.wiring.pipeline import RunRequest
from openbell.wiring.project import OpenProject
from openbell.wiring.state import StateFolder
from tests.fakes.projects import ScratchProject, isolate

CONFIGURATION = """
[project]
name = "sound"
[jobs.part]
stage = "quality"
run = "true"
inputs = ["src/**"]
tools = ["measure"]
env = {{ LEVEL = "{level}" }}
[jobs.whole]
stage = "quality"
run = "true"
"""
FILES = ("src/a", "src/b", "src/deep/c", "d", "src/noise.log")
CONTENTS = ("one\n", "two\n", "six\n", "")
HOUR_NS = 3_600_000_000_000

files = st.sampled_from(FILES)
contents = st.sampled_from(CONTENTS)
edits = st.one_of(
    st.tuples(st.just("write"), files, contents),
    st.tuples(st.just("write and keep the time"), files, contents),
    st.tuples(st.just("replace and keep the time"), files, contents),
    st.tuples(st.just("date"), files, st.sampled_from(("0", "2000000000", "4000000000"))),
    st.tuples(st.just("executable"), files, st.sampled_from(("yes", "no"))),
    st.tuples(st.just("link"), files, st.sampled_from(("a", "b", "../d", "nowhere"))),
    st.tuples(st.just("rename"), files, files),
    st.tuples(st.just("delete"), files, st.just("")),
    st.tuples(st.just("delete and write again"), files, contents),
    st.tuples(st.just("level"), st.just(""), st.sampled_from(("1", "2"))),
    st.tuples(st.just("tool"), st.just(""), st.sampled_from(("1", "2"))),
    st.tuples(st.just("git"), st.sampled_from(("add", "commit", "assume", "modes")), st.just("")),
)
clocks = st.sampled_from((0, HOUR_NS, HOUR_NS, HOUR_NS, 2 * HOUR_NS, -HOUR_NS))


class Tree:
    """A project under edit, and its tool."""

    def __init__(self, folder: Path) -> None:
        self.project = ScratchProject(folder / "p", CONFIGURATION.format(level=1))
        self.project.repository.commit("feat: files", {".gitignore": "*.log\n", **dict.fromkeys(FILES[:3], "one\n")})
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.level = self.version = "1"
        self.tool("1")

    def tool(self, version: str) -> None:
        """Put another version of the tool in its place: the same size, the same time."""
        path = self.bin / "measure"
        path.write_text(f"#!/bin/sh\necho measure {version}\n")
        path.chmod(0o755)
        os.utime(path, (1, 1))
        self.version = version

    def edit(self, kind: str, name: str, value: str) -> None:
        """Do one edit; one that is not possible now does nothing."""
        path = self.project.root / name
        try:
            EDITS[kind](self, path, value)
        except (OSError, RuntimeError):
            return  # Nothing there, a folder, or links in a circle.

    def visible(self, inputs: str) -> str:
        """Say what a job with these inputs can see, from a look of our own at the tree."""
        lines = []
        for folder, _, names in os.walk(self.project.root):
            for name in names:
                path = Path(folder, name)
                relative = path.relative_to(self.project.root).as_posix()
                hidden = relative.startswith((".git/", ".openbell/")) or name.endswith(".log")
                if not hidden and relative.startswith(inputs):
                    lines.append(f"{relative} {content_of(path)}")
        return "\n".join(sorted(lines))

    def expected(self, job: str) -> str:
        """Say what a job would print."""
        if job == "whole":
            return self.visible("")
        return f"{self.visible('src/')}\n{self.level} {self.version}"


def content_of(path: Path) -> str:
    """Say what a job sees of one file."""
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        return f"-> {os.readlink(path)}"  # noqa: PTH115
    return f"{bool(status.st_mode & 0o100)} {path.read_bytes()!r}"


def write(tree: Tree, path: Path, value: str) -> None:
    """Write as an editor does: in place, following a link."""
    path.parent.mkdir(parents=True, exist_ok=True)
    target = path.resolve()
    if target.is_relative_to(tree.project.root):
        target.write_text(value)


def write_and_keep_the_time(tree: Tree, path: Path, value: str) -> None:
    """Hide the edit from whoever looks at sizes and times of modification."""
    before = path.stat()
    write(tree, path, value)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace_and_keep_the_time(tree: Tree, path: Path, value: str) -> None:
    """Move a new file into its place."""
    before = path.stat()
    new = path.with_name(".new")
    new.write_text(value)
    os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
    new.replace(path)


def link(tree: Tree, path: Path, value: str) -> None:
    """Put a link in its place."""
    path.unlink(missing_ok=True)
    path.symlink_to(value)


def level(tree: Tree, path: Path, value: str) -> None:
    """Change what the job's environment has."""
    tree.level = value
    (tree.project.root / "openbell.toml").write_text(CONFIGURATION.format(level=value))


def in_git(tree: Tree, path: Path, value: str) -> None:
    """Do something in git that changes no content, but what git thinks of it."""
    repository = tree.project.repository
    if path.name == "commit":
        repository.commit()
    elif path.name == "add":
        repository.git("add", "--all")
    elif path.name == "modes":
        repository.git("config", "core.trustctime", "false")
    elif (tree.project.root / "src/a").exists():
        repository.git("add", "--all")
        repository.git("update-index", "--assume-unchanged", "src/a")


def again(tree: Tree, path: Path, value: str) -> None:
    """Delete and create anew: the inode may be the same."""
    path.unlink()
    path.write_text(value)


EDITS: dict[str, Callable[[Tree, Path, str], object]] = {
    "write": write,
    "write and keep the time": write_and_keep_the_time,
    "replace and keep the time": replace_and_keep_the_time,
    "date": lambda tree, path, value: os.utime(path, (int(value), int(value))),
    "executable": lambda tree, path, value: path.chmod(0o755 if value == "yes" else 0o644),
    "link": link,
    "rename": lambda tree, path, value: path.rename(tree.project.root / value),
    "delete": lambda tree, path, value: path.unlink(),
    "delete and write again": again,
    "level": level,
    "tool": lambda tree, path, value: tree.tool(value),
    "git": in_git,
}


def wait_tick(folder: Path) -> None:
    """Wait until the file system's clock has moved on: two edits in one tick are the racy rule's business."""
    probe = folder / "probe"
    probe.write_text("")
    first, deadline_s = probe.stat().st_ctime_ns, time.monotonic() + 5
    while probe.stat().st_ctime_ns == first:
        assert time.monotonic() < deadline_s
        probe.write_text("")


def reused(tree: Tree, folder: Path) -> Iterator[tuple[str, str]]:
    """Run: give what each reused result printed, and let the other jobs print what they see in the tree they get."""
    prepared = pipeline.prepare(tree.project.open(), RunRequest())
    store = Store(prepared.place.state.store)
    for job, result in prepared.hits.items():
        yield job, store.log(result.fingerprint).read_text()
    if len(prepared.hits) < len(prepared.graph):
        git.lay_out(prepared.snapshot, folder / "laid-out")
        seen = {path: content_of(folder / "laid-out" / path) for path in prepared.snapshot.files}
        shutil.rmtree(folder / "laid-out")
        assert "\n".join(sorted(f"{path} {text}" for path, text in seen.items())) == tree.visible("")
    for node in prepared.graph:
        if node.id not in prepared.hits:
            fingerprint = prepared.inputs[node.id].fingerprint
            (folder / "log").write_text(tree.expected(node.id))
            result = JobResult(node.id, node.name, node.stage, "success", fingerprint=fingerprint)
            store.keep(Stored("r", time.time(), result), prepared.manifests[node.id], folder / "log")


@pytest.mark.slow
# Without shrinking, which takes minutes: a failure prints how to repeat it.
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True,
    phases=(Phase.explicit, Phase.generate),
)  # fmt: skip
@given(st.lists(st.tuples(st.lists(edits, min_size=1, max_size=3), clocks), min_size=1, max_size=7))
def test_no_edit_yields_a_stale_result(steps: list[tuple[list[tuple[str, str, str]], int]]) -> None:
    with tempfile.TemporaryDirectory() as temporary, pytest.MonkeyPatch.context() as patch:
        folder = Path(temporary)
        isolate(patch, folder)
        tree = Tree(folder)
        patch.setenv("PATH", f"{tree.bin}{os.pathsep}{os.environ['PATH']}")
        true_ns = time.time_ns
        for step, ahead_ns in [([], HOUR_NS), *steps]:
            for one in step:
                tree.edit(*one)
            if ahead_ns:
                wait_tick(folder)
            patch.setattr(time, "time_ns", lambda ahead_ns=ahead_ns: true_ns() + ahead_ns)
            for job, printed in reused(tree, folder):
                assert printed == tree.expected(job), f"the result of {job} is stale after {step}"
        agree(tree, folder)


def agree(tree: Tree, folder: Path) -> None:
    """Another machine with the same tree, other times and inodes, and a state of its own has the same fingerprints."""
    here = pipeline.prepare(tree.project.open(), RunRequest())
    shutil.copytree(tree.project.root, folder / "q", symlinks=True, copy_function=shutil.copy)
    shutil.rmtree(folder / "q/.openbell")
    place = OpenProject(folder / "q", here.place.configuration, StateFolder(folder / "other-state"))
    there = pipeline.prepare(place, RunRequest())
    assert {job: found.fingerprint for job, found in there.inputs.items()} == {
        job: found.fingerprint for job, found in here.inputs.items()
    }
