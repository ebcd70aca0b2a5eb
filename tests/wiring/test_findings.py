"""Runs and the ledger: what is taken in, what is only compared, what fails a change, what keeps a deployment back."""

import asyncio
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from openbell.adapters.ledger import Ledger
from openbell.adapters.sqlite import SqliteJournal
from openbell.core.findings_documents import RunFindings, day
from openbell.ports import AdapterError
from openbell.wiring import findings, pipeline
from openbell.wiring.pipeline import RunRequest
from openbell.wiring.releases import ReleaseBuilt
from openbell.wiring.rollouts import JournalNotifier
from tests.fakes.observers import Silent
from tests.fakes.projects import ScratchProject, isolate
from tests.fakes.scanners import SCANNED, SCANNER, sarif

CRITICAL, HIGH, LOW = "eval(x)\n", "exec(x)\n", "assert x\n"


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)


@pytest.fixture
def project(tmp_path: Path) -> ScratchProject:
    made = ScratchProject(tmp_path / "p", SCANNED, branch="main")
    made.repository.commit("feat: scanner", {"scan.py": SCANNER})
    return made


async def run(project: ScratchProject, **request: Any) -> RunFindings:
    prepared = pipeline.prepare(project.open(), RunRequest(**request))
    end = await pipeline.execute(prepared, Silent(), cancel=asyncio.Event())
    return findings.assess(prepared, end.results).document


def rules(found: RunFindings) -> list[str]:
    return [one.rule for one in found.added]


async def test_a_run_of_a_branch_that_is_built_is_taken_into_its_ledger(project: ScratchProject) -> None:
    project.repository.commit("feat: x", {"b.txt": HIGH + LOW})
    found = await run(project)
    assert (found.branch, found.recorded, rules(found), found.failing) == ("main", True, ["exec", "assert"], ())
    assert [one.standing for one in found.added] == ["due", "open"]
    again = await run(project)
    assert (again.added, again.fixed, again.open) == ((), 0, {"high": 1, "low": 1})
    project.repository.commit("fix: x", {"b.txt": "\n\n" + LOW})
    fixed = await run(project)
    assert (fixed.added, fixed.fixed, fixed.open) == ((), 1, {"low": 1})


async def test_a_change_answers_for_what_it_brings_and_for_nothing_else(project: ScratchProject) -> None:
    project.repository.commit("feat: x", {"b.txt": HIGH})
    await run(project)
    project.repository.git("switch", "--quiet", "--create", "feature/y")
    project.repository.commit("feat: y", {"b.txt": "moved\n" + HIGH, "c.txt": LOW})
    known = await run(project, kind="pull-request", target="main")
    assert (known.branch, known.recorded, rules(known), known.failing) == ("main", False, ["assert"], ())
    project.repository.commit("feat: z", {"d.txt": "exec(y)\n"})
    for request in ({"kind": "pull-request", "target": "main"}, {"kind": "push"}, {}):
        found = await run(project, **request)
        assert rules(found) == ["exec", "assert"]
        assert found.failing == (found.added[0].id,)
        assert found.added[0].path == "d.txt"
    assert (await run(project, kind="schedule")).failing == ()
    assert Ledger(project.open().state.findings).branches() == ("main",)


async def test_changes_in_the_tree_are_compared_and_not_taken_in(project: ScratchProject) -> None:
    await run(project)
    project.repository.write({"b.txt": CRITICAL})
    found = await run(project)
    assert (found.branch, found.recorded, found.compared, len(found.failing)) == ("main", False, True, 1)
    assert Ledger(project.open().state.findings).entries("main") == {}


async def test_without_a_ledger_everything_is_new(project: ScratchProject) -> None:
    project.repository.git("switch", "--quiet", "--create", "feature/y")
    project.repository.commit("feat: y", {"b.txt": HIGH})
    found = await run(project, kind="pull-request", target="main")
    assert (found.compared, len(found.failing)) == (False, 1)


async def test_what_is_waived_fails_nothing(project: ScratchProject) -> None:
    await run(project)
    project.repository.git("switch", "--quiet", "--create", "feature/y")
    waiver = '[[waivers]]\nrule = "exec"\npath = "b.*"\nreason = "test"\nauthor = "Ada"\nuntil = {}\n'
    project.repository.commit("feat: y", {"b.txt": HIGH, "findings.toml": waiver.format("2020-01-01")})
    assert len((await run(project, kind="pull-request", target="main")).failing) == 1
    until = day(time.time() + 86_400)
    project.repository.commit("feat: y", {"findings.toml": waiver.format(until)})
    assert (await run(project, kind="pull-request", target="main")).failing == ()


