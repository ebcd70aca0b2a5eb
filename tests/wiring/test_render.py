"""Files for other systems: written where they belong, compared with what is there, and no hand's work touched."""

from pathlib import Path

import pytest
import yaml

from openbell.ports import AdapterError
from openbell.wiring import render
from openbell.wiring.project import open_project
from tests.fakes.projects import QUICK, ScratchProject, isolate

BRANCHES = ".github/workflows/openbell-branches.yml"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ScratchProject:
    isolate(monkeypatch, tmp_path)
    return ScratchProject(tmp_path / "p", QUICK)


def states(project: ScratchProject, what: str = "github", *, root: Path | None = None) -> dict[str, str]:
    """Compare, write, and say what was found before."""
    wanted = render.RENDERERS[what](open_project(root or project.root))
    found = render.compare(wanted)
    render.write(wanted, found)
    return {file.path: file.state for file in found.files}


def test_files_are_written_once_and_then_current(quick: ScratchProject) -> None:
    first = states(quick)
    assert set(first.values()) == {"new"}
    assert BRANCHES in first
    assert set(states(quick).values()) == {"same"}
    assert (quick.root / BRANCHES).read_text().startswith('# Made by "openbell render github" from openbell.toml. ')


def test_a_change_of_the_configuration_makes_them_stale(quick: ScratchProject) -> None:
    states(quick)
    quick.repository.write({"openbell.toml": QUICK.replace("[jobs.lint]", "[jobs.style]")})
    wanted = render.render_workflows(quick.open())
    found = render.compare(wanted)
    stale = {file.path: file.difference for file in found.files if file.state == "stale"}
    assert not found.current
    assert BRANCHES in stale
    assert "-  lint:" in stale[BRANCHES]
    assert len(stale[BRANCHES]) <= render.DIFFERENCE_LINES_MAX + 1


def test_what_was_written_by_hand_stays(quick: ScratchProject) -> None:
    mine = {BRANCHES: "name: mine\n", ".github/workflows/other.yml": "name: other\n"}
    quick.repository.write(mine)
    assert states(quick)[BRANCHES] == "by hand"
    assert {path: (quick.root / path).read_text() for path in mine} == mine
    assert not render.compare(render.render_workflows(quick.open())).current


def test_what_is_not_wanted_any_more_is_removed(quick: ScratchProject) -> None:
    states(quick)
    quick.repository.write({"openbell.toml": QUICK + "\n[branches]\ntags = []\n"})
    tags = ".github/workflows/openbell-tags.yml"
    assert states(quick)[tags] == "left over"
    assert not (quick.root / tags).exists()
    quick.repository.write({"openbell.toml": '[project]\nname = "empty"\n[workflows]\ncode_scanning = false\n'})
    assert set(states(quick).values()) == {"left over"}
    assert states(quick) == {}


def test_projects_of_one_repository_have_files_of_their_own(quick: ScratchProject) -> None:
    states(quick)
    quick.repository.write({"deep/er/openbell.toml": QUICK, "deep/er/a.txt": "x", "deep/er/go.mod": "module x\n"})
    below = states(quick, root=quick.root / "deep" / "er")
    assert ".github/workflows/openbell-deep-er-branches.yml" in below
    assert set(below.values()) == {"new"}
    assert set(states(quick).values()) == {"same"}
    text = (quick.root / ".github/workflows/openbell-deep-er-branches.yml").read_text()
    assert yaml.safe_load(text)["defaults"] == {"run": {"working-directory": "deep/er"}}
    action = (quick.root / ".github/actions/openbell-deep-er-prepare/action.yml").read_text()
    assert "go-version-file: deep/er/go.mod" in action


def test_hooks_are_the_quick_jobs(quick: ScratchProject) -> None:
    more = """
[jobs.audit]
stage = "quality"
run = "x"
cache_s = 100
[jobs.push]
stage = "quality"
run = "x"
secrets = ["TOKEN"]
"""
    quick.repository.write({"openbell.toml": QUICK + more})
    assert states(quick, "pre-commit") == {".pre-commit-config.yaml": "new"}
    states(quick)
    assert states(quick, "pre-commit") == {".pre-commit-config.yaml": "stale"}
    written = yaml.safe_load((quick.root / ".pre-commit-config.yaml").read_text())
    hooks = {hook["id"]: hook["entry"] for hook in written["repos"][0]["hooks"]}
    assert hooks == {
        "openbell-lint": "bash -c 'openbell run --job lint'",
        "openbell-workflows": "bash -c 'openbell render github --check'",
    }


def test_a_secret_that_the_other_system_cannot_keep_is_refused(quick: ScratchProject) -> None:
    job = '\n[jobs.push]\nstage = "test"\nrun = "x"\nsecrets = ["GITHUB_KEY"]\n'
    quick.repository.write({"openbell.toml": QUICK + job})
    with pytest.raises(AdapterError, match='secret "GITHUB_KEY": GitHub keeps no secret of that name'):
        render.render_workflows(quick.open())
