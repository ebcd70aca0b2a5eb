"""Runs of real small projects: what is executed, what is reused and why, what becomes a release."""

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from openbell.adapters.sqlite import SqliteJournal
from openbell.adapters.store import Store
from openbell.core.pipeline import JobResult
from openbell.core.release import Release
from openbell.ports import AdapterError
from openbell.wiring import pipeline, releases, run_history
from openbell.wiring.pipeline import PreparedRun, RunRequest, UsageError
from tests.fakes.observers import Silent
from tests.fakes.projects import QUICK, ScratchProject, isolate


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)


@pytest.fixture
def make(tmp_path: Path) -> Callable[[str], ScratchProject]:
    return lambda configuration: ScratchProject(tmp_path / "p", configuration)


@pytest.fixture
def quick(make: Callable[[str], ScratchProject]) -> ScratchProject:
    return make(QUICK)


async def run(project: ScratchProject, request: RunRequest | None = None) -> tuple[PreparedRun, dict[str, JobResult]]:
    prepared = pipeline.prepare(project.open(), request or RunRequest())
    end = await pipeline.execute(prepared, Silent(), cancel=asyncio.Event())
    return prepared, {result.id: result for result in end.results}


def outcomes(results: dict[str, JobResult]) -> dict[str, str]:
    return {id_: result.outcome for id_, result in results.items()}


def prepare(project: ScratchProject, request: RunRequest | None = None) -> PreparedRun:
    return pipeline.prepare(project.open(), request or RunRequest())


async def test_the_second_run_of_a_commit_knows_everything(quick: ScratchProject) -> None:
    first, results = await run(quick)
    assert set(outcomes(results).values()) == {"success"}
    second = prepare(quick)
    assert second.is_known
    assert {result.outcome for result in second.hits.values()} == {"cached"}
    assert {result.reason for result in second.hits.values()} == {f"same fingerprint as run {first.workplace.run}"}


def test_only_its_owner_sees_the_state(quick: ScratchProject) -> None:
    prepared = prepare(quick)
    assert prepared.place.state.root.stat().st_mode & 0o777 == 0o700


def test_runs_are_their_owners_also_in_a_folder_that_was_there(
    quick: ScratchProject, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "shared").mkdir(mode=0o755)
    monkeypatch.setenv("OPENBELL_STATE", str(tmp_path / "shared"))
    folder = prepare(quick).workplace.folder
    assert [path.stat().st_mode & 0o777 for path in (folder, folder.parent)] == [0o700, 0o700]


async def test_a_commit_that_changes_no_input_runs_nothing(quick: ScratchProject) -> None:
    await run(quick)
    quick.repository.commit("docs: a word", {"README": "x"})
    assert {node.id for node in prepare(quick).graph} - set(prepare(quick).hits) == {"lint"}
    assert prepare(quick).misses == {"lint": "README is new"}


@pytest.mark.parametrize(
    ("change", "missed", "why"),
    [
        ({"a.txt": "other\n"}, {"lint", "unit (n=1)", "unit (n=2)", "bundle"}, "a.txt changed"),
        ({"openbell.toml": QUICK.replace('"cat a.txt"', '"cat ./a.txt"')}, {"lint", "unit (n=1)", "unit (n=2)"}, None),
        ({"openbell.toml": QUICK.replace('"2"]', '"3"]')}, {"lint", "unit (n=3)"}, pipeline.FIRST_TIME),
    ],
)
async def test_what_changed_runs_again_and_says_why(
    quick: ScratchProject, change: dict[str, str], missed: set[str], why: str | None
) -> None:
    await run(quick)
    quick.repository.commit("feat: change", change)
    prepared = prepare(quick)
    assert set(prepared.misses) == missed
    assert why is None or why in prepared.misses.values()


