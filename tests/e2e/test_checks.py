"""Each check of the engine and of the Go service fails on a fault that is planted for it, and passes without.

The jobs are the projects' own, run by openbell on copies in repositories of their own. A check whose program or
database is not here is skipped, with the reason that openbell gives.
"""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import faults
from tests.e2e.faults import Fault
from tests.e2e.product import COMMAND
from tests.fakes.repositories import IDENTITY, Repository

ROOT = Path(__file__).parents[2]
LEFT_OUT = shutil.ignore_patterns(".venv", ".openbell", ".hypothesis", "__pycache__", ".*_cache", ".coverage*", "build")

pytestmark = [pytest.mark.slow, pytest.mark.e2e]


class Checked:
    """A copy of a project, and what its jobs say of it."""

    def __init__(self, source: Path, folder: Path) -> None:
        shutil.copytree(source, folder, ignore=LEFT_OUT, dirs_exist_ok=True)
        self.repository = Repository(folder, branch="main")
        self.clean = self.repository.commit("feat: as it is")
        self.env = {
            name: value
            for name, value in {**os.environ, **IDENTITY}.items()
            if name not in ("OPENBELL_STATE", "OPENBELL_POLICY")
        }

    def run(self, job: str) -> tuple[str, str]:
        """Run a job; return its outcome, and everything that was said: its log, its reason, its findings."""
        done = self._openbell("run", "--job", job, "--json")
        found: Any = json.loads(done.stdout)
        (result,) = found["jobs"]
        log = self._openbell("log", found["run"], job)
        return result["outcome"], "\n".join((result["reason"], log.stdout, done.stderr))

    def restore(self) -> None:
        """Take everything back that was planted; what jobs keep stays."""
        self.repository.git("reset", "--quiet", "--hard", self.clean)
        self.repository.git("clean", "--quiet", "-d", "--force")

    def _openbell(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            [*COMMAND, *arguments], cwd=self.repository.root, env=self.env, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert "Traceback" not in done.stderr, done.stderr
        return done


def copy_of(name: str) -> Iterator[Checked]:
    """Copy a project, and remove the copy with all that its jobs kept."""
    with tempfile.TemporaryDirectory(prefix="openbell-checks-", ignore_cleanup_errors=True) as folder:
        yield Checked(ROOT / name, Path(folder) / "project")


@pytest.fixture(scope="module")
def engine() -> Iterator[Checked]:
    """The trading engine."""
    yield from copy_of("engine")


@pytest.fixture(scope="module")
def go_service() -> Iterator[Checked]:
    """The Go service."""
    if shutil.which("go") is None:
        pytest.skip("go is not installed")
    yield from copy_of("examples/go-service")


def check(project: Checked, fault: Fault) -> None:
    """See that a job passes as it is, and fails with the fault, for the right reason."""
    project.restore()
    outcome, said = project.run(fault.job)
    if outcome == "not-checked":
        pytest.skip(said.partition("\n")[0])
    assert outcome in ("success", "cached"), said
    try:
        fault.plant(project.repository)
        outcome, said = project.run(fault.job)
    finally:
        project.restore()
    assert outcome == "failure", said
    assert fault.says in said


def rows(found: tuple[Fault, ...]) -> list[Any]:
    """One row a fault; what takes minutes, all together, is asked for by name."""
    return [
        pytest.param(fault, id=f"{fault.job}-{fault.name}", marks=() if fault.is_cheap else pytest.mark.long)
        for fault in found
    ]


@pytest.mark.parametrize("fault", rows(faults.PYTHON))
def test_a_fault_in_the_engine_is_found(engine: Checked, fault: Fault) -> None:
    check(engine, fault)


@pytest.mark.parametrize("fault", rows(faults.GO))
def test_a_fault_in_the_go_service_is_found(go_service: Checked, fault: Fault) -> None:
    check(go_service, fault)