async def test_an_older_commit_opens_nothing_again(project: ScratchProject) -> None:
    project.repository.commit("feat: x", {"b.txt": HIGH})
    await run(project)
    project.repository.git("branch", "develop")
    project.repository.commit("fix: x", {"b.txt": "fine\n"})
    assert (await run(project)).fixed == 1
    project.repository.git("reset", "--quiet", "--hard", "HEAD~1")
    found = await run(project)
    assert (found.recorded, found.failing) == (False, ())
    assert found.note == "main has been scanned at a later commit, so its ledger stays as it is."
    assert not [e for e in Ledger(project.open().state.findings).entries("main").values() if e.is_open]


async def test_a_job_that_failed_or_could_not_check_fixes_nothing(project: ScratchProject) -> None:
    project.repository.commit("feat: x", {"b.txt": HIGH})
    await run(project)
    broken = SCANNED.replace("*.txt", "*.txt; exit 3").replace("python3", ": || python3")
    unchecked = SCANNED.replace("python3 scan.py", "exit 75; python3").replace(
        "= [1]", "= [1]\nnot_checked_exit_codes = [75]"
    )
    for configuration in (broken, unchecked):
        project.repository.commit("ci: x", {"openbell.toml": configuration, "b.txt": "fine\n"})
        found = await run(project)
        assert (found.recorded, found.fixed, found.open) == (True, 0, {"high": 1})
    last, *_ = Ledger(project.open().state.findings).jobs("main")
    assert (last.job, last.outcome) == ("sast", "not-checked")
    assert last.looked_at_s is not None
    assert last.looked_at_s < last.at_s


async def test_one_leg_of_a_matrix_is_not_the_job(project: ScratchProject) -> None:
    legs = SCANNED.replace("[jobs.bundle]", 'matrix = { part = ["b", "c"] }\n[jobs.bundle]').replace(
        "*.txt", "{part}.txt"
    )
    project.repository.commit("feat: x", {"openbell.toml": legs, "b.txt": HIGH, "c.txt": HIGH})
    assert rules(await run(project)) == ["exec", "exec"]
    project.repository.commit("fix: x", {"b.txt": "fine\n", "c.txt": "fine\n"})
    assert (await run(project, jobs=("sast (part=b)",))).fixed == 0
    assert (await run(project)).fixed == 2


async def test_people_are_told_once_of_what_is_severe(project: ScratchProject) -> None:
    project.repository.commit("feat: x", {"b.txt": CRITICAL + HIGH + LOW})
    prepared = pipeline.prepare(project.open(), RunRequest())
    end = await pipeline.execute(prepared, Silent(), cancel=asyncio.Event())
    place = prepared.place
    async with SqliteJournal(place.state.journal) as journal:
        assert findings.assess(prepared, end.results).tell_about == "main"
        # A crash before people were told: the next run finds nothing new, and tells them.
        assert findings.assess(prepared, end.results).tell_about == "main"
        await findings.tell(place, "main", JournalNotifier(journal))
        assert findings.assess(prepared, end.results).tell_about == ""
        told = [(r.kind, msgspec.json.decode(r.payload)["subject"]) for r in await journal.read("notices")]
    assert told == [
        ("urgent", "critical finding in main: eval b.txt:1: deployments are blocked"),
        ("notice", "high finding in main: exec b.txt:2"),
    ]


# ------------------------------------------------------------------------------------------------------ deployments


def built(project: ScratchProject, ref: str = "main") -> ReleaseBuilt:
    commit = project.repository.git("rev-parse", ref)
    return ReleaseBuilt("sha256:0", commit, ref, None, "v1", "Ada", "r")


async def test_an_open_critical_finding_keeps_releases_back_until_it_is_fixed(project: ScratchProject) -> None:
    place = project.open()
    assert findings.refusal(place, "production", built(project)) is None
    project.repository.commit("feat: x", {"b.txt": CRITICAL + HIGH})
    await run(project)
    told = findings.refusal(place, "production", built(project)) or ""
    assert told.startswith("production is blocked by 1 finding of main:\n")
    assert "critical  eval  b.txt:1  eval(x)" in told
    assert "openbell findings waive " in told
    project.repository.commit("fix: x", {"b.txt": HIGH})
    await run(project)
    assert findings.refusal(place, "production", built(project)) is None


