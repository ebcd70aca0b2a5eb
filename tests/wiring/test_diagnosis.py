"""The diagnosis of real small runs: from their logs, their project's own knowledge and their past."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from openbell.core.diagnosis import Diagnosis
from openbell.core.pipeline import JobResult
from openbell.wiring import pipeline
from openbell.wiring.diagnosis import LINES_MAX, diagnose_run, locate, look_back, read_lines
from openbell.wiring.pipeline import PreparedRun, RunRequest
from tests.fakes.observers import Silent
from tests.fakes.projects import ScratchProject, isolate

BROKEN = """
[project]
name = "broken"
[jobs.unit]
stage = "test"
matrix = { go = ["1.23", "1.24"] }
run = '''
test {go} = 1.23 && exit 0
echo "--- FAIL: TestKept (0.00s)"
echo "    book_test.go:7: {root}/book: 3, want 2"
exit 1
'''
"""
OWN = """
[[diagnoses]]
match = "feed [a-z]+ is gone"
cause = "the exchange's test system sleeps at night"
fix = "wait until seven"
jobs = ["unit"]
"""
FEED = '[project]\nname = "x"\n[jobs.unit]\nstage = "test"\nrun = "echo error: the feed lse is gone; exit 1"\n'


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)


async def run(project: ScratchProject) -> tuple[PreparedRun, dict[str, Diagnosis]]:
    """Run a project, say why it failed, and keep its document."""
    prepared = pipeline.prepare(project.open(), RunRequest())
    end = await pipeline.execute(prepared, Silent(), cancel=asyncio.Event())
    said = diagnose_run(prepared, end.results)
    pipeline.save(prepared, pipeline.document(prepared, end.outcome, end.results, diagnoses=said))
    return prepared, said


async def test_a_leg_that_failed_alone_is_explained(tmp_path: Path) -> None:
    project = ScratchProject(tmp_path / "p", BROKEN)
    project.repository.commit("feat: book", {"src/book/book_test.go": "package book\n"})
    _, said = await run(project)
    assert list(said) == ["unit (go=1.24)"]
    one = said["unit (go=1.24)"]
    assert one.kind == "one-leg"
    assert one.notes == ("Only on 1.24; 1.23 passed.",)
    assert one.error is not None
    assert one.error.message == "TestKept: book: 3, want 2", "where the copy of the tree was is nobody's business"
    assert (one.error.place, one.error.line) == ("src/book/book_test.go:7", 1)


async def test_the_past_is_looked_up(tmp_path: Path) -> None:
    project = ScratchProject(tmp_path / "p", BROKEN)
    first, said = await run(project)
    assert said["unit (go=1.24)"].notes == ("Only on 1.24; 1.23 passed.",)
    _, said = await run(project)
    assert f"It failed in run {first.workplace.run} too, with exactly the same inputs." in said["unit (go=1.24)"].notes
    project.repository.commit("feat: other", {"a.txt": "other\n"})
    _, said = await run(project)
    assert f"It fails since run {first.workplace.run}." in said["unit (go=1.24)"].notes


async def test_what_passed_before_with_the_same_inputs_is_flaky(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    configuration = f'[project]\nname = "x"\n[jobs.unit]\nstage = "test"\nrun = "test ! -e {marker}"\ncache = false\n'
    project = ScratchProject(tmp_path / "p", configuration)
    first, said = await run(project)
    assert said == {}
    marker.touch()
    _, said = await run(project)
    assert said["unit"].kind == "flaky"
    assert said["unit"].notes == (f"It passed in run {first.workplace.run} with exactly the same inputs.",)


async def test_what_has_changed_since_it_passed_is_said(tmp_path: Path) -> None:
    configuration = '[project]\nname = "x"\n[jobs.unit]\nstage = "test"\nrun = "grep hello a.txt"\n'
    project = ScratchProject(tmp_path / "p", configuration)
    first, _ = await run(project)
    project.repository.commit("feat: other", {"a.txt": "other\n", "b.txt": ""})
    second, said = await run(project)
    passed = f"It passed in run {first.workplace.run}; since then: a.txt changed, b.txt is new."
    assert said["unit"].notes == (passed,)
    project.repository.commit("feat: third", {"a.txt": "third\n"})
    _, said = await run(project)
    assert said["unit"].notes == (f"It fails since run {second.workplace.run}.", passed)


async def test_the_project_knows_better(tmp_path: Path) -> None:
    _, said = await run(ScratchProject(tmp_path / "p", FEED + OWN))
    assert (said["unit"].kind, said["unit"].fix) == ("project", "wait until seven")
    assert said["unit"].error is not None
    assert (said["unit"].error.message, said["unit"].error.line) == ("the feed lse is gone", 1)


@pytest.mark.slow
async def test_a_pattern_that_takes_for_ever_is_left_out_and_named(tmp_path: Path) -> None:
    slow = OWN.replace("feed [a-z]+ is gone", "([a-z ]+)+$")
    configuration = FEED.replace("is gone", "is gone aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa0") + slow + OWN
    _, said = await run(ScratchProject(tmp_path / "p", configuration))
    assert said["unit"].kind == "project"
    assert said["unit"].notes == ("[[diagnoses]] match = '([a-z ]+)+$' took too long and was left out.",)


@pytest.mark.parametrize(
    "narrowed", ['jobs = ["other"]', 'stages = ["build"]', "exit_codes = [2]"], ids=["jobs", "stages", "exit codes"]
)
async def test_what_the_project_knows_of_others_does_not_count(tmp_path: Path, narrowed: str) -> None:
    configuration = FEED + OWN.replace('jobs = ["unit"]', narrowed) + '[jobs.other]\nstage = "build"\nrun = "true"\n'
    _, said = await run(ScratchProject(tmp_path / "p", configuration))
    assert said["unit"].kind == "some-error"


def test_a_log_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert read_lines(tmp_path / "none") == ([], ())


def test_of_a_long_log_the_ends_and_what_looks_like_an_error_are_read(tmp_path: Path) -> None:
    log = tmp_path / "log"
    lines = [f"line {number}" for number in range(1, 200_001)]
    lines[99_999] = "\x1b[31mpanic: boom\x1b[0m" + "x" * 10_000
    log.write_text("\n".join(lines))
    numbers, texts = read_lines(log)
    assert len(numbers) == len(texts) < 3 * LINES_MAX
    assert (texts[0], texts[-1], numbers[-1]) == ("line 1", "line 200000", 200_000)
    found = texts[numbers.index(100_000)]
    assert found.startswith("panic: boom")
    assert len(found) == 1000


def test_a_file_is_found_in_the_tree_when_only_one_is_called_so() -> None:
    files = ("src/book/book_test.go", "a/x.go", "b/x.go", "top.go")
    assert locate("book_test.go:7", files) == "src/book/book_test.go:7"
    assert locate("x.go:1", files) == "x.go:1"
    assert locate("top.go:1", files) == "top.go:1"
    assert locate("", files) == ""


def test_only_what_ran_counts_as_past() -> None:
    def earlier(run: str, outcome: str, fingerprint: str = "f") -> pipeline.RunDocument:
        job = {
            "name": "unit",
            "stage": "test",
            "outcome": outcome,
            "reason": "",
            "duration_s": 0,
            "fingerprint": fingerprint,
        }
        document = {"run": run, "trigger": "push", "ref": "main", "commit": "c", "dirty": False, "outcome": "failure"}
        return msgspec.convert({**document, "release": None, "duration_s": 0, "jobs": [job]}, pipeline.RunDocument)

    result = JobResult("unit", "unit", "test", "failure", fingerprint="f")
    past = [earlier("d", "failure", "g"), earlier("c", "skipped"), earlier("b", "failure"), earlier("a", "cached")]
    seen = look_back(result, past)  # type: ignore[arg-type]
    assert (seen.passed_same, seen.failed_same, seen.failing_since) == ("a", "b", "b")
