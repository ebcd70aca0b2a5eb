"""`openbell why RUN [JOB]`: the explanation of a run that is over, with what it stands on."""

import json
from pathlib import Path

import pytest

from openbell.cli.parser import parse_and_run
from tests.fakes.projects import ScratchProject, isolate

PROJECT = """
[project]
name = "broken"
[jobs.lint]
stage = "quality"
run = "true"
[jobs.audit]
stage = "quality"
run = "echo no network; exit 75"
not_checked_exit_codes = [75]
[jobs.unit]
stage = "test"
matrix = { go = ["1.23", "1.24"] }
run = '''
echo collecting
test {go} = 1.23 && exit 0
echo "--- FAIL: TestKept (0.00s)"
printf "    book_test.go:7: 3, want \\033[31m2\\033[0m\\n"
seq 20
exit 1
'''
[jobs.bundle]
stage = "build"
run = "touch {out}/x"
"""


class Told:
    """What a command printed, and the run that it is about."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys
        parse_and_run(["run", "--trigger", "push"])
        self.run = capsys.readouterr().err.split()[1]

    def __call__(self, *arguments: str) -> tuple[int, list[str], str]:
        code = parse_and_run(["why", *arguments])
        captured = self.capsys.readouterr()
        return code, captured.out.splitlines(), captured.err


@pytest.fixture
def why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Told:
    isolate(monkeypatch, tmp_path)
    project = ScratchProject(tmp_path / "p", PROJECT)
    monkeypatch.chdir(project.root)
    return Told(capsys)


def test_a_run_says_what_failed_and_what_that_held_up(why: Told) -> None:
    code, out, _ = why(why.run)
    assert code == 0
    assert out[0].startswith(f"run {why.run} of develop ")
    assert "ended in failure" in out[0]
    assert sum(line.startswith("✗ ") for line in out) == 1
    assert "– audit: no network" in out
    assert "· bundle: waits for unit (1.24), which did not pass" in out
    assert why("last")[1] == out


def test_a_job_shows_the_lines_around_its_first_real_error(why: Told) -> None:
    code, out, _ = why(why.run, "unit-1.24")
    assert code == 0
    assert out[0].startswith("✗ unit (go=1.24) failed after ")
    assert out[1] == "    TestKept: 3, want 2   book_test.go:7"
    assert out[2] == "  Only on 1.24; 1.23 passed."
    at = out.index("  In its log:")
    assert out[at + 1 : at + 4] == [
        "        1  collecting",
        "        2> --- FAIL: TestKept (0.00s)",
        "        3      book_test.go:7: 3, want 2",
    ]
    assert len(out[at + 1 :]) == 1 + 1 + 6 + 2
    assert out[-1] == f"  Log:     openbell log {why.run} unit-1.24"


def test_a_job_that_did_not_fail_is_told_in_a_line(why: Told) -> None:
    assert why(why.run, "lint")[1] == ["✓ lint: success, nothing to say."]
    parse_and_run(["run", "--job", "lint"])
    cached = why.capsys.readouterr().err.split()[1]
    assert why(cached, "lint")[1] == [
        f"= lint: cached, same fingerprint as run {why.run}. Its result is that of run {why.run}."
    ]


def test_the_documents(why: Told) -> None:
    _, out, _ = why(why.run, "unit (go=1.24)", "--json")
    found = json.loads("\n".join(out))
    assert found["diagnosis"]["kind"] == "one-leg"
    assert found["diagnosis"]["error"] == {"message": "TestKept: 3, want 2", "place": "book_test.go:7", "line": 2}
    assert [one["name"] for one in json.loads("\n".join(why(why.run, "unit", "--json")[1]))] == [
        "unit (go=1.23)", "unit (go=1.24)",
    ]  # fmt: skip
    assert json.loads("\n".join(why(why.run, "--json")[1]))["outcome"] == "failure"


def test_what_is_not_there_is_refused(why: Told) -> None:
    code, _, err = why(why.run, "nope")
    known = "lint, audit, unit (go=1.23), unit (go=1.24), bundle"
    assert (code, err) == (2, f'run {why.run} has no job "nope". It has: {known}.\n')
    code, _, err = why("nope", "lint")
    assert code == 2
    assert 'there is no run "nope"' in err
    assert why("nope")[0] == 2
