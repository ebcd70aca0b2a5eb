"""`openbell findings` as a person meets it: lists, filters, waivers, SARIF, exit codes; and findings at a run's end."""

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest

from openbell.adapters.ledger import Ledger
from tests.fakes.commands import Call, caller
from tests.fakes.projects import ScratchProject, isolate
from tests.fakes.scanners import SCANNED, SCANNER

SOON = (dt.datetime.now(tz=dt.UTC).date() + dt.timedelta(days=30)).isoformat()


@pytest.fixture
def project(tmp_path: Path) -> ScratchProject:
    made = ScratchProject(tmp_path / "p", SCANNED, branch="main")
    made.repository.commit("feat: scanner", {"scan.py": SCANNER, "b.txt": "eval(x)\nexec(x)\nassert x\n"})
    return made


@pytest.fixture
def call(
    project: ScratchProject, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Call:
    isolate(monkeypatch, tmp_path)
    monkeypatch.chdir(project.root)
    return caller(capsys)


def document(call: Call, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(call("findings", *arguments, "--json")[1])
    return found


def id_of(call: Call, rule: str) -> str:
    return next(str(one["id"]) for one in document(call, "list", "--state", "all")["findings"] if one["rule"] == rule)


def test_before_a_scan_there_is_nothing_to_say_and_that_is_no_pass(call: Call) -> None:
    code, out, err = call("findings")
    assert (code, out) == (1, "")
    assert "Begin with: openbell scan" in err


def test_a_run_says_what_is_new_and_the_list_what_is_open(call: Call) -> None:
    code, _, err = call("run")
    assert code == 0
    assert "3 new findings in main:\n" in err
    code, out, _ = call("findings")
    assert code == 1
    lines = out.splitlines()
    assert lines[0] == "main: 3 findings"
    assert [line.split()[1:4] for line in lines[1:4]] == [
        ["critical", "eval", "b.txt:1"], ["high", "exec", "b.txt:2"], ["low", "assert", "b.txt:3"],
    ]  # fmt: skip
    assert "(due " in lines[2]
    assert lines[4].startswith("1 finding keeps releases from being deployed.")


def test_filters(call: Call) -> None:
    call("run")
    assert [one["rule"] for one in document(call, "list", "--severity", "high")["findings"]] == ["exec"]
    assert [one["rule"] for one in document(call, "due")["findings"]] == ["eval", "exec"]
    assert [one["rule"] for one in document(call, "list", "--state", "open")["findings"]] == ["assert"]
    assert document(call, "list", "--tool", "other")["findings"] == []
    assert len(document(call)["blocking"]) == 1
    assert call("findings", "list", "--branch", "develop")[0] == 1
    assert call("findings", "list", "--severity", "hihg")[0] == 2


def test_a_pull_request_fails_by_what_is_new(call: Call, project: ScratchProject) -> None:
    call("run")
    project.repository.git("switch", "--quiet", "--create", "feature/y")
    project.repository.commit("feat: y", {"c.txt": "exec(y)\n"})
    code, out, err = call("run", "--trigger", "pull-request", "--target", "main", "--json")
    assert code == 1
    assert "1 new finding beside main:" in err
    assert "1 new finding severe enough to fail this run." in err
    assert "The pull request is not to be merged." in err
    found = json.loads(out)
    assert found["outcome"] == "failure"
    assert {job["outcome"] for job in found["jobs"]} == {"success"}
    assert found["findings"]["failing"] == [found["findings"]["added"][0]["id"]]
    waived = found["findings"]["failing"][0]
    (project.root / "findings.toml").write_text(
        f'[[waivers]]\nfinding = "{waived}"\nreason = "r"\nauthor = "a"\nuntil = {SOON}\n'
    )
    assert call("run", "--trigger", "pull-request", "--target", "main")[0] == 0


def test_a_waiver_is_written_for_review_and_frees(call: Call, project: ScratchProject) -> None:
    call("run")
    critical = id_of(call, "eval")
    code, out, _ = call(
        "findings", "waive", critical[:6], "--reason", 'a "test"\\', "--until", SOON, "--by", "Ada <a@b>"
    )
    assert code == 0
    assert f"findings.toml: {critical} is lived with until {SOON}." in out
    text = (project.root / "findings.toml").read_text()
    assert "# critical eval b.txt:1 eval(x)\n[[waivers]]\n" in text
    code, out, err = call("findings")
    assert (code, err) == (0, "")
    assert f'(waived until {SOON} by Ada <a@b>: a "test"\\)' in out
    assert "is waived until" in call("findings", "waive", critical, "--reason", "r", "--until", SOON)[2]
    assert call("findings", "waive", id_of(call, "exec"), "--reason", "r", "--until", SOON)[0] == 0
    assert (project.root / "findings.toml").read_text().startswith(text.rstrip())
    assert [one["standing"] for one in document(call)["findings"]] == ["waived", "waived", "open"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["waive"], "which finding?"),
        (["show", "zzzz"], "there is no finding zzzz in main."),
        (["show", "a"], "there is no finding a in main."),
        (["waive", "ID", "--until", SOON], "why? Say it with --reason"),
        (["waive", "ID", "--reason", "r"], 'until = "": name the last day'),
        (["waive", "ID", "--reason", "r", "--until", "tomorrow"], 'until = "tomorrow": name the last day'),
        (["waive", "ID", "--reason", "r", "--until", "2020-01-01"], "until = 2020-01-01: must be"),
        (["waive", "ID", "--reason", "r", "--until", "9999-12-31"], "For ever is no decision."),
    ],
)
def test_what_makes_no_sense_is_refused(call: Call, arguments: list[str], message: str) -> None:
    call("run")
    named = [id_of(call, "eval") if argument == "ID" else argument for argument in arguments]
    code, out, err = call("findings", *named)
    assert (code, out) == (2, "")
    assert message in err
    assert not Path("findings.toml").exists()


