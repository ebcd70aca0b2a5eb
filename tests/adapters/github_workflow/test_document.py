"""The documents: what they may do, what they must not say, and that tools which look for faults find none."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openbell.adapters.github_workflow import document
from openbell.adapters.github_workflow.pins import PINS
from openbell.adapters.github_workflow.yaml import write
from openbell.adapters.toml import load
from openbell.core.project import Project
from openbell.core.workflow import workflows
from tests.adapters.github_workflow.test_yaml import read
from tests.core.test_workflow import FEATURES, project

ROOT = Path(__file__).parents[3]
PLACE = document.Place("sub dir/näme", has_python=True, has_go=True, languages=("python", "go", "actions"))
EXPRESSION = re.compile(r"\$\{\{.*?\}\}", re.DOTALL)
NASTY = (
    "a b",
    "it's",
    'say "hi"',
    "${{ github.token }}",
    "ü🦀",
    "a: b # c",
    "- x",
    "$(id)",
    "`id`",
    "%",
    "a\\",
    "*",
    "~",
)


def files(one: Project, place: document.Place = PLACE) -> dict[str, str]:
    """Write all documents of a project."""
    written = {f"{found.kind}.yml": write(document.workflow(found, one, place)) for found in workflows(one)}
    written["prepare/action.yml"] = write(document.prepare_action(one, place))
    written["finish/action.yml"] = write(document.finish_action())
    return {**written, "codeql.yml": write(document.code_scan(one, place))}


def odd() -> Project:
    return project(
        project={"name": '${{ evil }} "it\'s" ü'},
        jobs={
            **FEATURES["jobs"],
            "1.job": {"stage": "quality", "run": "x", "matrix": {"a": list(NASTY)}, "reports": {"sarif": "a 'b.sarif"}},
            "Lint": {"stage": "quality", "run": "x"},
            "many": {"stage": "test", "run": "x", "matrix": {"n": [str(n) for n in range(256)]}},
            "verdict": {"stage": "quality", "run": "x"},
        },
        branches={"build": ["it's/*", "${{ x }}", "rel-[0-9]*", "a?b"], "tags": ["v*.*.*", "*+x"]},
        workflows={"install": "echo 'a'\necho \"b\"", "runs_on": ["self-hosted"]},
    )


def engine() -> Project:
    return load([ROOT / "engine" / "openbell.toml"], relative_to=ROOT).project


def go_service() -> Project:
    return load([ROOT / "examples" / "go-service" / "openbell.toml"], relative_to=ROOT).project


PROJECTS = {"features": project, "odd": odd, "engine": engine, "go-service": go_service}


def steps(text: str) -> Iterator[dict[str, Any]]:
    found = read(text)
    for job in found.get("jobs", {"": found.get("runs", {})}).values():
        yield from job["steps"]


@pytest.mark.parametrize("name", PROJECTS)
def test_nothing_of_an_event_or_a_user_is_in_a_script(name: str) -> None:
    for text in files(PROJECTS[name]()).values():
        assert "github.event." not in text.replace("github.event.repository.default_branch", "")
        for step in steps(text):
            assert "${{" not in step.get("run", "")
            elsewhere = {key: value for key, value in step.items() if key != "env"}
            elsewhere.get("with", {}).pop("coverage-token", None)
            assert "${{ secrets." not in str(elsewhere)


@pytest.mark.parametrize("name", PROJECTS)
def test_permissions_are_the_least(name: str) -> None:
    for path, text in files(PROJECTS[name]()).items():
        if "jobs" not in (found := read(text)):
            continue
        assert found["permissions"] == {}
        for job_id, job in found["jobs"].items():
            allowed = {"contents": "read"} | ({"security-events": "write"} if "findings" in text else {})
            assert job["permissions"].items() <= {**allowed, "security-events": "write"}.items(), (path, job_id)
            if "security-events" in job["permissions"]:
                assert path == "codeql.yml" or any("findings" in step.get("with", {}) for step in job["steps"])
            assert "timeout-minutes" in job


@pytest.mark.parametrize("name", PROJECTS)
def test_every_action_is_pinned_and_no_credential_stays(name: str) -> None:
    commits = {f"{pin.commit} # {pin.release}" for pin in PINS}
    for text in files(PROJECTS[name]()).values():
        for line in re.findall(r"uses: (.*)", text):
            assert line.startswith("./.github/actions/openbell") or line.partition("@")[2] in commits
        for step in steps(text):
            if "actions/checkout" in step.get("uses", ""):
                assert step["with"]["persist-credentials"] is False
    assert all(re.fullmatch("[0-9a-f]{40}", pin.commit) for pin in PINS)


def test_a_pull_request_gets_no_cache_to_write_and_a_release_none_to_read() -> None:
    written = files(project())
    for path, keeps, reuses in (
        ("pull-request.yml", False, True),
        ("branches.yml", True, True),
        ("tags.yml", False, False),
    ):
        finishing = [step["with"] for step in steps(written[path]) if "finish" in step.get("uses", "")]
        assert any("key" in given for given in finishing) is keeps
        preparing = [step["with"] for step in steps(written[path]) if "prepare" in step.get("uses", "")]
        assert any(given["reuse"] is True for given in preparing) is reuses


def test_deployments_wait_for_the_verdict_one_after_the_other() -> None:
    jobs = read(files(project())["branches.yml"])["jobs"]
    staging = jobs["deploy-staging"]
    assert staging["needs"] == ["verdict"]
    assert "github.ref_name == 'develop'" in staging["if"]
    assert staging["environment"] == {"name": "staging", "url": "https://staging.example"}
    assert staging["concurrency"]["cancel-in-progress"] is False
    assert staging["runs-on"] == "self-hosted"
    assert jobs["verdict"]["needs"] == ["lint", "unit", "sum", "bundle"]
    assert read(files(project())["pull-request.yml"])["concurrency"]["cancel-in-progress"] is True


def test_findings_are_compared_with_the_ledger_of_the_branch_they_would_go_to() -> None:
    written = files(project())
    fetch, keep = "Fetch the ledger of findings", "Keep the ledger of findings"
    named = {path: [step.get("name") for step in steps(text)] for path, text in written.items() if "jobs:" in text}
    assert {path for path, steps_of in named.items() if fetch in steps_of} == {
        "pull-request.yml", "branches.yml", "nightly.yml"
    }  # fmt: skip
    assert {path for path, steps_of in named.items() if keep in steps_of} == {"branches.yml", "nightly.yml"}
    kept = next(step for step in steps(written["branches.yml"]) if step.get("name") == keep)
    assert kept["if"].startswith("${{ !cancelled() && (github.ref_name == 'main' || ")
    assert "openbell findings due" in written["nightly.yml"]
    plain = {**FEATURES["jobs"], "lint": {"stage": "quality", "run": "x"}}
    assert "ledger" not in files(project(jobs=plain))["branches.yml"]


def test_job_ids_are_githubs_and_differ_by_more_than_capitals() -> None:
    jobs = read(files(odd())["branches.yml"])["jobs"]
    assert {"_1-job", "Lint_", "lint", "verdict", "verdict_", "many"} <= set(jobs)
    assert len({job_id.lower() for job_id in jobs}) == len(jobs)
    assert all(set(job.get("needs", ())) <= set(jobs) for job in jobs.values())
    assert len(jobs["many"]["strategy"]["matrix"]["include"]) == 256


def filled(text: str, matrix: dict[str, str]) -> str:
    """Fill in what a machine would, of the few expressions that stand for texts of users."""

    def value(match: re.Match[str]) -> str:
        inner = match[0][3:-2].strip()
        return inner[1:-1].replace("''", "'") if inner.startswith("'") else matrix[inner.removeprefix("matrix.")]

    return EXPRESSION.sub(value, text)


@given(
    axis=st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=3, unique=True),
    ref=st.text("ab/*$ {}'\"\n:#-", min_size=1, max_size=10),
    label=st.sampled_from(NASTY),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_texts_of_users_reach_their_place_and_nothing_else(axis: list[str], ref: str, label: str) -> None:
    one = project(
        jobs={"unit": {"stage": "test", "run": "x", "matrix": {"a": axis}}, "b": {"stage": "build", "run": "x"}},
        environments={"staging": {"branch": ref, "url": label}},
        workflows={"runs_on": [label]},
    )
    found = read(files(one)["branches.yml"])
    assert set(found["jobs"]) == {"unit", "b", "verdict", "deploy-staging"}
    unit = found["jobs"]["unit"]
    legs = unit["strategy"]["matrix"]["include"]
    for value, leg in zip(axis, legs, strict=True):
        plain = {key: filled(text, {}) for key, text in leg.items()}
        assert plain["id"] == f"unit (a={value})"
        assert filled(unit["steps"][2]["env"]["JOB"], plain) == f"unit (a={value})"
        assert filled(unit["name"], plain) == f"unit ({value})"
    assert filled(unit["runs-on"], {}) == label
    assert filled(found["jobs"]["deploy-staging"]["environment"]["url"], {}) == label
    assert {key for job in found["jobs"].values() for key in job} <= {
        "name", "needs", "if", "strategy", "runs-on", "timeout-minutes", "permissions", "steps", "environment",
        "concurrency",
    }  # fmt: skip


def lay_out(written: dict[str, str], top: Path, infix: str) -> None:
    for path, text in written.items():
        folder = top / ".github" / ("actions" if "/" in path else "workflows")
        file = folder / (f"openbell{infix}-{path}" if "/" in path else path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


@pytest.mark.slow
@pytest.mark.parametrize("name", PROJECTS)
def test_actionlint_finds_nothing(name: str, tmp_path: Path) -> None:
    program = shutil.which("actionlint")
    if program is None:
        pytest.skip("actionlint is not installed")
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    lay_out(files(PROJECTS[name]()), tmp_path, PLACE.infix)
    done = subprocess.run([program, "-no-color"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("", 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", PROJECTS)
def test_zizmor_finds_nothing(name: str, tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("zizmor")
    if not program.exists():
        pytest.skip("zizmor is not installed")
    lay_out(files(PROJECTS[name]()), tmp_path, PLACE.infix)
    command = [str(program), "--offline", "--no-progress", "--format", "json", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert msgspec.json.decode(done.stdout) == []
    (tmp_path / ".github/workflows/bad.yml").write_text(
        "on: pull_request_target\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: 'echo ${{ github.head_ref }}'}]}}\n"
    )
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0


@pytest.mark.slow
def test_the_workflows_of_this_repository_are_sound() -> None:
    workflows_here = [str(path) for path in sorted((ROOT / ".github" / "workflows").glob("*.yml"))]
    assert any(path.endswith("ci.yml") for path in workflows_here)
    zizmor = str(Path(sys.executable).with_name("zizmor"))
    commands = [["actionlint", "-no-color", *workflows_here], [zizmor, "--offline", "--quiet", str(ROOT / ".github")]]
    for command in (command for command in commands if shutil.which(command[0])):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    pins = {f"{pin.repository}@{pin.commit} # {pin.release}" for pin in PINS}
    assert set(re.findall(r"uses: (.*)", (ROOT / ".github/workflows/ci.yml").read_text())) <= pins


def test_yaml_of_githubs_own_shape() -> None:
    text = files(project())["pull-request.yml"]
    assert "\non:\n  pull_request:\n" in text
    assert yaml.safe_load(text)["jobs"]["unit"]["strategy"]["fail-fast"] is True
