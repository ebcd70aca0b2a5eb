"""`openbell scan`: what runs again, what a scan says and tells, and that what could not be asked is no pass."""

import json
from pathlib import Path
from typing import Any

import pytest

from openbell.adapters.sqlite import read_now
from tests.fakes.commands import Call, caller
from tests.fakes.projects import ScratchProject, isolate
from tests.fakes.scanners import SCANNED, SCANNER, sarif

AUDIT = """
[jobs.audit]
stage = "quality"
run = "cat {database} > {{out}}/a.sarif || exit 75"
inputs = ["a.txt"]
reports = {{ sarif = "a.sarif" }}
not_checked_exit_codes = [75]
cache_s = 86400
[jobs.format]
stage = "quality"
run = "true"
"""


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """What a scanner asks, and what changes without a commit."""
    file = tmp_path / "database.sarif"
    file.write_text(sarif())
    return file


@pytest.fixture
def project(tmp_path: Path, database: Path) -> ScratchProject:
    made = ScratchProject(tmp_path / "p", SCANNED + AUDIT.format(database=database), branch="main")
    made.repository.commit("feat: scanner", {"scan.py": SCANNER})
    return made


@pytest.fixture
def call(
    project: ScratchProject, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Call:
    isolate(monkeypatch, tmp_path)
    monkeypatch.chdir(project.root)
    return caller(capsys)


def scan(call: Call, *arguments: str) -> tuple[int, dict[str, Any]]:
    code, out, _ = call("scan", "--json", *arguments)
    found: dict[str, Any] = json.loads(out)
    return code, found


def told(project: ScratchProject) -> list[str]:
    records = read_now(project.open().state.journal, "notices")
    return [f"{one.kind}: {json.loads(one.payload)['subject']}" for one in records]


def test_only_what_asks_something_that_changes_runs_again(call: Call) -> None:
    code, first = scan(call)
    assert (code, first["outcome"]) == (0, "clean")
    assert [job["name"] for job in first["jobs"]] == ["sast", "audit"]
    _, again = scan(call)
    assert {job["name"]: job["outcome"] for job in again["jobs"]} == {"sast": "cached", "audit": "success"}
    assert call("log", again["run"], "audit")[0] == 0


def test_a_finding_that_appears_without_a_commit_is_told_and_keeps_releases_back(
    call: Call, project: ScratchProject, database: Path
) -> None:
    assert scan(call)[0] == 0
    database.write_text(sarif(("PYSEC-1", "9.8", "urllib3 1.0 is vulnerable"), ("PYSEC-2", "7.2", "h11 0.1")))
    code, found = scan(call)
    assert (code, found["outcome"]) == (1, "broken")
    assert [one["rule"] for one in found["blocking"]] == ["PYSEC-1"]
    assert found["findings"]["recorded"] is True
    assert told(project) == [
        "urgent: critical finding in main: PYSEC-1: deployments are blocked", "notice: high finding in main: PYSEC-2",
    ]  # fmt: skip
    assert scan(call)[0] == 1
    assert len(told(project)) == 2
    code, _, err = call("run")
    assert code == 0, "a known finding fails no run of the branch itself"
    assert "new finding" not in err
    database.write_text(sarif())
    code, found = scan(call)
    assert (code, found["findings"]["fixed"]) == (0, 2)


def test_a_database_that_cannot_be_reached_is_no_pass_and_fixes_nothing(
    call: Call, project: ScratchProject, database: Path
) -> None:
    database.write_text(sarif(("PYSEC-2", "7.2", "h11 0.1")))
    assert scan(call)[0] == 0
    database.unlink()
    code, found = scan(call)
    assert (code, found["outcome"]) == (1, "incomplete")
    assert (found["findings"]["fixed"], found["findings"]["open"]) == (0, {"high": 1})
    assert told(project)[-1] == "notice: scan of main is incomplete: audit"
    _, out, err = call("scan")
    assert "Not checked by audit: nothing counts as fixed by it." in err
    _, out, _ = call("findings")
    assert "  not checked: audit in run " in out
    database.write_text(sarif())
    assert scan(call)[1]["findings"]["fixed"] == 1


def test_jobs_may_be_named_and_bring_what_they_need(call: Call, project: ScratchProject, database: Path) -> None:
    image = '[jobs.image-scan]\nstage = "build"\nneeds = ["bundle"]\nrun = "cat {artifacts}/a.txt"\n'
    configuration = SCANNED + AUDIT.format(database=database) + image + '[scan]\njobs = ["audit", "image-scan"]\n'
    project.repository.commit("ci: scan", {"openbell.toml": configuration})
    code, found = scan(call)
    assert code == 0
    assert [job["name"] for job in found["jobs"]] == ["audit", "bundle", "image-scan"]


def test_jobs_on_schedules_belong_to_it(call: Call, project: ScratchProject, database: Path) -> None:
    nightly = '[jobs.nightly]\nstage = "test"\non = ["schedule"]\nrun = "true"\n'
    project.repository.commit("ci: x", {"openbell.toml": SCANNED + AUDIT.format(database=database) + nightly})
    assert [job["name"] for job in scan(call)[1]["jobs"]] == ["sast", "audit", "nightly"]


def test_another_branch_is_compared_only(call: Call, project: ScratchProject) -> None:
    scan(call)
    project.repository.git("switch", "--quiet", "--create", "feature/y")
    project.repository.commit("feat: y", {"b.txt": "eval(x)\n"})
    code, _, err = call("scan")
    assert code == 0, "a schedule brings nothing that it would answer for"
    assert "Compared with main only" in err
    assert "1 new finding beside main" in err


def test_a_job_that_fails_is_no_pass(call: Call, project: ScratchProject) -> None:
    project.repository.commit("ci: x", {"openbell.toml": SCANNED.replace("python3 scan.py", "exit 4; python3 scan.py")})
    code, found = scan(call)
    assert (code, found["outcome"]) == (1, "incomplete")


def test_without_scanners_there_is_nothing_to_scan(call: Call, project: ScratchProject) -> None:
    project.repository.commit("ci: x", {"openbell.toml": '[project]\nname = "x"\n'})
    code, _, err = call("scan")
    assert code == 2
    assert "no job looks for findings" in err
    only = '[project]\nname = "x"\n[jobs.a]\nstage = "quality"\nrun = "true"\n[scan]\njobs = ["a"]\n'
    project.repository.commit("ci: x", {"openbell.toml": only})
    code, _, err = call("scan")
    assert code == 2
    assert "no job of the scan reports findings" in err
