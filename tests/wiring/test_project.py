"""Opening a project: where it is found, which policies are laid over it, which patterns match nothing."""

import os
from pathlib import Path

import pytest

from openbell.adapters.toml import ConfigurationError
from openbell.wiring.project import check_files, open_project
from tests.fakes.configurations import SOUND
from tests.fakes.projects import isolate

POLICY = "[environments.production]\nreplicas = {}\n"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    isolate(monkeypatch, tmp_path)
    (tmp_path / "p/sub").mkdir(parents=True)
    (tmp_path / "p/openbell.toml").write_text(SOUND)
    return tmp_path / "p"


def replicas(root: Path, *policies: str) -> int:
    return open_project(root, policies).project.environments["production"].replicas


def test_a_project_is_found_from_below(root: Path) -> None:
    place = open_project(root / "sub")
    assert place.root == root
    assert place.state.root == root / ".openbell"
    assert place.project.project.name == "engine"


def test_no_project_says_how_to_begin(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no openbell\.toml in .* Write one with: openbell init"):
        open_project(tmp_path)


def test_a_folder_or_a_pipe_of_that_name_is_told(root: Path) -> None:
    (root / "sub/openbell.toml").mkdir()
    with pytest.raises(ConfigurationError, match=r"^openbell\.toml: is a folder; a configuration is a file of text\."):
        open_project(root / "sub")
    (root / "sub/openbell.toml").rmdir()
    os.mkfifo(root / "sub/openbell.toml")
    with pytest.raises(ConfigurationError, match=r"^openbell\.toml: is no regular file"):
        open_project(root / "sub")


def test_policies_come_from_the_caller_and_the_environment(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, number in (("a.toml", 2), ("b.toml", 3), ("c.toml", 4)):
        (root / name).write_text(POLICY.format(number))
    assert replicas(root) == 5
    assert replicas(root, "a.toml") == 2
    assert replicas(root, "a.toml", "b.toml") == 3
    assert replicas(root, str(root / "b.toml")) == 3
    assert replicas(root / "sub", "a.toml") == 2, "a policy is found beside openbell.toml, too"
    monkeypatch.setenv("OPENBELL_POLICY", f"a.toml{os.pathsep}c.toml")
    assert replicas(root) == 4
    assert replicas(root, "b.toml") == 3


def test_a_policy_that_is_not_there_is_named(root: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"gone\.toml: no such file"):
        open_project(root, ("gone.toml",))


def test_patterns_that_match_nothing_have_places(root: Path) -> None:
    text = SOUND.replace('run = "lint"', 'run = "lint"\ninputs = ["src/**",\n "*.py", "!x"]')
    (root / "openbell.toml").write_text(text + '[release]\nconfig = ["config/*"]\n')
    place = open_project(root)
    assert check_files(place.configuration, ["a.py"]) == [
        'openbell.toml:10: [jobs.lint] inputs: "src/**" matches no file of the tree.',
        'openbell.toml:52: [release] config: "config/*" matches no file of the tree.',
    ]
    assert check_files(place.configuration, ["a.py", "src/x", "config/y"]) == []
