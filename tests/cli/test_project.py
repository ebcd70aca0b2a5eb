"""`init` and `check` as a person meets them."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.commands import Call, caller
from tests.fakes.configurations import SOUND
from tests.fakes.projects import isolate
from tests.fakes.repositories import Repository


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    isolate(monkeypatch, tmp_path)
    (tmp_path / "p").mkdir()
    monkeypatch.chdir(tmp_path / "p")
    return tmp_path / "p"


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    return caller(capsys)


def test_init_writes_what_check_accepts(root: Path, call: Call) -> None:
    (root / "pyproject.toml").write_text("[project]\nname = 'x'\n[tool.ruff]\n[tool.uv]\n[tool.pytest.x]\n")
    (root / "test_x.py").write_text("")
    (root / "Dockerfile").write_text("")
    code, out, _ = call("init")
    assert code == 0
    assert out == (
        "Found a Python project (pyproject.toml, uv, pytest, ruff) and a Dockerfile.\n"
        "Wrote openbell.toml: 4 jobs in 3 stages, no environments yet.\n"
        "  ruff is the newest: the project names no version of it.\n"
        "  pytest is the newest: the project does not say what it needs.\n"
        "Next: openbell check    what would run, and why\n"
        "      openbell run      run it here\n"
        "Note: no git repository here, and openbell runs commits. "
        "Begin with: git init && git add . && git commit -m begin\n"
    )
    assert call("check")[0] == 0
    code, _, err = call("init")
    assert code == 2
    assert "--force" in err
    assert call("init", "--force")[0] == 0


def test_init_writes_a_chart_once(root: Path, call: Call) -> None:
    code, _, err = call("init", "--chart")
    assert (code, "openbell init" in err) == (2, True)
    (root / "openbell.toml").write_text(
        '[project]\nname = "x"\n[services.api]\nprotocol = "http"\nrun = "api {port}"\n'
    )
    code, out, _ = call("init", "--chart")
    assert code == 0
    assert out == (
        "Wrote chart: a Helm chart of api.\n"
        "Next: look through chart/values.yaml, above all its secrets and commands\n"
        '      add [environments.NAME.cluster] with chart = "chart" to openbell.toml\n'
        "      openbell doctor NAME    what the cluster has of what it needs\n"
    )
    (root / "chart" / "values.yaml").write_text("mine: true\n")
    code, _, err = call("init", "--chart")
    assert (code, err) == (
        2, "chart is there already. Remove it to have it written anew, or name another: chart = ...\n",
    )  # fmt: skip
    assert (root / "chart" / "values.yaml").read_text() == "mine: true\n"


def test_init_where_there_is_nothing(root: Path, call: Call) -> None:
    code, out, err = call("init")
    assert (code, out) == (2, "")
    assert f"in {root}." in err


def test_check_says_what_a_push_sets_in_motion(root: Path, call: Call) -> None:
    (root / "openbell.toml").write_text(SOUND)
    code, out, err = call("check", "--trigger", "push", "--ref", "develop")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "push to develop  ->  quality, test, build, deploy staging, load",
        "  quality  lint",
        "           because: every commit of every branch",
        "  test     unit   needs quality",
        "           because: every commit of every branch",
        "  build    bundle   needs quality, test",
        '           because: branch develop is built ("develop") (default)',
        "  staging  rolling, 2 replicas, smoke: smoke, then load",
        '           because: branch develop goes there ("develop") (openbell.toml:36)',
        "Not in this run: deploy production (only tags v*.*.*).",
    ]


def test_check_says_what_a_release_tag_sets_in_motion(root: Path, call: Call) -> None:
    (root / "openbell.toml").write_text(SOUND)
    _, out, _ = call("check", "--trigger", "tag", "--ref", "v1.2.3")
    assert out.startswith("tag v1.2.3  ->  quality, test, build, deploy production (approval)\n")
    assert "blue-green, 5 replicas, approval by 1 of release-managers" in out
    _, out, _ = call("check", "--ref", "v1.2.3")
    assert "deploy production (approval)" in out, "a ref that looks like a release tag is taken for one"


def test_check_without_a_trigger_shows_them_all(root: Path, call: Call) -> None:
    Repository(root, branch="feature/y").commit("x", {"openbell.toml": SOUND})
    _, out, _ = call("check")
    assert out.startswith("feature/y, asked for by a person  ->  quality, test\n")
    assert "  push to develop  ->  quality, test, build, deploy staging, load\n" in out
    assert "  push to main  ->  quality, test, build\n" in out
    assert "  pull request of feature/x to main  ->  quality, test\n" in out
    assert "  tag v1.2.3  ->  quality, test, build, deploy production (approval)\n" in out
    assert "  schedule on main  ->  quality\n" in out


def test_check_as_json(root: Path, call: Call) -> None:
    (root / "openbell.toml").write_text(SOUND)
    found: dict[str, Any] = json.loads(call("check", "--trigger", "push", "--ref", "develop", "--json")[1])
    assert (found["project"], found["trigger"], found["ref"]) == ("engine", "push", "develop")
    assert found["stages"] == ["quality", "test", "build"]
    assert found["jobs"][1] == {"name": "unit", "stage": "test", "needs": ["lint"]}
    assert found["environments"] == ["staging"]
    assert found["because"][-1] == {
        "name": "staging",
        "reason": 'branch develop goes there ("develop")',
        "place": "openbell.toml:36",
    }
    assert found["excluded"] == [
        {"name": "deploy production", "reason": "only tags v*.*.*", "place": "openbell.toml:40"}
    ]


def test_check_looks_at_the_tree(root: Path, call: Call) -> None:
    text = SOUND.replace('run = "lint"', 'run = "lint"\ninputs = ["srcs/**"]')
    Repository(root).commit("x", {"openbell.toml": text, "src/a.py": ""})
    code, out, err = call("check")
    assert (code, out) == (2, "")
    assert err == (
        'openbell.toml:10: [jobs.lint] inputs: "srcs/**" matches no file of the tree.\n1 error. Nothing was run.\n'
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("replicas = 5", "replica = 5"),
            'unknown key "replica" in [environments.production]. Did you mean "replicas"?',
        ),
        (("replicas = 5", 'replicas = "5"'), 'replicas: expected a whole number, found "5" (text).'),
        (('run = "lint"', 'run = "lint"\nneeds = ["lint"]'), "the jobs wait for each other: lint -> lint."),
        (('order = ["api"]', 'order = ["web"]'), '"web" is no service.'),
        (('run = "lint"', 'run = "lint'), "openbell.toml:9: "),
    ],
)
def test_check_refuses_a_bad_configuration(root: Path, call: Call, change: tuple[str, str], message: str) -> None:
    (root / "openbell.toml").write_text(SOUND.replace(*change))
    code, out, err = call("check")
    assert (code, out) == (2, "")
    assert message in err
    assert err.endswith("1 error. Nothing was run.\n")


def test_check_refuses_what_makes_no_sense(root: Path, call: Call) -> None:
    assert call("check")[0] == 2
    (root / "openbell.toml").write_text(SOUND)
    code, _, err = call("check", "--trigger", "tag")
    assert (code, err) == (2, "which tag? Name one with --ref v1.2.3.\n")
    assert call("check", "--policy", "gone.toml")[0] == 2
