"""Which workflows a project has, and that they are what its triggers set in motion."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbell.core.project import Branches, Project
from openbell.core.trigger import Trigger, plan
from openbell.core.workflow import Workflow, workflows
from tests.fakes.configurations import SOUND

FEATURES: dict[str, Any] = {
    "project": {"name": "x"},
    "jobs": {
        "lint": {"stage": "quality", "run": "x", "reports": {"sarif": "a.sarif"}},
        "unit": {
            "stage": "test", "run": "x", "matrix": {"n": ["1", "2"], "os": ["a"]}, "timeout_s": 100, "retries": 2,
            "secrets": ["TOKEN"], "fail_fast": True, "cache": False,
        },
        "bench": {"stage": "test", "run": "x", "on": ["pull-request"]},
        "audit": {"stage": "quality", "run": "x", "on": ["schedule"]},
        "sum": {"stage": "test", "run": "cat {artifacts}/x", "needs": ["unit"], "reports": {"cobertura": "c.xml"}},
        "bundle": {"stage": "build", "run": "x"},
        "smoke": {"stage": "smoke", "run": "x", "secrets": ["KEY"]},
    },
    "services": {"api": {"protocol": "http", "run": "x"}},
    "environments": {
        "staging": {"branch": "develop", "smoke": "smoke", "secrets": ["DB"], "url": "https://staging.example"},
        "trial": {"branch": "trial/*"},
        "production": {"tag": "v*.*.*"},
    },
}  # fmt: skip


def project(**changes: object) -> Project:
    return msgspec.convert({**FEATURES, **changes}, Project)


def by_kind(one: Project) -> dict[str, Workflow]:
    return {found.kind: found for found in workflows(one)}


def names(one: Workflow) -> list[str]:
    return [work.name for work in one.work]


def test_each_trigger_of_the_specification_has_its_workflow() -> None:
    found = by_kind(project())
    assert list(found) == ["pull-request", "branches", "tags", "nightly", "weekly"]
    assert names(found["pull-request"]) == ["lint", "unit", "bench", "sum"]
    assert names(found["branches"]) == ["lint", "unit", "sum", "bundle"]
    assert names(found["tags"]) == ["lint", "unit", "sum", "bundle"]
    assert names(found["nightly"]) == ["lint", "audit"]
    assert found["nightly"].cron == "0 2 * * *"
    assert (names(found["weekly"]), found["weekly"].stages) == (["lint", "unit", "sum"], ("quality", "test"))


def test_only_branches_that_are_built_or_deployed_build() -> None:
    found = by_kind(project())["branches"]
    assert {work.name: work.only for work in found.work if work.only} == {
        "bundle": ("main", "develop", "staging", "trial/*")
    }
    assert [(one.environment, one.pattern, one.secrets) for one in found.deliveries] == [
        ("staging", "develop", ("DB", "KEY")),
        ("trial", "trial/*", ()),
    ]
    assert [one.environment for one in by_kind(project())["tags"].deliveries] == ["production"]


def test_a_job_keeps_its_name_its_legs_and_its_limits() -> None:
    unit = by_kind(project())["branches"].work[1]
    assert [(leg.id, leg.short, leg.slug) for leg in unit.legs] == [
        ("unit (n=1, os=a)", "unit (1, a)", "unit-1-a"),
        ("unit (n=2, os=a)", "unit (2, a)", "unit-2-a"),
    ]
    assert (unit.needs, unit.timeout_s, unit.fail_fast, unit.keeps) == (("lint",), 300.0, True, False)
    total = by_kind(project())["branches"].work[2]
    assert (total.needs, total.takes, total.coverage) == (("unit",), True, "c.xml")


def test_what_is_not_to_be_trusted_writes_nothing_and_a_release_reuses_nothing() -> None:
    found = by_kind(project())
    assert {kind: (one.reuses, one.writes) for kind, one in found.items()} == {
        "pull-request": (True, False), "branches": (True, True), "tags": (False, False), "nightly": (True, True),
        "weekly": (False, False),
    }  # fmt: skip


def test_a_project_without_jobs_has_no_workflow() -> None:
    assert workflows(project(jobs={}, environments={})) == ()
    only_build = project(jobs={"bundle": {"stage": "build", "run": "x"}}, environments={}, branches={"build": []})
    assert [one.kind for one in workflows(only_build)] == ["tags"]
    without_tags = project(branches={"build": [], "tags": []}, environments={})
    assert [one.kind for one in workflows(without_tags)] == ["pull-request", "branches", "nightly", "weekly"]
    assert names(by_kind(without_tags)["branches"]) == ["lint", "unit", "sum"]


REFS = st.sampled_from(["main", "develop", "feature/x", "trial/1", "trial", "staging", "release/2"])


@given(ref=REFS, build=st.lists(REFS, max_size=3))
def test_a_branch_runs_what_openbell_plans_for_it(ref: str, build: list[str]) -> None:
    one = msgspec.structs.replace(project(), branches=Branches(build=tuple(build)))
    planned = plan(one, Trigger("push", ref))
    found = by_kind(one)["branches"]
    matched = [work.name for work in found.work if not work.only or "build" in planned.stages]
    assert matched == list(planned.jobs)


@pytest.mark.parametrize("kind", ["pull-request", "branches", "tags", "nightly", "weekly"])
def test_needs_are_jobs_of_the_same_workflow_and_come_first(kind: str) -> None:
    for one in (project(), msgspec.toml.decode(SOUND, type=Project)):
        seen: list[str] = []
        for work in by_kind(one)[kind].work if kind in by_kind(one) else ():
            assert set(work.needs) <= set(seen)
            seen.append(work.name)


def test_without_a_machine_that_deploys_nothing_is_deployed() -> None:
    found = workflows(project(workflows={"deploy_runs_on": []}))
    assert [one.deliveries for one in found] == [()] * 5
