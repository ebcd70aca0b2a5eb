"""`kill -9` at any moment of a run, then `--resume`: the outputs of an undisturbed run, and a store that is whole."""

import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from openbell.adapters.store import Store, Stored
from openbell.wiring import run_record
from openbell.wiring.state import StateFolder
from tests.fakes.projects import ScratchProject, isolate

PROJECT = """
[project]
name = "killed"
[jobs.source]
stage = "quality"
run = "for n in 1 2 3; do seq $n 20000 > {out}/$n; done"
outputs = ["*"]
cache = false
[jobs.half]
stage = "test"
matrix = { n = ["1", "2", "3"] }
run = "sort -n {artifacts}/{n} > {out}/half-{n}; sleep 0.05"
needs = ["source"]
outputs = ["*"]
[jobs.seen]
stage = "test"
run = "cat a.txt; sleep 0.1"
[jobs.bundle]
stage = "build"
run = "cat {artifacts}/half-* > {out}/all; wc -l < {out}/all > {out}/count"
needs = ["half", "seen"]
cache = false
"""

LAUNCHER = """
import os, sys
import openbell.cli.parser, openbell.cli.run, openbell.wiring.jobs, openbell.wiring.resumption, openbell.hosts.pipeline
from openbell.cli.main import run_at_once
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        os.close(0)
        os.open(os.devnull, os.O_RDONLY)
        os.dup2(2, 1)
        os._exit(run_at_once(line.split()))
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""Starts openbell as often as it is told to, each in a process of its own that has everything imported already."""


class Launcher:
    """Runs openbell in a project, and kills it when told to."""

    def __init__(self, project: ScratchProject) -> None:
        self.project = project
        self.process = subprocess.Popen(
            [sys.executable, "-c", LAUNCHER], cwd=project.root, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip

    def run(self, *arguments: str, kill_after_s: float | None = None) -> tuple[int, float]:
        """Run openbell to its end, or for so many seconds; returns its exit code and how long it took."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(" ".join(arguments) + "\n")
        self.process.stdin.flush()
        began = time.monotonic()
        pid = int(self.process.stdout.readline())
        if kill_after_s is not None:
            # The moment is what this is about: it is drawn, not waited for.
            time.sleep(kill_after_s)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        code = int(self.process.stdout.readline())
        return code, time.monotonic() - began

    def close(self) -> None:
        """End it."""
        self.process.communicate(timeout=20)


def newest(project: ScratchProject) -> run_record.RunRecord | None:
    """The record of the newest run that has one: a run may be killed before it has written down that it began."""
    state = StateFolder.of_project(project.root)
    return next((found for run in run_record.newest_first(state) if (found := run_record.read(state, run))), None)


def outputs(record: run_record.RunRecord | None) -> dict[str, dict[str, str]]:
    results = record.results if record else {}
    return {id_: {out.path: out.sha256 for out in result.outputs} for id_, result in results.items()}


def check_store(root: Path) -> int:
    """Hold that every entry of the store is whole; returns how many there are."""
    store, entries = Store(root), 0
    for file in (path for path in root.glob("objects/*/*") if not path.name.startswith(".")):
        assert hashlib.sha256(file.read_bytes()).hexdigest() == file.name
        entries += 1
    for folder in (path for path in root.glob("results/*/*") if not path.name.startswith(".")):
        stored = msgspec.json.decode((folder / "result.json").read_bytes(), type=Stored)
        assert stored.result.fingerprint == folder.name
        assert stored.result.outcome == "success"
        assert store.find(folder.name) == stored, "what it left is there"
        entries += 1
    return entries


@pytest.mark.parametrize(
    ("seed", "kills_wanted"),
    [pytest.param(20261125, 8, marks=pytest.mark.slow), pytest.param(20261126, 30, marks=pytest.mark.long)],
)
def test_a_run_that_is_killed_again_and_again_comes_to_the_same_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, kills_wanted: int
) -> None:
    isolate(monkeypatch, tmp_path)
    drawn = random.Random(seed)  # noqa: S311 - moments, no secrets
    undisturbed = ScratchProject(tmp_path / "undisturbed", PROJECT)
    launcher = Launcher(undisturbed)
    code, whole_s = launcher.run("run")
    launcher.close()
    assert code == 0
    wanted = outputs(newest(undisturbed))
    assert set(wanted["bundle"]) == {"all", "count"}

    project = ScratchProject(tmp_path / "killed", PROJECT)
    launcher = Launcher(project)
    kills = ends = 0
    arguments = ["run"]
    while kills < kills_wanted or arguments == ["run", "--resume"]:
        kill_after_s = drawn.uniform(0, 1.1 * whole_s) if kills < kills_wanted else None
        code, _ = launcher.run(*arguments, kill_after_s=kill_after_s)
        if code == -signal.SIGKILL:
            kills += 1
            began = run_record.newest_first(StateFolder.of_project(project.root))
            arguments = ["run", "--resume"] if began else arguments
            continue
        if code == 2:
            # It was killed before it had written down that it began, or only after its end.
            left = newest(project)
            assert left is None or left.state == "success"
            arguments = ["run"]
            continue
        assert code == 0
        assert outputs(newest(project)) == wanted
        ends += 1
        project.repository.commit("feat: next", {"b.txt": str(ends)})
        arguments = ["run"]
    launcher.close()
    assert ends > 0
    state = StateFolder.of_project(project.root)
    assert check_store(state.store) > 0
    listed = subprocess.run(
        [sys.executable, "-m", "openbell", "runs", "--json"], cwd=project.root, capture_output=True, check=True
    )
    assert {run["state"] for run in json.loads(listed.stdout)["runs"]} <= {"interrupted", "success"}
