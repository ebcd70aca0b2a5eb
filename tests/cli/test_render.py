"""`render` and `fingerprint` as a person meets them."""

import json
from pathlib import Path

import pytest

from openbell.cli.parser import parse_and_run
from tests.fakes.projects import QUICK, ScratchProject, isolate

BRANCHES = ".github/workflows/openbell-branches.yml"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ScratchProject:
    isolate(monkeypatch, tmp_path)
    project = ScratchProject(tmp_path / "p", QUICK)
    monkeypatch.chdir(project.root)
    return project


def test_check_fails_until_files_are_written_and_again_when_they_are_stale(
    quick: ScratchProject, capsys: pytest.CaptureFixture[str]
) -> None:
    assert parse_and_run(["render", "github", "--check"]) == 1
    assert f"{BRANCHES}: is missing" in capsys.readouterr().err
    assert not (quick.root / ".github").exists()
    assert parse_and_run(["render", "github"]) == 0
    assert parse_and_run(["render", "github", "--check"]) == 0
    assert "8 files are as they should be." in capsys.readouterr().err
    quick.repository.write({"openbell.toml": QUICK + '\n[workflows]\nruns_on = ["big"]\n'})
    assert parse_and_run(["render", "github", "--check", "--json"]) == 1
    shown = capsys.readouterr()
    assert f"{BRANCHES}: is stale\n" in shown.err
    assert "    +    runs-on: big\n" in shown.err
    assert "Write them again: openbell render github" in shown.err
    document = json.loads(shown.out)
    assert document["current"] is False
    assert {file["path"]: file["state"] for file in document["files"]}[BRANCHES] == "stale"


def test_a_file_written_by_hand_is_told_and_stays(quick: ScratchProject, capsys: pytest.CaptureFixture[str]) -> None:
    quick.repository.write({".pre-commit-config.yaml": "repos: []\n"})
    assert parse_and_run(["render", "pre-commit"]) == 1
    assert ".pre-commit-config.yaml: is written by hand, and stays: rename it" in capsys.readouterr().err
    assert (quick.root / ".pre-commit-config.yaml").read_text() == "repos: []\n"


def test_what_makes_no_sense_is_refused(quick: ScratchProject, capsys: pytest.CaptureFixture[str]) -> None:
    assert parse_and_run(["render", "github", "staging"]) == 2
    assert '"staging": github is not for one environment. Leave it out.' in capsys.readouterr().err
    assert parse_and_run(["render", "rbac"]) == 2
    assert 'there is no environment "" in a cluster; in one are: none' in capsys.readouterr().err
    quick.repository.write({"openbell.toml": '[project]\nname = "empty"\n'})
    assert parse_and_run(["render", "pre-commit", "--check"]) == 0
    assert "There is nothing to write: no job is for it." in capsys.readouterr().err


def test_a_fingerprint_is_that_of_a_run(quick: ScratchProject, capsys: pytest.CaptureFixture[str]) -> None:
    assert parse_and_run(["run", "--json"]) == 0
    ran = {job["name"]: job["fingerprint"] for job in json.loads(capsys.readouterr().out)["jobs"]}
    assert parse_and_run(["fingerprint", "unit (n=2)"]) == 0
    assert capsys.readouterr().out == ran["unit (n=2)"] + "\n"
    more = '[jobs.news]\nstage = "quality"\nrun = "true"\ncache_s = 60\n'
    more += '[jobs.now]\nstage = "test"\nrun = "true"\ncache = false\n'
    quick.repository.write({"openbell.toml": QUICK + more})
    assert parse_and_run(["fingerprint", "news"]) == 0
    fingerprint, _, times = capsys.readouterr().out.strip().partition("-")
    assert (len(fingerprint), times.isdigit()) == (64, True)
    assert parse_and_run(["fingerprint", "now"]) == 0
    assert capsys.readouterr().out == "\n"
    assert parse_and_run(["fingerprint", "unit"]) == 2
    assert '2 legs have the name "unit"; name one of: ' in capsys.readouterr().err
    assert parse_and_run(["fingerprint", "nope"]) == 2
    assert 'no job has the name "nope"' in capsys.readouterr().err
