"""`tests` and `report` as a person meets them."""

import json
from pathlib import Path

import pytest

from tests.fakes.commands import Call, caller
from tests.fakes.projects import ScratchProject, isolate

PROJECT = """
[project]
name = "reporting"
[jobs.unit]
stage = "test"
env = { FILE = "{out}/j.xml" }
run = '''
printf '<testsuite><testcase classname="t" name="a" time="2"><flakyFailure message="m"/></testcase>' > $FILE
printf '<testcase classname="t" name="b"><failure message="3 != 2">t.py:8: E</failure></testcase></testsuite>' >> $FILE
printf 'mode: set\\nexample.com/m/a.txt:1.1,1.9 1 0\\nexample.com/m/b/b.go:1.1,2.2 3 1\\n' > {out}/c.out
exit 1
'''
reports = { junit = "j.xml", gocover = "c.out" }
[[quarantine]]
test = "t::b"
owner = "Ada"
until = 9999-12-31
"""


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    isolate(monkeypatch, tmp_path)
    project = ScratchProject(tmp_path / "p", PROJECT)
    project.repository.commit("feat: a", {"a.txt": "other\n"})
    monkeypatch.chdir(project.root)
    return caller(capsys)


def test_before_the_first_run_nothing_is_known(call: Call) -> None:
    code, out, _ = call("tests")
    assert code == 0
    assert "No test is known yet" in out
    assert call("report")[0] == 2
    assert call("tests", "--limit", "0")[0] == 2


def test_what_is_known_after_a_run(call: Call) -> None:
    code, _, err = call("run")
    assert code == 0, err
    assert "2 tests (1 flaky, 1 failed in quarantine), coverage 75.0 %, 0 % of 1 changed line" in err
    code, out, _ = call("tests")
    assert (code, out.splitlines()) == (
        0,
        [
            "2 tests in 1 execution of jobs.",
            "Slowest:",
            *[line for line in out.splitlines() if "at most" in line],
            "Flaky:",
            *[line for line in out.splitlines() if line.startswith("  1x  t::a  (failed in 1 of 1 execution; last in")],
            'Until somebody mends it: [[quarantine]] test = "t::a", owner = "...", until = 2027-01-31',
            "In quarantine:",
            "  t::b  Ada  until 9999-12-31  last: failed",
        ],
    )
    found = json.loads(call("tests", "--json")[1])
    assert [one["test"] for one in found["slow"]] == ["t::a", "t::b"]
    assert call("tests", "quarantine")[1].startswith("In quarantine:")


def test_a_report_says_what_a_run_had_no_room_for(call: Call) -> None:
    call("run")
    code, out, _ = call("report")
    assert code == 0
    assert out.splitlines()[1:] == [
        "  in quarantine: t::b  3 != 2  t.py:8",
        "  passed on a rerun only: t::a",
        "    0.0 %  example.com/m  (0 of 1)",
        "  100.0 %  example.com/m/b  (3 of 3)",
        f"    0.0 %  of 1 changed line since {out.partition('since ')[2][:7]}",
        "  not run: a.txt:1",
    ]
    assert json.loads(call("report", "last", "unit", "--json")[1])["jobs"][0]["reports"]["tests"]["quarantined"] == 1
    assert call("report", "last", "nope")[0] == 2
