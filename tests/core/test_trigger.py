"""The specification's table: which trigger sets what in motion."""

import pytest

from openbell.core.project import Approval, Branches, Environment, Job, Project, ProjectInfo, Service
from openbell.core.trigger import Plan, RefKind, Trigger, plan

JOBS = {
    "lint": Job(stage="quality", run="lint"),
    "unit": Job(stage="test", run="test"),
    "benchmark": Job(stage="test", run="bench", on=("pull-request",)),
    "nightly": Job(stage="test", run="soak", on=("schedule",)),
    "bundle": Job(stage="build", run="build"),
    "smoke": Job(stage="smoke", run="smoke"),
    "load": Job(stage="load", run="load"),
}
PROJECT = Project(
    project=ProjectInfo(name="engine"),
    jobs=JOBS,
    services={"api": Service(protocol="http", run="api {port}")},
    environments={
        "staging": Environment(branch="develop", smoke="smoke", after=("load",)),
        "production": Environment(tag="v*.*.*", strategy="blue-green", approval=Approval(by=("a@example.org",))),
    },
)
CHECKED = ("quality", "test")
BUILT = ("quality", "test", "build")


def planned(kind: str, ref: str, ref_kind: RefKind = "branch") -> Plan:
    return plan(PROJECT, Trigger(kind, ref, ref_kind))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "ref", "ref_kind", "stages", "environments"),
    [
        ("push", "feature/x", "branch", CHECKED, ()),
        ("push", "hotfix/x", "branch", CHECKED, ()),
        ("push", "anything", "branch", CHECKED, ()),
        ("push", "main", "branch", BUILT, ()),
        ("push", "staging", "branch", BUILT, ()),
        ("push", "develop", "branch", BUILT, ("staging",)),
        ("push", "develop/x", "branch", CHECKED, ()),
        ("push", "v1.2.3", "branch", CHECKED, ()),
        ("push", "3f9d2c1", "commit", CHECKED, ()),
        ("pull-request", "develop", "branch", CHECKED, ()),
        ("pull-request", "feature/x", "branch", CHECKED, ()),
        ("tag", "v1.2.3", "tag", BUILT, ("production",)),
        ("tag", "v1.2.3-rc1", "tag", CHECKED, ()),
        ("tag", "v1.2", "tag", CHECKED, ()),
        ("tag", "main", "tag", CHECKED, ()),
        ("schedule", "main", "branch", CHECKED, ()),
        ("person", "develop", "branch", BUILT, ("staging",)),
        ("person", "main", "branch", BUILT, ()),
        ("person", "feature/x", "branch", CHECKED, ()),
        ("person", "v1.2.3", "tag", BUILT, ("production",)),
        ("person", "3f9d2c1", "commit", CHECKED, ()),
    ],
)
def test_table(kind: str, ref: str, ref_kind: RefKind, stages: tuple[str, ...], environments: tuple[str, ...]) -> None:
    found = planned(kind, ref, ref_kind)
    assert found.stages == stages
    assert found.environments == environments
    assert found.releases == ("build" in stages)
    assert {reason.name for reason in found.because} >= set(environments)


@pytest.mark.parametrize(
    ("kind", "jobs"),
    [
        ("push", ("lint", "unit")),
        ("pull-request", ("lint", "unit", "benchmark")),
        ("schedule", ("lint", "nightly")),
        ("person", ("lint", "unit")),
    ],
)
def test_jobs_that_are_for_a_trigger(kind: str, jobs: tuple[str, ...]) -> None:
    assert planned(kind, "feature/x").jobs == jobs


def test_only_a_pull_request_blocks_a_merge() -> None:
    assert planned("pull-request", "feature/x").blocks_merge
    assert not planned("push", "feature/x").blocks_merge


def test_what_stays_out_is_said_with_its_reason() -> None:
    found = {reason.name: reason.text for reason in planned("push", "develop").excluded}
    assert found == {
        "benchmark": "only pull requests",
        "nightly": "only schedules",
        "deploy production": "only tags v*.*.*",
    }
    found = {reason.name: reason.text for reason in planned("push", "feature/x").excluded}
    assert found["build"] == "only branches main, develop, staging"
    assert found["deploy staging"] == "only branch develop"
    assert {reason.text for reason in planned("pull-request", "x").excluded if reason.name == "build"} == {
        "a pull request is not built"
    }


def test_an_environment_without_branch_and_tag_is_deployed_by_hand() -> None:
    project = Project(project=PROJECT.project, jobs=JOBS, environments={"lab": Environment()})
    found = plan(project, Trigger("push", "develop"))
    assert found.environments == ()
    assert ("deploy lab", "only by hand: openbell deploy") in [(r.name, r.text) for r in found.excluded]


def test_a_branch_of_an_environment_is_built_even_when_it_is_not_listed() -> None:
    environments = {"lab": Environment(branch="lab/*")}
    project = Project(project=PROJECT.project, branches=Branches(build=()), jobs=JOBS, environments=environments)
    found = plan(project, Trigger("push", "lab/1"))
    assert found.stages == BUILT
    assert found.environments == ("lab",)
    assert {reason.name: reason.text for reason in found.because}["build"] == "lab needs a release"


def test_jobs_bring_what_they_need_by_name() -> None:
    jobs = {**JOBS, "audit": Job(stage="test", run="audit", on=("schedule",), needs=("unit",))}
    found = plan(Project(project=PROJECT.project, jobs=jobs), Trigger("schedule", "main"))
    assert found.jobs == ("lint", "unit", "nightly", "audit")


def test_a_build_job_for_pull_requests_builds_without_releasing() -> None:
    jobs = {**JOBS, "image": Job(stage="build", run="build", on=("pull-request",))}
    found = plan(Project(project=PROJECT.project, jobs=jobs), Trigger("pull-request", "feature/x"))
    assert found.stages == BUILT
    assert "image" in found.jobs
    assert "bundle" not in found.jobs
    assert not found.releases


def test_jobs_for_a_person_run_for_a_person_only() -> None:
    jobs = {**JOBS, "explore": Job(stage="test", run="explore", on=("person",))}
    project = Project(project=PROJECT.project, jobs=jobs)
    assert "explore" in plan(project, Trigger("person", "feature/x")).jobs
    assert "explore" not in plan(project, Trigger("push", "feature/x")).jobs


@pytest.mark.parametrize("kind", ["push", "pull-request", "tag", "schedule", "person"])
def test_every_trigger_has_words(kind: str) -> None:
    assert "develop" in planned(kind, "develop").trigger.words
    assert Trigger("pull-request", "a", "branch", "main").words == "pull request of a to main"
