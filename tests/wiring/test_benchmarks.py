"""Benchmarks beside their base in real runs: which side ran when, and what becomes of the verdict."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from openbell.cli.parser import parse_and_run
from openbell.core.pipeline import JobResult
from openbell.wiring import pipeline
from openbell.wiring.pipeline import RunRequest
from tests.fakes.observers import Silent
from tests.fakes.projects import ScratchProject, isolate

COMPARED = """
[project]
name = "compared"
[jobs.speed]
stage = "test"
run = '''
cat a.txt >> {cache}/order
test "$(cat a.txt)" != broken
echo "pkg: book" > {out}/bench.txt
echo "BenchmarkMatch-2 10 $(cat a.txt) ns/op" >> {out}/bench.txt
test ! -f new.txt || echo "BenchmarkNew 1 5 ns/op" >> {out}/bench.txt
'''
reports = { gobench = "bench.txt" }
regression_max_pct = 10
"""


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ScratchProject:
    isolate(monkeypatch, tmp_path)
    scratch = ScratchProject(tmp_path / "p", COMPARED)
    monkeypatch.chdir(scratch.root)
    scratch.repository.commit("feat: begin", {"a.txt": "100\n"})
    return scratch


async def run(project: ScratchProject) -> JobResult:
    prepared = pipeline.prepare(project.open(), RunRequest())
    end = await pipeline.execute(prepared, Silent(), cancel=asyncio.Event())
    return end.results[0]


async def test_one_that_is_slower_fails_the_run(project: ScratchProject) -> None:
    project.repository.commit("feat: slower", {"a.txt": "120\n"})
    result = await run(project)
    assert (result.outcome, result.reason) == (
        "failure",
        "slower by more than 10 %: book.BenchmarkMatch 1.20x (1.20 to 1.20, 6 rounds)",
    )
    assert [one.decision for one in result.reports.comparisons] == ["slower"]
    order = (project.open().state.root / "cache" / "order").read_text().split()
    assert order == ["100", "120", "120", "100"] * 3, "by turns"


async def test_one_that_is_not_passes_and_is_reused(project: ScratchProject) -> None:
    project.repository.commit("feat: the same", {"a.txt": "109\n", "new.txt": "x\n"})
    result = await run(project)
    assert result.outcome == "success"
    assert result.reason.endswith("1.09x (1.09 to 1.09, 6 rounds); only here: book.BenchmarkNew")
    assert pipeline.prepare(project.open(), RunRequest()).is_known
    other_base = RunRequest(kind="pull-request", target="elsewhere")
    project.repository.git("branch", "elsewhere", "HEAD~2")
    assert not pipeline.prepare(project.open(), other_base).is_known


async def test_a_base_that_cannot_be_measured_decides_nothing(project: ScratchProject) -> None:
    project.repository.commit("feat: broken", {"a.txt": "broken\n"})
    assert (await run(project)).outcome == "failure", "on the side of the commit it is the commit's failure"
    project.repository.commit("fix: mended", {"a.txt": "100\n"})
    result = await run(project)
    assert (result.outcome, result.reason) == ("not-checked", "the base cannot be measured: exit code 1")


async def test_the_first_commit_has_no_base(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)
    result = await run(ScratchProject(tmp_path / "p", COMPARED.replace("cat a.txt)", "echo 7)")))
    assert (result.outcome, result.reason) == ("not-checked", "there is no commit before this one to compare with")


Call = Callable[..., tuple[int, str]]


@pytest.fixture
def bench(project: ScratchProject, capsys: pytest.CaptureFixture[str]) -> Call:
    def call(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        code = parse_and_run(["bench", *arguments])
        captured = capsys.readouterr()
        return code, captured.out if "--json" in arguments else captured.out + captured.err

    return call


def test_the_command(project: ScratchProject, bench: Call) -> None:
    code, out = bench("HEAD~1", "--json")
    assert code == 75, "the commit before has no such benchmark: hello"
    project.repository.git("branch", "begin")
    (project.root / "a.txt").write_text("130\n")
    code, out = bench("begin", "--json")
    assert code == 1
    found = json.loads(out)
    assert (found["verdict"], found["benchmarks"][0]["rounds"]) == ("slower", 6)
    assert bench()[0] == 1, "changes that are not committed are compared with the commit"
    (project.root / "a.txt").write_text("90\n")
    code, out = bench("--job", "speed")
    assert (code, "0.90x" in out) == (0, True)
    assert list((project.open().state.root / "runs").iterdir()) == [], "nothing is left of it"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rounds", "5"], "--rounds 5: must be 6 to 100"),
        (["--job", "nope"], 'there is no job "nope"'),
        (["gone"], '"gone" names no branch, tag or commit'),
    ],
)
def test_what_cannot_be_asked(bench: Call, arguments: list[str], message: str) -> None:
    code, text = bench(*arguments)
    assert code == 2
    assert message in text


def test_a_report_has_the_comparison(project: ScratchProject, capsys: pytest.CaptureFixture[str]) -> None:
    project.repository.commit("feat: slower", {"a.txt": "120\n"})
    assert parse_and_run(["run"]) == 1
    capsys.readouterr()
    assert parse_and_run(["report"]) == 0
    assert "  book.BenchmarkMatch 1.20x (1.20 to 1.20, 6 rounds)  slower" in capsys.readouterr().out.splitlines()