async def test_a_failure_is_never_reused(make: Callable[[str], ScratchProject], tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    project = make(f'[project]\nname = "x"\n[jobs.a]\nstage = "test"\nrun = "test -f {marker}"\n')
    assert outcomes((await run(project))[1]) == {"a": "failure"}
    marker.touch()
    assert not prepare(project).hits
    assert outcomes((await run(project))[1]) == {"a": "success"}
    assert prepare(project).is_known


async def test_what_could_not_be_checked_is_asked_again_later(make: Callable[[str], ScratchProject]) -> None:
    job = '[jobs.a]\nstage = "quality"\nrun = "echo no network; exit 75"\nnot_checked_exit_codes = [75]\n'
    project = make(f'[project]\nname = "x"\n{job}')
    first, results = await run(project)
    assert (results["a"].outcome, results["a"].reason) == ("not-checked", "no network")
    hit = prepare(project).hits["a"]
    assert hit.outcome == "not-checked", "it is shown again, and is no success"
    assert hit.reason == f"no network (asked 0 min ago in run {first.workplace.run})"
    store = Store(project.open().state.store)
    age(store, hit.fingerprint, pipeline.NOT_CHECKED_S + 60)
    assert not prepare(project).hits


def age(store: Store, fingerprint: str, seconds: float) -> None:
    """Make a kept result older."""
    file = store.root / "results" / fingerprint[:2] / fingerprint / "result.json"
    content = msgspec.json.decode(file.read_bytes())
    file.write_bytes(msgspec.json.encode({**content, "at_s": content["at_s"] - seconds}))


async def test_a_result_may_be_good_for_a_time_only(make: Callable[[str], ScratchProject]) -> None:
    project = make('[project]\nname = "x"\n[jobs.a]\nstage = "quality"\nrun = "true"\ncache_s = 3600\n')
    prepared, results = await run(project)
    assert prepare(project).is_known
    age(Store(project.open().state.store), results["a"].fingerprint, 3700)
    assert prepare(project).misses == {"a": f"the result of run {prepared.workplace.run} is too old"}


async def test_a_job_without_cache_always_runs(make: Callable[[str], ScratchProject]) -> None:
    project = make('[project]\nname = "x"\n[jobs.a]\nstage = "quality"\nrun = "true"\ncache = false\n')
    await run(project)
    assert prepare(project).misses == {"a": "never cached (cache = false)"}


async def test_no_cache_asks_for_everything_again(quick: ScratchProject) -> None:
    await run(quick)
    assert prepare(quick, RunRequest(use_cache=False)).hits == {}


async def test_a_changed_tree_is_run_as_it_is_and_never_released(quick: ScratchProject) -> None:
    quick.repository.write({"a.txt": "changed\n"})
    prepared, results = await run(quick)
    assert prepared.snapshot.dirty == ("a.txt",)
    assert run_history.read_log(prepared.place, document(prepared, results), job(prepared, results, "unit (n=1)")) == (
        "changed\n"
    )
    built, note = pipeline.build_release(prepared, tuple(results.values()))
    assert built is None
    assert "a release is built from a commit only" in note
    quick.repository.commit("feat: the same")
    assert set(prepare(quick).misses) == set(), "what was committed is what was run"


def document(prepared: PreparedRun, results: dict[str, JobResult]) -> pipeline.RunDocument:
    return pipeline.document(prepared, "success", tuple(results.values()))


def job(prepared: PreparedRun, results: dict[str, JobResult], name: str) -> pipeline.JobDocument:
    return next(entry for entry in document(prepared, results).jobs if entry.name == name)


async def test_a_tree_that_changes_while_it_is_copied_is_refused(
    quick: ScratchProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick.repository.write({"a.txt": "one\n"})
    prepared = prepare(quick)
    quick.repository.write({"a.txt": "two\n"})
    with pytest.raises(AdapterError, match="changed while it was copied"):
        await pipeline.execute(prepared, Silent(), cancel=asyncio.Event())


async def test_a_ref_is_run_without_the_working_tree(quick: ScratchProject) -> None:
    first = quick.repository.git("rev-parse", "HEAD")
    quick.repository.commit("feat: second", {"a.txt": "second\n"})
    quick.repository.write({"a.txt": "changed\n"})
    prepared, results = await run(quick, RunRequest(ref=first))
    assert prepared.snapshot.commit.id == first
    assert not prepared.snapshot.dirty
    assert run_history.read_log(prepared.place, document(prepared, results), job(prepared, results, "unit (n=1)")) == (
        "hello\n"
    )


@pytest.mark.parametrize(
    ("request_", "jobs"),
    [
        (RunRequest(stages=("test",)), ["unit (n=1)", "unit (n=2)"]),
        (RunRequest(stages=("quality", "test")), ["lint", "unit (n=1)", "unit (n=2)"]),
        (RunRequest(jobs=("unit",)), ["unit (n=1)", "unit (n=2)"]),
        (RunRequest(jobs=("unit (n=2)",)), ["unit (n=2)"]),
        (RunRequest(jobs=("unit-2", "lint")), ["lint", "unit (n=2)"]),
        (RunRequest(kind="schedule"), ["lint"]),
        (RunRequest(kind="pull-request"), ["lint", "unit (n=1)", "unit (n=2)"]),
    ],
)
def test_a_part_of_the_pipeline(quick: ScratchProject, request_: RunRequest, jobs: list[str]) -> None:
    assert [node.id for node in prepare(quick, request_).graph] == jobs


async def test_a_part_has_the_same_fingerprints_as_the_whole(quick: ScratchProject) -> None:
    await run(quick)
    assert prepare(quick, RunRequest(jobs=("bundle",))).is_known
    assert prepare(quick, RunRequest(stages=("test",))).is_known


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (RunRequest(stages=("tset",)), '"tset" is no stage of a commit; these are quality, test, build.'),
        (RunRequest(jobs=("lnit",)), 'there is no job "lnit". There are: lint, unit (n=1), unit (n=2), bundle.'),
        (RunRequest(jobs=("smoke",)), 'job "smoke" has stage "smoke": it runs when a release is deployed'),
        (RunRequest(kind="tag"), "has no tag. Name one with --ref v1.2.3."),
        (RunRequest(kind="tag", ref="develop"), '"develop" is a branch, not a tag.'),
    ],
)
def test_what_is_not_there_is_refused(
    make: Callable[[str], ScratchProject], request_: RunRequest, message: str
) -> None:
    project = make(QUICK + '[jobs.smoke]\nstage = "smoke"\nrun = "true"\n')
    with pytest.raises(UsageError) as caught:
        prepare(project, request_)
    assert message in str(caught.value)
    assert not list((project.root / ".openbell").glob("runs/*")), "nothing was begun"


