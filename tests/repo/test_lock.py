"""requirements.lock holds every dependency that is declared, by hash, and names no host."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements.lock").read_text()
ENTRY = re.compile(r"^([\w.-]+)==([^\s;\\]+)", re.MULTILINE)
OWN = {"openbell", "trading-engine"}


def declared(pyproject: Path) -> list[Requirement]:
    """List all requirements of a project: its own, those of its extras, of its groups and of its build."""
    content = tomllib.loads(pyproject.read_text())
    project = content["project"]
    texts = [*content["build-system"]["requires"], *project.get("dependencies", ())]
    for more in (project.get("optional-dependencies", {}), content.get("dependency-groups", {})):
        texts += [text for group in more.values() for text in group if isinstance(text, str)]
    return [requirement for text in texts if (requirement := Requirement(text)).name not in OWN]


def locked() -> dict[str, list[Version]]:
    """List the versions in the lock file by name; a universal lock may hold several for different platforms."""
    versions: dict[str, list[Version]] = {}
    for name, version in ENTRY.findall(LOCK):
        versions.setdefault(canonicalize_name(name), []).append(Version(version))
    return versions


@pytest.mark.parametrize("folder", [".", "engine"])
def test_lock_holds_what_is_declared(folder: str) -> None:
    versions = locked()
    missing = [
        str(requirement)
        for requirement in declared(ROOT / folder / "pyproject.toml")
        if not any(
            version in requirement.specifier for version in versions.get(canonicalize_name(requirement.name), ())
        )
    ]
    assert missing == [], "run `make lock` and commit requirements.lock"


def test_every_entry_has_a_hash() -> None:
    entries = re.split(r"\n(?=\S)", LOCK.strip())
    assert len(entries) == len(ENTRY.findall(LOCK))
    assert [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_lock_names_no_host() -> None:
    assert "://" not in LOCK
