"""From jobs to a graph: matrices, stages, needs, names."""

import pytest

from openbell.core.matrix import legs
from openbell.core.pipeline import build_graph, command_of, job_id, select, slug
from openbell.core.project import Job, Project, ProjectInfo

PROJECT = Project(
    project=ProjectInfo(name="x"),
    jobs={
        "bundle": Job(stage="build", run="build {artifacts}"),
        "lint": Job(stage="quality", run="lint"),
        "unit": Job(stage="test", run="test {python} on {os}", matrix={"python": ("3.12", "3.13"), "os": ("a",)}),
        "free": Job(stage="test", run="free", needs=()),
        "report": Job(stage="test", run="report", needs=("unit",)),
    },
)
UNIT = ("unit (python=3.12, os=a)", "unit (python=3.13, os=a)")


def test_a_matrix_multiplies() -> None:
    job = Job(stage="test", run="x", matrix={"a": ("1", "2"), "b": ("x", "y", "z")})
    assert len(legs(job)) == 6
    assert legs(job)[0] == {"a": "1", "b": "x"}
    assert legs(Job(stage="test", run="x")) == ({},)


def test_a_job_waits_for_earlier_stages_or_for_what_it_needs() -> None:
    graph = {node.id: node.needs for node in build_graph(PROJECT, tuple(PROJECT.jobs))}
    assert graph["lint"] == ()
    assert graph[UNIT[0]] == ("lint",)
    assert graph["free"] == ()
    assert graph["report"] == UNIT
    assert set(graph["bundle"]) == {"lint", *UNIT, "free", "report"}


def test_every_node_comes_after_what_it_needs() -> None:
    seen: set[str] = set()
    for node in build_graph(PROJECT, tuple(PROJECT.jobs)):
        assert seen.issuperset(node.needs)
        seen.add(node.id)


def test_needs_that_are_not_in_the_run_are_no_edges() -> None:
    graph = {node.id: node.needs for node in build_graph(PROJECT, ("bundle", "report"))}
    assert graph == {"report": (), "bundle": ("report",)}


def test_names() -> None:
    assert job_id("unit", {"python": "3.12", "os": "a"}) == UNIT[0]
    assert job_id("lint", {}) == "lint"
    assert slug(UNIT[0]) == "unit-3.12-a"
    assert slug("unit (path=a/../b)") == "unit-a-..-b"
    node = build_graph(PROJECT, ("unit",))[0]
    assert node.short == "unit (3.12, a)"
    assert node.slug == "unit-3.12-a"


def test_commands_are_filled_with_axes_and_values() -> None:
    node = build_graph(PROJECT, ("unit",))[1]
    assert command_of(node, {"out": "/o"}) == "test 3.13 on a"
    bundle = build_graph(PROJECT, ("bundle",))[0]
    assert command_of(bundle, {"artifacts": "/with space"}) == "build '/with space'"


@pytest.mark.parametrize("name", ["unit", UNIT[0], "unit-3.12-a", "unit (3.12, a)"])
def test_jobs_are_selected_by_any_of_their_names(name: str) -> None:
    found = select(build_graph(PROJECT, tuple(PROJECT.jobs)), (name,), with_needs=False)
    assert found[0].id == UNIT[0]
    assert found[0].needs == ()
    assert len(found) == (2 if name == "unit" else 1)


def test_selection_with_needs_keeps_the_edges() -> None:
    found = select(build_graph(PROJECT, tuple(PROJECT.jobs)), ("report",), with_needs=True)
    assert [node.id for node in found] == ["lint", *UNIT, "report"]


def test_a_cycle_is_no_graph() -> None:
    jobs = {"a": Job(stage="test", run="a", needs=("b",)), "b": Job(stage="test", run="b", needs=("a",))}
    with pytest.raises(ValueError, match="wait for each other"):
        build_graph(Project(project=PROJECT.project, jobs=jobs), ("a", "b"))