def test_inputs_that_match_nothing_are_refused(make: Callable[[str], ScratchProject]) -> None:
    project = make('[project]\nname = "x"\n[jobs.a]\nstage = "test"\nrun = "true"\ninputs = ["src/**"]\n')
    with pytest.raises(UsageError, match=r"job a: its inputs \(src/\*\*\) match no file"):
        prepare(project)


async def test_a_name_that_is_no_text_does_no_harm(quick: ScratchProject) -> None:
    name = os.fsencode(quick.root) + b"/latin-\xe9.txt"
    with open(name, "wb") as stream:  # noqa: PTH123, ASYNC230 - a name that no Path has
        stream.write(b"x")
    _, results = await run(quick)
    assert set(outcomes(results).values()) == {"success"}
    quick.repository.commit("feat: a strange name")
    assert prepare(quick).is_known


async def test_the_state_folder_is_no_part_of_the_tree(quick: ScratchProject) -> None:
    await run(quick)
    assert quick.repository.git("status", "--porcelain") == ""
    assert not prepare(quick).snapshot.dirty


# --- releases


async def release_of(project: ScratchProject, request: RunRequest | None = None) -> releases.ReleaseBuilt:
    prepared, results = await run(project, request)
    built, note = pipeline.build_release(prepared, tuple(results.values()))
    assert built is not None, note
    return built


async def test_a_release_is_its_content(quick: ScratchProject) -> None:
    built = await release_of(quick)
    folder = quick.open().state.release(built.digest)
    assert (folder / "artifacts/A.txt").read_text() == "HELLO\n"
    manifest = msgspec.json.decode((folder / "manifest.json").read_bytes(), type=Release)
    assert manifest.digest == built.digest
    assert [artifact.path for artifact in manifest.artifacts] == ["A.txt"]
    evidence = msgspec.json.decode((folder / "evidence.json").read_bytes(), type=list[releases.Evidence])
    assert {entry.job: entry.outcome for entry in evidence}["lint"] == "success"
    assert (built.version, built.tag, built.author) == (built.commit[:7], None, "Ada <ada@example.org>")


async def test_building_the_same_commit_anew_gives_the_same_release(quick: ScratchProject) -> None:
    first = await release_of(quick)
    shutil.rmtree(quick.root / ".openbell")
    assert (await release_of(quick)).digest == first.digest


async def test_the_same_content_under_another_name_is_the_same_release(quick: ScratchProject) -> None:
    first = await release_of(quick)
    quick.repository.git("tag", "v1.2.3")
    second = await release_of(quick, RunRequest(kind="tag", ref="v1.2.3"))
    assert second.digest == first.digest
    assert (second.version, second.tag) == ("v1.2.3", "v1.2.3")