def test_waivers_that_do_not_count_are_told(call: Call, project: ScratchProject) -> None:
    call("run")
    rest = 'reason = "r"\nauthor = "a"\n'
    (project.root / "findings.toml").write_text(
        f'[[waivers]]\nrule = "eval"\n{rest}until = 2020-01-01\n[[waivers]]\nrule = "S1"\n{rest}until = {SOON}\n'
    )
    code, _, err = call("findings")
    assert code == 1
    assert err.splitlines() == [
        "findings.toml:1: the waiver of eval ended on 2020-01-01 and counts no more.",
        "findings.toml:6: the waiver of S1 is for nothing that is open. Remove it.",
    ]
    assert [one["place"] for one in document(call)["lapsed_waivers"]] == ["findings.toml:1", "findings.toml:6"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[waivers]]\nrule = 3\n", "rule: expected text, found 3"),
        ('[[waivers]]\nrul = "x"\n', 'unknown key "rul" in [waivers.0]. Did you mean "rule"?'),
        ('[[waivers]]\nrule = "x"\nreason = "r"\nauthor = "a"\nuntil = "soon"\n', "expected a day, such as 2027-01-31"),
        ('[[waivers]]\nreason = "r"\nauthor = "a"\nuntil = 2027-01-31\n', "a waiver names what it is for"),
        ("nonsense\n", "findings.toml:1:"),
    ],
)
def test_a_wrong_file_of_waivers_is_refused_with_its_line(
    call: Call, project: ScratchProject, text: str, message: str
) -> None:
    (project.root / "findings.toml").write_text(text)
    for command in (["findings"], ["run"], ["scan"], ["check"]):
        code, _, err = call(*command)
        assert code == 2, command
        assert message in err
        assert "Nothing was run." in err
    assert not (project.root / ".openbell/findings.sqlite").exists()


def test_one_finding_is_shown_with_its_history(call: Call, project: ScratchProject) -> None:
    call("run")
    id_ = id_of(call, "exec")
    project.repository.commit("fix: x", {"b.txt": "eval(x)\n"})
    call("run")
    project.repository.commit("feat: x", {"b.txt": "eval(x)\nexec(x)\n"})
    call("run")
    code, out, _ = call("findings", "show", id_)
    assert code == 0
    assert [line.split()[1] for line in out.splitlines() if "commit" in line] == ["new", "fixed", "reopened", "seen"]
    shown = document(call, "show", id_)
    assert [event["kind"] for event in shown["history"]] == ["new", "fixed", "reopened"]
    assert shown["findings"][0]["reopened"] == 1


def test_findings_leave_as_sarif_with_their_suppressions(call: Call, project: ScratchProject) -> None:
    call("run")
    call("findings", "waive", id_of(call, "eval"), "--reason", "test", "--until", SOON, "--by", "Ada")
    call("findings", "list", "--state", "all", "--sarif", "build/out.sarif")
    (run,) = json.loads((project.root / "build/out.sarif").read_text())["runs"]
    assert run["tool"]["driver"]["name"] == "sast"
    assert [len(result["suppressions"]) for result in run["results"]] == [1, 0, 0]
    assert run["results"][0]["suppressions"][0]["justification"] == f"until {SOON}: test (Ada)"
    assert {result["baselineState"] for result in run["results"]} == {"new"}


def test_a_deployment_is_refused_in_words(call: Call, project: ScratchProject) -> None:
    service = '[services.api]\nprotocol = "http"\nrun = "true"\n[environments.staging]\nbranch = "main"\n'
    project.repository.commit("feat: env", {"openbell.toml": SCANNED + service})
    code, out, _ = call("run", "--json")
    assert code == 1
    found = json.loads(out)
    (deployment,) = found["deployments"]
    assert Ledger(project.open().state.findings).has_release(found["release"]), "a release is judged by its own run"
    assert deployment["outcome"] == "failed"
    code, _, err = call("deploy", "staging")
    assert code == 1
    assert "staging is blocked by 1 finding of main:" in err
    assert f"openbell findings waive {id_of(call, 'eval')} --reason WHY --until DAY" in err
