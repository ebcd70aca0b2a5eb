"""`run` and `log` as a person meets them: what they print where, and their exit codes."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from openbell.cli import progress, running
from openbell.cli.main import run_at_once
from openbell.wiring import pipeline, releases
from openbell.wiring.pipeline import Deployment
from openbell.wiring.project import OpenProject
from tests.fakes.commands import Call, caller
from tests.fakes.projects import QUICK, ScratchProject, isolate

FAILING = """
[project]
name = "failing"
[jobs.lint]
stage = "quality"
run = "echo all fine"
[jobs.unit]
stage = "test"
matrix = { python = ["3.12", "3.13"] }
run = '''
echo collecting
test {python} = 3.12 && result= || result='<failure message="3 != 2">core/book.py:118: E</failure>'
echo "<testsuite><testcase classname='tests.test_book' name='test_kept'>$result</testcase></testsuite>" > {out}/j.xml
test -z "$result"
'''
reports = { junit = "j.xml" }
[jobs.bundle]
stage = "build"
run = "touch {out}/x"
"""


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    isolate(monkeypatch, tmp_path)

    def run_command(project: ScratchProject, *arguments: str) -> tuple[int, str, str]:
        monkeypatch.chdir(project.root)
        return caller(capsys)(*arguments)

    return run_command


@pytest.fixture
def quick(tmp_path: Path) -> ScratchProject:
    return ScratchProject(tmp_path / "p", QUICK)


@pytest.mark.parametrize("arguments", [["run"], ["run", "--json"], ["run", "--no-deploy", "--json"], ["run", "--nope"]])
def test_a_plain_run_is_the_same_without_the_parser(
    quick: ScratchProject, call: Call, capsys: pytest.CaptureFixture[str], *, arguments: list[str]
) -> None:
    call(quick, "run")
    parsed = call(quick, *arguments)
    assert run_at_once(arguments) == parsed[0]
    captured = capsys.readouterr()

    def without_names(text: str) -> str:
        measured = '"(?:duration|begin_at|saved)_s": [0-9.]+'
        return re.sub(rf'run [0-9a-f]{{4}}|"run": "[0-9a-f]+"|[0-9.]+ s\b|{measured}', "", text)

    assert without_names(captured.out) == without_names(parsed[1])
    assert without_names(captured.err) == without_names(parsed[2])


def document(call: Call, project: ScratchProject, *arguments: str) -> dict[str, Any]:
    _, out, _ = call(project, "run", "--json", *arguments)
    found: dict[str, Any] = json.loads(out)
    return found


def test_a_run_says_what_it_does_and_ends_well(call: Call, quick: ScratchProject) -> None:
    code, out, err = call(quick, "run")
    assert code == 0
    assert out == "", "facts are asked for with --json; progress is no fact"
    lines = err.splitlines()
    assert lines[0].endswith('"feat: first"')
    assert [line.split()[:3] for line in lines[1:5] if "lint" in line] == [["quality", "✓", "lint"]]
    assert "success, 4 jobs in" in lines[-2]
    assert "Release" in lines[-1]


def test_the_second_run_executes_nothing_and_says_why(call: Call, quick: ScratchProject) -> None:
    first = document(call, quick)
    code, _, err = call(quick, "run")
    assert code == 0
    assert err.count(f"(cached: same fingerprint as run {first['run']})") == 4
    assert f"Nothing was executed: every job has the same fingerprint as in run {first['run']}." in err


def test_what_runs_again_says_why(call: Call, quick: ScratchProject) -> None:
    assert "changed" not in call(quick, "run")[2]
    quick.repository.commit("feat: other", {"a.txt": "other\n", "b.md": ""})
    _, _, err = call(quick, "run")
    assert err.splitlines()[1:3] == [
        "  a.txt changed, b.md is new: lint",
        "  a.txt changed: unit (1), unit (2), bundle",
    ]


@pytest.mark.slow
def test_the_second_run_loads_nothing_that_takes_long(
    quick: ScratchProject, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """How long it takes is measured in bench/; a machine that does other things at the same time must not fail here."""
    isolate(monkeypatch, tmp_path)
    command = [sys.executable, "-X", "importtime", "-m", "openbell", "run"]
    subprocess.run(command, cwd=quick.root, check=True, capture_output=True)
    second = subprocess.run(command, cwd=quick.root, check=True, capture_output=True, text=True)
    loaded = {line.rpartition("|")[2].strip() for line in second.stderr.splitlines() if line.startswith("import time:")}
    assert "openbell.wiring.pipeline" in loaded
    slow = {"asyncio", "rich", "httpx2", "psutil", "yaml", "numpy", "sqlalchemy", "opentelemetry"}
    assert sorted(loaded & slow) == []


def test_the_document(call: Call, quick: ScratchProject) -> None:
    found = document(call, quick)
    assert (found["trigger"], found["ref"], found["outcome"]) == ("person", "develop", "success")
    assert found["commit"] == quick.repository.git("rev-parse", "HEAD")
    assert found["release"].startswith("sha256:")
    assert [job["name"] for job in found["jobs"]] == ["lint", "unit (n=1)", "unit (n=2)", "bundle"]
    assert {job["outcome"] for job in found["jobs"]} == {"success"}
    assert all(len(job["fingerprint"]) == 64 for job in found["jobs"])
    assert document(call, quick)["jobs"][0]["outcome"] == "cached"


def test_a_failure_ends_with_what_a_person_needs(call: Call, tmp_path: Path) -> None:
    project = ScratchProject(tmp_path / "p", FAILING)
    code, _, err = call(project, "run")
    assert code == 1
    run = err.split()[1]
    expected = [
        "✗ unit (3.13) failed after ",
        "    tests.test_book::test_kept   3 != 2   core/book.py:118",
        "  Only on 3.13; 3.12 passed.",
        "  Cause:   it fails on one version only: the code, the test or a dependency depends on the version",
        "  Command: echo collecting ...",
        '  Alone:   openbell run --job "unit (python=3.13)"',
        f"  Log:     openbell log {run} unit-3.13",
        "Blocked: bundle.",
        "The commit is not releasable.",
    ]
    block = err[err.index("\n✗ unit") :].splitlines()
    assert [line for line in expected if not any(line in found for found in block)] == []
    code, _, err = call(project, "run", "--job", "unit (python=3.13)")
    assert code == 1
    assert "lint" not in err
    found = document(call, project)
    assert found["outcome"] == "failure"
    assert found["release"] is None
    assert [job["outcome"] for job in found["jobs"]] == ["cached", "cached", "failure", "skipped"]


def test_a_failure_without_reports_shows_its_last_lines(call: Call, tmp_path: Path) -> None:
    configuration = '[project]\nname = "x"\n[jobs.a]\nstage = "test"\nrun = "echo first; echo why it broke; exit 4"\n'
    _, _, err = call(ScratchProject(tmp_path / "p", configuration), "run", "--trigger", "pull-request")
    assert "failed after" in err
    assert "    why it broke" in err
    assert "The pull request is not to be merged." in err


def test_the_first_real_error_is_shown_and_not_what_follows_it(call: Call, tmp_path: Path) -> None:
    script = "echo 'src/book.c:3:5: error: expected expression'; seq 100; echo 'make: *** [all] Error 1'; exit 2"
    configuration = f'[project]\nname = "x"\n[jobs.compile]\nstage = "build"\nrun = "{script}"\n'
    _, _, err = call(ScratchProject(tmp_path / "p", configuration), "run")
    run = err.split()[1]
    block = err[err.index("\n✗ compile") :].splitlines()[2:]
    assert block[:4] == [
        "    expected expression   src/book.c:3:5",
        "  Cause:   the code does not compile",
        "  Fix:     correct the first error; the others often follow from it",
        "  Prevent: build with the same compiler and warnings before each push",
    ]
    assert f"  Log:     openbell log {run} compile   (line 1)" in block


def test_one_error_that_stops_two_jobs_is_explained_once(call: Call, tmp_path: Path) -> None:
    job = '[jobs.{}]\nstage = "quality"\nrun = "echo src/book.c:3:5: error: expected expression; exit 1"\n'
    _, _, err = call(
        ScratchProject(tmp_path / "p", '[project]\nname = "x"\n' + job.format("a") + job.format("b")), "run"
    )
    assert err.count("    expected expression   src/book.c:3:5") == 2
    assert err.count("  Cause:   the code does not compile") == 1
    assert "  The same error as in a." in err


def test_a_report_that_names_no_place_is_completed_from_the_output(call: Call, tmp_path: Path) -> None:
    configuration = """