async def test_a_person_who_names_a_tag_builds_its_release(quick: ScratchProject) -> None:
    quick.repository.git("tag", "v1.2.3")
    quick.repository.commit("feat: later", {"a.txt": "later\n"})
    assert (await release_of(quick, RunRequest(ref="v1.2.3"))).version == "v1.2.3"


async def test_other_content_is_another_release(quick: ScratchProject) -> None:
    first = await release_of(quick)
    quick.repository.commit("feat: other", {"a.txt": "other\n"})
    assert (await release_of(quick)).digest != first.digest


async def test_the_journal_knows_each_name_of_a_release_once(quick: ScratchProject) -> None:
    built = await release_of(quick)
    state = quick.open().state
    assert not releases.is_recorded(state, built)
    await releases.record(state, built)
    assert releases.is_recorded(state, built)
    assert not releases.is_recorded(state, msgspec.structs.replace(built, ref="v1.0.0", tag="v1.0.0"))
    before = msgspec.structs.replace(built, run="another")
    assert releases.is_recorded(state, before)
    async with SqliteJournal(state.journal) as journal:
        events = [(r.kind, msgspec.json.decode(r.payload)) for r in await journal.read("releases")]
    assert [(kind, event["digest"]) for kind, event in events] == [("built", built.digest)]
    state.journal.unlink()
    assert not releases.is_recorded(state, built), "a lost journal knows no release, whatever lies beside it"


async def test_configuration_files_belong_to_the_release(make: Callable[[str], ScratchProject]) -> None:
    project = make(QUICK + '[release]\nconfig = ["config/**"]\n')
    project.repository.commit("feat: config", {"config/a.ini": "[a]\n"})
    built = await release_of(project)
    assert (project.open().state.release(built.digest) / "config/config/a.ini").read_text() == "[a]\n"
    project.repository.commit("feat: other config", {"config/a.ini": "[b]\n"})
    assert (await release_of(project)).digest != built.digest


async def test_two_jobs_may_not_write_one_file_differently(make: Callable[[str], ScratchProject]) -> None:
    project = make(QUICK + '[jobs.again]\nstage = "build"\nrun = "echo other > {out}/A.txt"\n')
    prepared, results = await run(project)
    with pytest.raises(AdapterError, match=r"bundle and again both wrote A\.txt|again and bundle both wrote A\.txt"):
        pipeline.build_release(prepared, tuple(results.values()))


async def test_a_build_that_leaves_nothing_is_no_release(make: Callable[[str], ScratchProject]) -> None:
    project = make('[project]\nname = "x"\n[jobs.a]\nstage = "build"\nrun = "true"\n')
    prepared, results = await run(project)
    with pytest.raises(AdapterError, match="the build stage left no files"):
        pipeline.build_release(prepared, tuple(results.values()))


@pytest.mark.parametrize("request_", [RunRequest(stages=("build",)), RunRequest(jobs=("bundle",))])
async def test_a_part_of_the_pipeline_is_no_release(quick: ScratchProject, request_: RunRequest) -> None:
    prepared, results = await run(quick, request_)
    built, note = pipeline.build_release(prepared, tuple(results.values()))
    assert built is None
    assert note == "No release: only a part of the pipeline ran."


async def test_old_runs_are_forgotten(quick: ScratchProject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "RUNS_KEPT", 2)
    _, results = await run(quick)
    for _ in range(4):
        prepared = prepare(quick)
        pipeline.save(prepared, document(prepared, results))
    runs = [path.name for path in (quick.root / ".openbell/runs").iterdir()]
    assert len(runs) == 2
    assert prepared.workplace.run in runs
    found = pipeline.load_run(quick.open(), "last")
    assert found is not None
    assert found.run == prepared.workplace.run
    assert pipeline.load_run(quick.open(), "nope") is None


@pytest.mark.slow
async def test_tools_that_honour_what_git_ignores_see_the_files_of_a_job(make: Callable[[str], ScratchProject]) -> None:
    """The state folder ignores all that is below it, and the copies of jobs are there: a linter would find nothing."""
    project = make('[project]\nname = "x"\n[jobs.lint]\nstage = "quality"\nrun = "ruff check --no-cache ."\n')
    project.repository.commit("feat: wrong", {"wrong.py": "print(undefined_name)\n"})
    _, results = await run(project)
    assert results["lint"].outcome == "failure"
    assert any("undefined_name" in line for line in results["lint"].last_lines)
