"""Reports in real runs: what is read, what is known besides, and what becomes of secrets."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from openbell.core.masking import Masker
from openbell.core.pipeline import JobNode, JobResult
from openbell.core.project import Job, Quarantine
from openbell.core.project import Reports as Declared
from openbell.ports import AdapterError
from openbell.wiring import pipeline
from openbell.wiring.pipeline import PreparedRun, RunRequest
from openbell.wiring.reports import NO_CHANGES, ReportReader
from openbell.wiring.tests_overview import overview
from tests.fakes.observers import Silent
from tests.fakes.projects import ScratchProject, isolate

SUITE = """<testsuite><testcase classname="t" name="a"/><testcase classname="t" name="b"><failure message="hunter22"/>
</testcase></testsuite>"""
HELD = Quarantine(test="t::b", owner="Ada", until=datetime(2027, 1, 31, tzinfo=UTC).date())
DAY_S = 86_400.0


def reader(day: int, *, quarantine: tuple[Quarantine, ...] = (HELD,)) -> ReportReader:
    return ReportReader(quarantine, now_s=lambda: datetime(2027, 2, day, 12, tzinfo=UTC).timestamp() - DAY_S)


def node(**reports: str) -> JobNode:
    return JobNode("unit", "unit", Job(stage="test", run="x", reports=Declared(**reports)))


def test_each_day_until_the_last_a_quarantine_holds(tmp_path: Path) -> None:
    (tmp_path / "j.xml").write_text(SUITE)
    held = reader(1).read(node(junit="j.xml"), tmp_path, Masker(()), tree=tmp_path).reports
    assert held.tests is not None
    assert (held.tests.failed, held.tests.quarantined, held.notes) == (0, 1, ())
    over = reader(2).read(node(junit="j.xml"), tmp_path, Masker(()), tree=tmp_path).reports
    assert over.tests is not None
    assert over.tests.failed == 1
    assert over.notes == ("the quarantine of t::b ended on 2027-01-31 (Ada)",)


def test_secrets_are_masked_in_every_test(tmp_path: Path) -> None:
    (tmp_path / "j.xml").write_text(SUITE)
    said = reader(1).read(node(junit="j.xml"), tmp_path, Masker(("hunter22",)), tree=tmp_path)
    assert said.cases[1].message == "***"
    assert "hunter22" not in str(said)


def test_a_report_that_is_missing_is_named(tmp_path: Path) -> None:
    found = reader(1).read(node(gocover="c.out", gobench="b.txt"), tmp_path, Masker(()), tree=tmp_path).reports
    assert found.unreadable == ("report c.out was not written", "report b.txt was not written")


COVERED = """
[project]
name = "covered"
[jobs.unit]
stage = "test"
env = { FILE = "{out}/c.xml" }
run = '''
echo '<coverage line-rate="0.5"><sources><source>{root}/src</source></sources><packages><package><classes>' > $FILE
echo '<class filename="a.py"><lines><line number="1" hits="1"/><line number="2" hits="0"/></lines></class>' >> $FILE
echo '</classes></package></packages></coverage>' >> $FILE
'''
inputs = ["src/**"]
reports = { cobertura = "c.xml" }
coverage_changed_min_pct = 80
"""


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], ScratchProject]:
    isolate(monkeypatch, tmp_path)
    return lambda configuration: ScratchProject(tmp_path / "p", configuration)


async def run(project: ScratchProject, request: RunRequest | None = None) -> tuple[PreparedRun, JobResult]:
    prepared = pipeline.prepare(project.open(), request or RunRequest())
    end = await pipeline.execute(prepared, Silent(), cancel=asyncio.Event())
    return prepared, end.results[0]


async def test_the_changed_lines_are_judged(make: Callable[[str], ScratchProject]) -> None:
    project = make(COVERED)
    project.repository.commit("feat: a", {"src/a.py": "one\ntwo\n"})
    _, first = await run(project)
    assert first.reason == "coverage of the changed lines 50.0 % (1 of 2) is below 80 %, such as src/a.py:2"
    project.repository.commit("feat: b", {"src/a.py": "ONE\ntwo\n"})
    _, second = await run(project)
    assert (second.outcome, second.reason) == ("success", "coverage 50.0 %, 100 % of 1 changed line")


async def test_a_verdict_about_one_change_is_none_about_another(make: Callable[[str], ScratchProject]) -> None:
    project = make(COVERED)
    project.repository.commit("feat: a", {"src/a.py": "one\nTWO\n"})
    project.repository.commit("feat: b", {"src/a.py": "ONE\nTWO\n"})
    assert (await run(project))[1].outcome == "success"
    assert pipeline.prepare(project.open(), RunRequest()).is_known
    project.repository.git("branch", "old", "HEAD~2")
    pull_request = RunRequest(kind="pull-request", target="old")
    assert not pipeline.prepare(project.open(), pull_request).is_known, "the second line is part of this change"
    assert (await run(project, pull_request))[1].outcome == "failure"


async def test_without_history_a_bound_is_not_kept(make: Callable[[str], ScratchProject]) -> None:
    project = make(COVERED)
    project.repository.git("rm", "-q", "--cached", "openbell.toml")
    project.repository.commit("feat: a", {"src/a.py": "one\n", "openbell.toml": COVERED})
    project.repository.git("checkout", "-q", "--orphan", "alone")
    project.repository.commit("feat: alone", {"src/a.py": "one\ntwo\n"})
    project.repository.git("branch", "-D", "develop")
    _, result = await run(project)
    assert (result.outcome, result.reason) == ("failure", NO_CHANGES)


QUARANTINED = """
[project]
name = "held"
[jobs.unit]
stage = "test"
run = '''
printf '<testsuite><testcase classname="t" name="a[1]"><failure message="m"/></testcase></testsuite>' > {out}/j.xml
exit 1
'''
reports = { junit = "j.xml" }
"""


async def test_what_passed_by_a_quarantine_is_not_reused(make: Callable[[str], ScratchProject]) -> None:
    project = make(QUARANTINED)
    assert (await run(project))[1].outcome == "failure"
    held = QUARANTINED + '[[quarantine]]\ntest = "t::a"\nowner = "Ada"\nuntil = 9999-01-31\n'
    project.repository.commit("test: hold a", {"openbell.toml": held})
    _, result = await run(project)
    assert (result.outcome, result.reason) == ("success", "1 test (1 failed in quarantine)")
    assert not pipeline.prepare(project.open(), RunRequest()).is_known


def test_an_adapter_error_of_git_leaves_everything_else(make: Callable[[str], ScratchProject]) -> None:
    """Nobody who declares no bound of changed lines needs history."""
    project = make(COVERED.replace("coverage_changed_min_pct = 80", ""))
    project.repository.commit("feat: a", {"src/a.py": "one\n"})
    prepared = pipeline.prepare(project.open(), RunRequest())
    prepared.finder.base = lambda: (_ for _ in ()).throw(AdapterError("git", "x", "gone"))  # type: ignore[method-assign]
    assert prepared.finder.find() is None


FLAKY = """
[project]
name = "flaky"
[jobs.unit]
stage = "test"
retries = 1
env = { MARKER = "{cache}/marker" }
run = '''
if test -f $MARKER; then broken=; else broken='<failure message="late"/>'; fi
echo "<testsuite><testcase classname='t' name='a' time='2'>$broken</testcase>" > {out}/j.xml
echo "<testcase classname='t' name='b' time='1'/></testsuite>" >> {out}/j.xml
mkdir -p {cache}; test -f $MARKER || { touch $MARKER; exit 1; }
'''
reports = { junit = "j.xml" }
[[quarantine]]
test = "t::gone"
owner = "Ada"
until = 2001-01-31
"""


async def test_a_test_that_passed_on_a_retry_is_known_as_flaky(make: Callable[[str], ScratchProject]) -> None:
    project = make(FLAKY)
    _, result = await run(project)
    assert (result.outcome, result.attempts) == ("success", 2)
    found = overview(project.open(), limit=1)
    assert (found.tests, found.executions) == (2, 2)
    assert [(one.test, one.median_s) for one in found.slow] == [("t::a", 2.0)]
    assert [(one.test, one.times, one.failed, one.seen) for one in found.flaky] == [("t::a", 1, 1, 2)]
    assert [(one.test, one.state, one.last) for one in found.quarantine] == [("t::gone", "ended", None)]


async def test_coverage_has_a_trend(make: Callable[[str], ScratchProject]) -> None:
    project = make(COVERED.replace("coverage_changed_min_pct = 80", ""))
    project.repository.commit("feat: a", {"src/a.py": "one\ntwo\n"})
    assert "(" not in (await run(project))[1].reason
    changed = COVERED.replace("coverage_changed_min_pct = 80", "").replace('line-rate="0.5"', 'line-rate="0.75"')
    project.repository.commit("feat: b", {"openbell.toml": changed})
    assert (await run(project))[1].reason == "coverage 75.0 % (+25.0)"


async def test_a_history_that_cannot_be_written_fails_nothing(make: Callable[[str], ScratchProject]) -> None:
    project = make(QUARANTINED.replace("exit 1", "").replace('<failure message="m"/>', ""))
    place = project.open()
    place.state.root.mkdir()
    place.state.history.write_bytes(b"no database" * 500)
    _, result = await run(project)
    assert result.outcome == "success"
    assert "the history of tests was not written" in result.reason