[project]
name = "x"
[jobs.unit]
stage = "test"
run = '''
printf '%s\\n' '=== FAIL: book TestKept (0.00s)' '    book_test.go:7: 3, want 2'
echo '<testsuite><testcase name="TestKept"><failure message="Failed"/></testcase></testsuite>' > {out}/j.xml
exit 1
'''
reports = { junit = "j.xml" }
"""
    _, _, err = call(ScratchProject(tmp_path / "p", configuration), "run")
    block = err[err.index("\n✗ unit") :].splitlines()
    assert block[2:4] == ["    TestKept: 3, want 2   book_test.go:7", "    TestKept   Failed"]


def test_what_was_not_checked_is_shown_and_holds_nothing_up(call: Call, tmp_path: Path) -> None:
    job = '[jobs.audit]\nstage = "quality"\nrun = "echo no network; exit 75"\nnot_checked_exit_codes = [75]\n'
    code, _, err = call(ScratchProject(tmp_path / "p", QUICK + job), "run")
    assert code == 0
    assert "– audit (not checked: no network)" in err
    assert "5 jobs (1 not checked)" in err


def test_what_may_fail_is_shown_and_holds_nothing_up(call: Call, tmp_path: Path) -> None:
    job = '[jobs.types]\nstage = "quality"\nrun = "exit 1"\nallow_failure = true\n'
    code, _, err = call(ScratchProject(tmp_path / "p", QUICK + job), "run")
    assert code == 0
    assert "allowed to fail: exit code 1" in err
    assert "5 jobs (1 allowed to fail)" in err


def test_what_was_not_deployed_says_why(call: Call, tmp_path: Path) -> None:
    project = ScratchProject(tmp_path / "p", DEPLOYED)
    _, _, err = call(project, "run", "--trigger", "push", "--no-deploy")
    assert "  Not deployed to one, two: --no-deploy was given.\n" in err
    project.repository.write({"a.txt": "changed\n"})
    _, _, err = call(project, "run", "--trigger", "push")
    assert "  Not deployed to one, two: no release was built.\n" in err


@pytest.mark.parametrize(
    ("outcome", "mark"), [("success", "✓"), ("waiting", "○"), ("failure", "✗"), ("cancelled", "✗")]
)
def test_a_run_is_ticked_off_only_when_it_is_done(call: Call, quick: ScratchProject, outcome: Any, mark: str) -> None:
    call(quick, "run")
    found = pipeline.load_run(quick.open(), "last")
    assert found is not None
    ended = msgspec.structs.replace(found, outcome=outcome)
    assert progress.closing(ended, "v1")[0].startswith(f"{mark} run {found.run}: {outcome}, 4 jobs")


def test_a_changed_tree_is_said_to_be_one(call: Call, quick: ScratchProject) -> None:
    quick.repository.write({"a.txt": "changed\n"})
    code, _, err = call(quick, "run")
    assert code == 0
    assert "with 1 changed file" in err
    assert "No release: the working tree has changes" in err
    assert document(call, quick)["dirty"] is True


def test_a_release_that_cannot_be_put_together_fails_the_run(call: Call, tmp_path: Path) -> None:
    configuration = '[project]\nname = "x"\n[jobs.a]\nstage = "build"\nrun = "true"\n'
    code, _, err = call(ScratchProject(tmp_path / "p", configuration), "run")
    assert code == 1
    assert "No release: the build stage left no files." in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--job", "nope"], 'there is no job "nope"'),
        (["--stage", "quality,nope"], '"nope" is no stage of a commit'),
        (["--ref", "nowhere"], '"nowhere" names no branch, tag or commit'),
        (["--policy", "gone.toml"], "gone.toml: no such file."),
        (["--trigger", "tag"], "has no tag"),
    ],
)
def test_what_is_not_there_is_a_usage_error(
    call: Call, quick: ScratchProject, arguments: Sequence[str], message: str
) -> None:
    code, out, err = call(quick, "run", *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize("arguments", [["--nope"], ["--trigger", "nope"], ["surplus"], ["--jobs", "many"]])
def test_bad_options_are_usage_errors(call: Call, quick: ScratchProject, arguments: Sequence[str]) -> None:
    assert call(quick, "run", *arguments)[0] == 2


def test_a_folder_without_repository(call: Call, quick: ScratchProject) -> None:
    import shutil

    shutil.rmtree(quick.root / ".git")
    code, _, err = call(quick, "run")
    assert code == 2
    assert "git: no git repository here, and openbell runs commits. Begin with: git init" in err


def test_a_broken_configuration_runs_nothing(call: Call, quick: ScratchProject) -> None:
    quick.repository.write({"openbell.toml": QUICK + "[environments.staging]\nreplica = 2\n"})
    code, _, err = call(quick, "run")
    assert code == 2
    assert err.endswith(
        'openbell.toml:20: unknown key "replica" in [environments.staging]. Did you mean "replicas"?\n'
        "1 error. Nothing was run.\n"
    )


def test_state_that_cannot_be_written(call: Call, quick: ScratchProject, monkeypatch: pytest.MonkeyPatch) -> None:
    (quick.root.parent / "file").touch()
    monkeypatch.setenv("OPENBELL_STATE", str(quick.root.parent / "file/state"))
    code, _, err = call(quick, "run")
    assert code == 1
    assert "the run cannot be recorded in" in err
    assert "Not a directory. Free space, or set OPENBELL_STATE." in err


def test_an_interrupted_run_ends_its_jobs_and_says_130(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    isolate(monkeypatch, tmp_path)
    script = f"echo $$ > {tmp_path}/pid; sleep 300"
    project = ScratchProject(tmp_path / "p", f'[project]\nname = "x"\n[jobs.a]\nstage = "test"\nrun = "{script}"\n')
    command = [sys.executable, "-m", "openbell", "run", "--json"]
    with subprocess.Popen(command, cwd=project.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        deadline = time.monotonic() + 20
        while not ((tmp_path / "pid").exists() and (tmp_path / "pid").read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        running.send_signal(signal.SIGINT)
        out, _ = running.communicate(timeout=20)
    assert running.returncode == 130
    assert json.loads(out)["outcome"] == "cancelled"
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


# --- deployments


def deploying(monkeypatch: pytest.MonkeyPatch, *outcomes: str) -> list[str]:
    """Let a run deploy to nothing, with outcomes in order; returns where to, as it happens."""
    asked: list[str] = []

    async def deploy(place: OpenProject, environment: str, built: releases.ReleaseBuilt) -> Deployment:
        asked.append(f"{environment} {built.version}")
        return Deployment(environment, outcomes[len(asked) - 1], "because", "r-1")  # type: ignore[arg-type]

    monkeypatch.setattr(running, "_deploy_from_run", deploy)
    return asked


DEPLOYED = (
    QUICK
    + """
