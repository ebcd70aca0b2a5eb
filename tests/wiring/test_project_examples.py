"""The example projects: accepted as they are, nothing in them points nowhere, and what they promise is in them."""

import os
import re
import stat
from pathlib import Path

import pytest

from openbell.adapters import git
from openbell.core.trigger import Trigger, plan
from openbell.ports import AdapterError
from openbell.wiring.project import check_files, open_project

EXAMPLES = Path(__file__).parents[2] / "examples"
GO_SERVICE = EXAMPLES / "go-service"


@pytest.mark.parametrize(
    "folder", sorted(path.parent for path in EXAMPLES.glob("*/openbell.toml")), ids=os.path.basename
)
def test_an_example_is_sound(folder: Path) -> None:
    place = open_project(folder)
    try:
        files = git.list_files(folder)
    except AdapterError:
        pytest.skip("not in a repository: an unpacked archive")
    assert check_files(place.configuration, files) == []
    programs = {word for job in place.project.jobs.values() for word in re.findall(r"\bchecks/[\w-]+\b(?!/)", job.run)}
    for program in programs:
        assert (folder / program).stat().st_mode & stat.S_IXUSR, f"{program} is no program"


def test_the_go_service_goes_the_way_of_the_specification() -> None:
    project = open_project(GO_SERVICE).project
    commit = plan(project, Trigger("push", "feature/x")).jobs
    assert {"format", "vet", "lint", "sast", "dependencies", "secrets", "licences", "unit"} <= set(commit)
    assert "benchmark" not in commit
    assert "benchmark" in plan(project, Trigger("pull-request", "feature/x")).jobs
    unit = project.jobs["unit"]
    assert unit.coverage_min_pct == 70
    assert "-race" in unit.run
    assert len(unit.matrix["go"]) == 2
    assert plan(project, Trigger("tag", "v1.0.0", "tag")).environments == ("production",)


def test_a_check_of_the_go_service_whose_program_is_missing_is_not_checked() -> None:
    # A build that was not made is no check: it fails.
    project = open_project(GO_SERVICE).project
    for name, job in project.jobs.items():
        if job.stage != "build" and re.search(r"checks/(need|wheel|chart|vulnerabilities|go) ", job.run):
            assert 75 in job.not_checked_exit_codes, name


def test_the_go_service_is_released_with_the_go_that_is_tested() -> None:
    toolchain = re.search(r"^toolchain go(1\.\d+)\.\d+$", (GO_SERVICE / "go.mod").read_text(), re.MULTILINE)
    assert toolchain is not None
    project = open_project(GO_SERVICE).project
    assert toolchain[1] in project.jobs["unit"].matrix["go"]
    assert f"checks/go {toolchain[1]} go build" in project.jobs["program"].run
    assert f"golang:{toolchain[1]}" in (GO_SERVICE / "Dockerfile").read_text()