async def test_what_is_overdue_keeps_releases_back_and_a_waiver_frees_them(
    project: ScratchProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.repository.commit("feat: x", {"b.txt": HIGH})
    await run(project)
    later_s = time.time() + 8 * 86_400
    monkeypatch.setattr("openbell.wiring.findings.time.time", lambda: later_s)
    told = findings.refusal(project.open(), "production", built(project)) or ""
    assert f"(was due {day(later_s - 86_400)})" in told
    waiver = '[[waivers]]\nrule = "exec"\nreason = "test"\nauthor = "Ada"\nuntil = {}\n'
    project.repository.write({"findings.toml": waiver.format(day(later_s))})
    assert findings.refusal(project.open(), "production", built(project)) is None


async def test_a_tag_is_judged_by_the_branch_that_has_its_commit(project: ScratchProject) -> None:
    await run(project)
    project.repository.git("switch", "--quiet", "--create", "develop")
    project.repository.commit("feat: x", {"b.txt": CRITICAL})
    project.repository.git("tag", "v1.0.0")
    await run(project)
    place, known = project.open(), ("develop", "main")
    assert findings.branch_of(place, built(project, "v1.0.0"), known) == "develop"
    assert findings.branch_of(place, built(project, "main"), known) == "main"
    assert findings.refusal(place, "production", built(project, "main")) is None
    assert findings.refusal(place, "production", built(project, "v1.0.0")) is not None


async def test_a_ledger_that_cannot_be_read_says_so(project: ScratchProject) -> None:
    place = project.open()
    place.state.make()
    place.state.findings.write_text("no database " * 100)
    with pytest.raises(AdapterError, match=r"is damaged .* openbell scan"):
        await run(project)
    with pytest.raises(AdapterError, match="is damaged"):
        findings.refusal(place, "production", built(project))


async def evidence(project: ScratchProject, digest: str) -> ReleaseBuilt:
    """Run what is checked out, and keep what was said with a release, as a run does that builds one."""
    prepared = pipeline.prepare(project.open(), RunRequest())
    end = await pipeline.execute(prepared, Silent(), cancel=asyncio.Event())
    findings.keep_evidence(prepared, findings.assess(prepared, end.results).scan, digest)
    return msgspec.structs.replace(built(project, "HEAD"), digest=digest)


async def test_a_release_is_judged_by_what_is_in_it(project: ScratchProject) -> None:
    project.repository.commit("feat: x", {"b.txt": CRITICAL})
    old = await evidence(project, "sha256:old")
    project.repository.git("switch", "--quiet", "--create", "hotfix/x")
    project.repository.commit("fix: x", {"b.txt": "fine\n"})
    hotfix = await evidence(project, "sha256:hotfix")
    place = project.open()
    assert findings.refusal(place, "production", hotfix) is None, "main has it still, and this release does not"
    assert findings.refusal(place, "production", old) is not None
    project.repository.git("switch", "--quiet", "main")
    project.repository.git("merge", "--quiet", "hotfix/x")
    await run(project)
    assert "b.txt:1" in (findings.refusal(place, "production", old) or ""), "main is rid of it, and this release is not"
    assert findings.refusal(place, "production", hotfix) is None


async def test_what_a_database_says_later_holds_for_releases_that_were_built_before(
    project: ScratchProject, tmp_path: Path
) -> None:
    audit = '[jobs.audit]\nstage = "quality"\nrun = "cp {} {{out}}/a"\nreports = {{ sarif = "a" }}\ncache_s = 60\n'
    (tmp_path / "database").write_text(sarif())
    project.repository.commit("ci: audit", {"openbell.toml": SCANNED + audit.format(tmp_path / "database")})
    one = await evidence(project, "sha256:one")
    assert findings.refusal(project.open(), "production", one) is None
    (tmp_path / "database").write_text(sarif(("PYSEC-1", "9.8", "m")))
    assert rules(await run(project, kind="schedule", fresh=True)) == ["PYSEC-1"]
    assert "PYSEC-1" in (findings.refusal(project.open(), "production", one) or "")