[services.api]
protocol = "http"
run = "api {port}"
[environments.one]
branch = "develop"
[environments.two]
branch = "dev*"
"""
)


@pytest.mark.parametrize(
    ("outcomes", "code", "outcome"),
    [
        (["promoted", "promoted"], 0, "success"),
        (["rolled-back"], 1, "failure"),
        (["failed"], 1, "failure"),
        (["waiting"], 3, "waiting"),
        (["promoted", "waiting"], 3, "waiting"),
    ],
)
def test_a_run_deploys_in_order_until_something_holds_it_up(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, outcomes: list[str], code: int, outcome: str
) -> None:
    project = ScratchProject(tmp_path / "p", DEPLOYED)
    seen = deploying(monkeypatch, *outcomes)
    got, out, _ = call(project, "run", "--json")
    assert got == code
    found = json.loads(out)
    assert found["outcome"] == outcome
    assert len(seen) == len(outcomes)
    assert [entry["outcome"] for entry in found["deployments"]] == [*outcomes, *["skipped"] * (2 - len(outcomes))]


@pytest.mark.parametrize("arguments", [["--no-deploy"], ["--stage", "build"], ["--trigger", "pull-request"]])
def test_when_a_run_does_not_deploy(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    seen = deploying(monkeypatch)
    code, _, _ = call(ScratchProject(tmp_path / "p", DEPLOYED), "run", *arguments)
    assert (code, seen) == (0, [])


# --- log


def test_logs(call: Call, quick: ScratchProject) -> None:
    run = document(call, quick)["run"]
    assert call(quick, "log", run, "unit-1") == (0, "hello\n", "")
    assert call(quick, "log", "last", "unit (n=1)")[1] == "hello\n"
    call(quick, "run")
    assert call(quick, "log", "last", "lint")[1] == "linting\n", "a reused result has the log of the run it came from"
    _, out, _ = call(quick, "log")
    assert "unit-1" in out
    found = json.loads(call(quick, "log", run, "lint", "--json")[1])
    assert (found["run"], found["job"]["name"], found["log"]) == (run, "lint", "linting\n")


def test_logs_that_are_not_there(call: Call, tmp_path: Path) -> None:
    project = ScratchProject(tmp_path / "p", FAILING)
    assert 'there is no run "last"' in call(project, "log")[2]
    call(project, "run")
    code, _, err = call(project, "log", "last", "nope")
    assert (code, err) == (
        2,
        f'run {pipeline_run(project)} has no job "nope". It has: lint, unit-3.12, unit-3.13, bundle.\n',
    )
    code, _, err = call(project, "log", "last", "bundle")
    assert (code, err) == (1, "bundle has no log: skipped, waits for unit (3.13), which did not pass.\n")


def pipeline_run(project: ScratchProject) -> str:
    found = pipeline.load_run(project.open(), "last")
    assert found is not None
    return found.run


def test_every_outcome_has_a_glyph_and_a_colour() -> None:
    assert set(progress.GLYPHS) == set(progress.COLOURS)
