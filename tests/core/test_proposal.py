"""A first configuration: whatever was found, what is proposed is accepted."""

import tomllib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbell.core.pipeline import build_graph, command_of
from openbell.core.project import Project
from openbell.core.proposal import Facts, GoFacts, PythonFacts, propose
from openbell.core.validation import validate


def read(text: str) -> Project:
    project = msgspec.convert(tomllib.loads(text), Project)
    assert validate(project) == ()
    return project


names = st.text(min_size=1).filter(str.strip)
pythons = st.builds(
    PythonFacts,
    name=names,
    found=st.just(("pyproject.toml",)),
    versions=st.sampled_from([("3.11",), ("3.12", "3.13")]),
    packages=st.sampled_from([(), ("src",), ("a", "b"), ("a b", "$(x)", "{c}", "''''")]),
    is_installable=st.booleans(),
    tests=st.sampled_from([None, "tests", ".", "{x} y/test", "it's"]),
    test_needs=st.sampled_from(
        [(), ("--group test",), ('-e ".[test]"',), ("-r requirements-dev.txt",), ('"a>=1"', "b")]
    ),
    type_needs=st.sampled_from([(), ("--group typing",), ('"{x}"',)]),
    ruff=st.sampled_from([None, "", "0.5.0"]),
    formats_with_ruff=st.booleans(),
    checks_types=st.booleans(),
    scm_version=st.sampled_from([None, "1.2.3", '1"2\\{x}']),
)
modules = st.builds(
    GoFacts, name=names, found=st.just(("go.mod",)), has_tests=st.booleans(), has_programs=st.booleans(),
    can_detect_races=st.booleans(), has_golangci=st.booleans(),
)  # fmt: skip


@given(st.builds(Facts, python=pythons, dockerfile=st.sampled_from([None, "Dockerfile"])))
def test_what_is_proposed_for_python_is_accepted(facts: Facts) -> None:
    proposal = propose(facts)
    assert proposal is not None
    assert list(read(proposal.text).jobs) == [job.name for job in proposal.jobs]


@given(st.builds(Facts, go=modules, dockerfile=st.sampled_from([None, "Dockerfile"])))
def test_what_is_proposed_for_go_is_accepted(facts: Facts) -> None:
    proposal = propose(facts)
    assert proposal is not None
    project = read(proposal.text)
    assert project.jobs["vet"].stage == "quality"


def python(**known: object) -> Project:
    given_facts = {"name": "x", "found": ("pyproject.toml",), "versions": ("3.12", "3.13"), **known}
    proposal = propose(Facts(python=msgspec.convert(given_facts, PythonFacts)))
    assert proposal is not None
    return read(proposal.text)


def test_tests_run_on_each_version_in_an_environment_of_their_own() -> None:
    unit = python(tests="tests", test_needs=("--group test",)).jobs["unit"]
    assert unit.matrix == {"python": ("3.12", "3.13")}
    assert "uv venv --quiet --python {python} .venv" in unit.run
    assert "uv pip install --quiet -e . --group test pytest" in unit.run
    assert unit.reports.junit == "junit.xml"


def test_an_extra_brings_the_project_with_it() -> None:
    unit = python(tests="tests", test_needs=('-e ".[test]"',)).jobs["unit"]
    assert 'uv pip install --quiet -e ".[test]" pytest' in unit.run


def test_a_project_that_is_no_package_is_not_installed() -> None:
    project = python(tests="tests", test_needs=("-r requirements.txt",), is_installable=False)
    assert "-e ." not in project.jobs["unit"].run
    assert "wheel" not in project.jobs


def test_ruff_is_the_projects_version_or_only_finds_what_is_certain() -> None:
    assert "ruff@0.5.0 check" in python(ruff="0.5.0").jobs["lint"].run
    assert "--select E9,F63,F7 " in python().jobs["lint"].run
    assert "format" not in python(ruff="0.5.0").jobs
    assert "format --check" in python(ruff="0.5.0", formats_with_ruff=True).jobs["format"].run


def test_types_may_fail_at_first_and_have_needs_of_their_own() -> None:
    types = python(checks_types=True, type_needs=("--group typing",), test_needs=("--group tests",)).jobs["types"]
    assert types.allow_failure
    assert "uv pip install --quiet -e . --group typing mypy\n" in types.run


def notes(**known: object) -> tuple[str, ...]:
    facts = msgspec.convert({"name": "x", "found": (), "versions": ("3.12",), **known}, PythonFacts)
    proposal = propose(Facts(python=facts))
    assert proposal is not None
    assert all(f"# {note}\n" in proposal.text for note in proposal.notes)
    return proposal.notes


def test_versions_of_tools_and_what_is_missing_are_told() -> None:
    assert notes(ruff="0.5.0", ruff_source="uv.lock", tests="tests", test_needs=("--group test",)) == (
        "ruff is 0.5.0, as uv.lock says.",
        "pytest is the newest that goes with --group test.",
    )
    assert notes(checks_types=True) == (
        "ruff is the newest: the project names no version of it.",
        "mypy is the newest: the project does not say what it needs.",
        "No test job: there is no folder tests or test, and no test_*.py. Add one: [jobs.unit].",
    )
    go = propose(Facts(go=GoFacts(name="x", found=("go.mod",), has_tests=False, has_golangci=True)))
    assert go is not None
    assert go.notes[-1] == "No test job: there is no *_test.go. Add one: [jobs.unit]."


def test_names_of_folders_stay_words_whatever_they_are() -> None:
    project = python(tests="my tests/{x}", packages=("a b", "$(c)"), checks_types=True)
    node = build_graph(project, ("unit",))[0]
    assert command_of(node, {"out": "/o", "x": "no"}).endswith("--junitxml /o/junit.xml 'my tests/{x}'\n")
    assert project.jobs["types"].run.endswith("'a b' '$(c)'\n")


def test_a_version_from_version_control_is_given_to_the_jobs_that_build() -> None:
    jobs = python(tests="tests", scm_version="4.5.6").jobs
    assert jobs["unit"].env == jobs["wheel"].env == {"SETUPTOOLS_SCM_PRETEND_VERSION": "4.5.6"}


def test_a_name_is_what_can_be_shown() -> None:
    assert python(name="a\x1b[31m b\0").project.name == "a[31m b"
    assert python(name="\x00").project.name == "project"


def test_nothing_found_is_nothing_proposed() -> None:
    assert propose(Facts(dockerfile="Dockerfile")) is None


@pytest.mark.parametrize(("races", "command"), [(True, "go test -race ./..."), (False, "go test ./...")])
def test_races_are_looked_for_where_they_can_be(*, races: bool, command: str) -> None:
    proposal = propose(Facts(go=GoFacts(name="x", found=("go.mod",), can_detect_races=races)))
    assert proposal is not None
    assert read(proposal.text).jobs["unit"].run == command
