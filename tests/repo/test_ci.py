"""What continuous integration and a newcomer run first: the scripts in .ci and the Makefile."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = ["run", "test", "bootstrap", "cluster", "lock"]
TESTSUITE = (
    '<testsuites><testsuite tests="{tests}" failures="{failures}" errors="0" skipped="1" time="2.5">'
    "{cases}</testsuite></testsuites>"
)
CASE = '<testcase classname="tests.test_book" name="test_priority_kept" time="1.5"/>'


def run(*command: str, path: Path | None = None, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PATH": str(path)} if path else None
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_can_be_run_and_stops_at_errors(name: str) -> None:
    script = ROOT / ".ci" / name
    assert os.access(script, os.X_OK)
    assert "\nset -euo pipefail\n" in script.read_text() or "\nset -uo pipefail\n" in script.read_text()
    assert run("bash", "-n", str(script)).returncode == 0


def test_help_names_what_can_be_made() -> None:
    named = [line.split()[0] for line in run("make", "help").stdout.splitlines()[1:]]
    assert {"help", "demo", "test", "check", "bench"} <= set(named)


def test_bootstrap_does_nothing_when_nothing_changed() -> None:
    if not (ROOT / ".venv" / ".installed").exists():
        pytest.skip("these tests run in an environment that bootstrap did not make")
    done = run(".ci/bootstrap")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_bootstrap_without_a_python_that_is_new_enough_says_what_to_do(tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("bash", "env", "dirname", "cat", "cksum"):
        found = shutil.which(tool)
        assert found, tool
        (tools / tool).symlink_to(found)
    old = tools / "python3"
    old.write_text('#!/usr/bin/env bash\n[ "$1" = --version ] && echo "Python 3.9.2" || exit 1\n')
    old.chmod(0o755)
    project = tmp_path / "project"
    for name in ("requirements.lock", "pyproject.toml", "engine/pyproject.toml", ".ci/bootstrap"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, project / name)
    done = run(str(project / ".ci" / "bootstrap"), path=tools, cwd=project)
    assert done.returncode == 2
    assert "no Python >= 3.11 found (python3 is Python 3.9.2)" in done.stderr
    assert "make PYTHON=" in done.stderr
    assert not (project / ".venv").exists()


class NodeMachine:
    """A machine on which `.ci/cluster` runs: who the user is, what is installed, and a kit; nothing of it is real."""

    def __init__(self, folder: Path) -> None:
        self.project, self.kit, self.tools, self.policy = (folder / name for name in ("p", "kit", "bin", "policy-rc.d"))
        self.apt = folder / "apt.log"
        for path in (self.project / ".ci", self.project / ".venv" / "bin", self.kit, self.tools):
            path.mkdir(parents=True)
        shutil.copy(ROOT / ".ci" / "cluster", self.project / ".ci")
        for tool in ("bash", "env", "dirname", "mktemp", "rm", "mv", "tail", "grep", "chmod", "cat", "sh"):
            found = shutil.which(tool)
            assert found, tool
            (self.tools / tool).symlink_to(found)
        self.script(self.kit / "kube-up", "exit 1")
        self.script(self.tools / "id", "echo 0")
        self.script(
            self.tools / "dpkg-query", 'case "$*" in *conntrack|*runc) exit 1;; *) echo "install ok installed";; esac'
        )
        self.script(self.tools / "apt-get", f'{{ echo "$*"; {self.policy}; echo "policy $?"; }} >> {self.apt}')
        self.script(self.project / ".venv" / "bin" / "python", 'echo "$4/env"')

    def script(self, path: Path, text: str) -> None:
        path.write_text(f"#!/usr/bin/env bash\n{text}\n")
        path.chmod(0o755)

    def start(self) -> subprocess.CompletedProcess[str]:
        env = {"PATH": str(self.tools), "OPENBELL_KIT": str(self.kit), "POLICY_RC_D": str(self.policy)}
        command = [str(self.project / ".ci" / "cluster"), "build/cluster"]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def test_a_cluster_is_started_with_what_is_missing_and_no_service_of_it(tmp_path: Path) -> None:
    machine = NodeMachine(tmp_path)
    machine.policy.write_text("somebody else's")
    done = machine.start()
    assert (done.returncode, done.stdout) == (0, "build/cluster/env\n"), done.stderr
    assert done.stderr == "cluster: installing runc conntrack\ncluster: starting one in build/cluster\n"
    update, no, install, still_no = machine.apt.read_text().splitlines()
    assert (update, no, still_no) == ("update -qq", "policy 101", "policy 101")
    assert install == "install -qq -y --no-install-recommends runc conntrack"
    assert machine.policy.read_text() == "somebody else's"
    machine.policy.unlink()
    assert machine.start().returncode == 0
    assert not machine.policy.exists()


@pytest.mark.parametrize(
    ("file", "text", "reason"),
    [
        ("kit/kube-up", None, "there is no kit in"),
        ("bin/id", "echo 1000", "only root can start a node"),
        ("bin/apt-get", None, "not installed, and there is no apt-get: runc conntrack"),
        ("bin/apt-get", "echo 'E: no route to host' >&2; exit 100", "apt-get: E: no route to host"),
        ("p/.venv/bin/python", "echo 'port 6443 is taken' >&2; exit 2", "port 6443 is taken"),
    ],
)
def test_where_there_can_be_no_cluster_one_line_says_why(
    tmp_path: Path, file: str, text: str | None, reason: str
) -> None:
    machine = NodeMachine(tmp_path)
    if text is None:
        (tmp_path / file).unlink()
    else:
        machine.script(tmp_path / file, text)
    done = machine.start()
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].startswith(f"cluster: none here, tests that need one are skipped: {reason}")
    assert not machine.policy.exists()


@pytest.mark.parametrize(
    ("files", "code", "last_line"),
    [
        ({"one": (3, 0), "two": (4, 0)}, 0, "tests: 5 passed, 0 failed, 2 skipped"),
        ({"one": (3, 1), "two": (4, 0)}, 1, "tests: 4 passed, 1 failed, 2 skipped"),
        ({"one": (3, 0)}, 1, "tests: 2 passed, 0 failed, 1 skipped"),
        ({}, 1, "tests: 0 passed, 0 failed, 0 skipped"),
    ],
)
def test_summary_adds_up_and_fails_with_what_failed(
    tmp_path: Path, files: dict[str, tuple[int, int]], code: int, last_line: str
) -> None:
    for name, (tests, failures) in files.items():
        content = TESTSUITE.format(tests=tests, failures=failures, cases=CASE)
        (tmp_path / f"{name}.xml").write_text(content)
    done = run(sys.executable, str(ROOT / ".ci" / "summary.py"), str(tmp_path), "one", "two")
    assert done.returncode == code
    assert done.stdout.splitlines()[-1] == last_line
    assert ("ended without a result" in done.stdout) == (len(files) < 2)
