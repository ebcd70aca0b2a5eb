"""Python projects of many shapes: where their tests are, what these need, which Pythons fit."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from openbell.adapters import python_project
from openbell.adapters.python_project import choose_versions, find_packages, find_tests
from openbell.core.proposal import PythonFacts

AVAILABLE = ("3.9", "3.10", "3.11", "3.12", "3.13")
FLAT = {
    "setup.py": "",
    "pkg/__init__.py": "",
    "tests/test_a.py": "import hypothesis, os, pkg\nfrom freezegun import x\n",
}


def detect(folder: Path, files: Mapping[str, str]) -> PythonFacts:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    found = python_project.detect(folder, sorted(files), AVAILABLE)
    assert found is not None
    return found


def needs(folder: Path, files: Mapping[str, str]) -> tuple[str, ...]:
    return detect(folder, {"tests/test_a.py": "", **files}).test_needs


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"pyproject.toml": "[dependency-groups]\ntest = []\ndev = []\n"}, ("--group test",)),
        ({"pyproject.toml": "[dependency-groups]\ndev = []\n"}, ("--group dev",)),
        ({"pyproject.toml": '[project.optional-dependencies]\ntests = ["x"]\n'}, ('-e ".[tests]"',)),
        (
            {"pyproject.toml": '[project.optional-dependencies]\ndev = ["x"]\n[dependency-groups]\ntesting = []\n'},
            ("--group testing",),
        ),
        ({"setup.cfg": "[options.extras_require]\ntest =\n  x\n"}, ('-e ".[test]"',)),
        ({"setup.py": "", "requirements-dev.txt": "x"}, ("-r requirements-dev.txt",)),
        ({"setup.py": "", "requirements/tests.txt": "x", "requirements-dev.txt": "x"}, ("-r requirements/tests.txt",)),
        (
            {"pyproject.toml": "[tool.poetry.group.dev.dependencies]\nnumpy = '^1'\nlocal = { path = '.' }\n"},
            ("numpy",),
        ),
        (
            {
                "setup.py": "",
                "tox.ini": "[testenv]\ndeps =\n  coverage>=5 # why\n  py38: x\n  {posargs}\n  -r needs.txt\n  attrs\n",
            },
            ('"coverage>=5"', "-r needs.txt", "attrs"),
        ),
        (
            {"pyproject.toml": '[tool.tox]\nlegacy_tox_ini = """\n[testenv]\ndeps =\n  hypothesis\n"""\n'},
            ("hypothesis",),
        ),
        ({"setup.py": ""}, ()),
    ],
)
def test_what_tests_need(tmp_path: Path, files: Mapping[str, str], expected: tuple[str, ...]) -> None:
    assert needs(tmp_path, files) == expected


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"pyproject.toml": "[dependency-groups]\ntests = []\ntyping = []\ndev = []\n"}, ("--group typing",)),
        ({"pyproject.toml": "[dependency-groups]\nlint = []\nTypes = []\n"}, ("--group Types",)),
        ({"pyproject.toml": "[dependency-groups]\ntype_check = []\n"}, ("--group type_check",)),
        ({"pyproject.toml": "[dependency-groups]\ndev = []\nlint = []\n"}, ("--group lint",)),
        ({"pyproject.toml": "[dependency-groups]\ndev = []\n"}, ("--group dev",)),
        ({"pyproject.toml": "[project.optional-dependencies]\nmypy = []\n"}, ('-e ".[mypy]"',)),
        ({"setup.cfg": "[options.extras_require]\ntyping =\n  x\n"}, ('-e ".[typing]"',)),
        ({"pyproject.toml": "[dependency-groups]\ntests = []\ndocs = []\n"}, ("--group tests",)),
        ({"pyproject.toml": ""}, ()),
    ],
)
def test_what_a_check_of_types_needs(tmp_path: Path, files: Mapping[str, str], expected: tuple[str, ...]) -> None:
    assert detect(tmp_path, {"tests/test_a.py": "", **files}).type_needs == expected


@pytest.mark.parametrize(
    ("files", "version", "source"),
    [
        ({"uv.lock": '[[package]]\nname = "ruff"\nversion = "0.9.1"\n'}, "0.9.1", "uv.lock"),
        ({"pyproject.toml": '[dependency-groups]\nlint = ["ruff == 0.8.2"]\n'}, "0.8.2", "pyproject.toml"),
        ({"pyproject.toml": '[dependency-groups]\nlint = ["ruff>=0.8.2"]\n'}, "", ""),
        ({"pyproject.toml": "[tool.ruff]\n"}, "", ""),
        ({"pyproject.toml": ""}, None, ""),
    ],
)
def test_which_ruff(tmp_path: Path, files: Mapping[str, str], version: str | None, source: str) -> None:
    found = detect(tmp_path, {"pyproject.toml": "", **files})
    assert (found.ruff, found.ruff_source) == (version, source)


def test_a_requirement_of_mypy_is_a_sign_of_it(tmp_path: Path) -> None:
    assert detect(tmp_path, {"pyproject.toml": '[dependency-groups]\nx = ["MyPy>=1"]\n'}).checks_types


@pytest.mark.parametrize(
    "pyproject",
    [
        f"x = {'[' * 100_000}{']' * 100_000}",
        f"x = {'9' * 5000}",
        "[project]\nclassifiers = 3\nrequires-python = []\nname = 4\noptional-dependencies = 1",
        "[build-system]\nrequires = 3",
        "[dependency-groups]\ntest = 3\nlint = [1, {}]",
        "[tool.poetry.group.dev.dependencies]\na = 3\nb = []",
        "[tool]\nruff = 3\nuv = 1\ntox = 1",
        "tool = 3\nproject = 4",
    ],
)
def test_files_that_nobody_has_checked_are_no_traceback(tmp_path: Path, pyproject: str) -> None:
    detect(tmp_path, {"pyproject.toml": pyproject, "tests/test_a.py": "", "uv.lock": "", "tox.ini": "["})


def test_a_file_that_may_not_be_read_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    found = python_project.detect(tmp_path, ["pyproject.toml", "setup.cfg", "tox.ini", "tests/test_a.py"], AVAILABLE)
    assert found is not None
    assert found.test_needs == ()


def test_imports_of_tests_are_a_last_resort_and_only_well_known_names(tmp_path: Path) -> None:
    assert detect(tmp_path, FLAT).test_needs == ("freezegun", "hypothesis")
    assert detect(tmp_path, {**FLAT, "tests/test_a.py": "import rquests\nif:\n"}).test_needs == ()


@pytest.mark.parametrize(
    ("files", "folder"),
    [
        (["tests/test_a.py", "pkg/a.py"], "tests"),
        (["test/a.py"], "test"),
        (["pkg/tests/test_a.py", "pkg/sub/tests/test_b.py"], "pkg/tests"),
        (["a.py", "test_a.py"], "."),
        (["pkg/test_a.py"], "pkg"),
        (["pkg/a.py", "tests/data.json"], None),
    ],
)
def test_where_tests_are(files: list[str], folder: str | None) -> None:
    assert find_tests(files) == folder


@pytest.mark.parametrize(
    ("files", "packages"),
    [
        (["src/pkg/__init__.py"], ("src",)),
        (["pkg/__init__.py", "tests/__init__.py", "pkg/sub/__init__.py"], ("pkg",)),
        (["module.py"], ()),
    ],
)
def test_what_is_checked_for_types(files: list[str], packages: tuple[str, ...]) -> None:
    assert find_packages(files) == packages


@pytest.mark.parametrize(
    ("requires", "stated", "chosen"),
    [
        ("", (), ("3.12", "3.13")),
        (">=3.9", (), ("3.12", "3.13")),
        (">=3.9,<3.12", (), ("3.10", "3.11")),
        ("==3.11.*", (), ("3.11",)),
        ("~=3.12", (), ("3.12", "3.13")),
        (">3.11", (), ("3.12", "3.13")),
        ("<=3.9", (), ("3.9",)),
        ("!=3.13", (), ("3.12", "3.13")),
        ("!=3.13.*,>=3", (), ("3.12", "3.13")),
        ("", ("3.10", "3.11", "3.99"), ("3.10", "3.11")),
        (">=3.9", ("3.8",), ("3.12", "3.13")),
        ("gibberish", (), ("3.12", "3.13")),
    ],
)
def test_which_pythons_fit(requires: str, stated: tuple[str, ...], chosen: tuple[str, ...]) -> None:
    assert choose_versions(AVAILABLE, requires, stated) == chosen


def test_a_project_that_allows_none_gets_the_one_that_is_here() -> None:
    assert len(choose_versions(AVAILABLE, ">=4")) == 1


def test_versions_that_a_project_states(tmp_path: Path) -> None:
    classifiers = '[project]\nclassifiers = ["Programming Language :: Python :: 3.11", "X"]\n'
    assert detect(tmp_path, {"pyproject.toml": classifiers}).versions == ("3.11",)
    tox = "[tox]\nenvlist =\n    py3{12,11,9}\n    style\n[testenv]\n"
    assert detect(tmp_path, {"pyproject.toml": "", "tox.ini": tox}).versions == ("3.11", "3.12")
    assert detect(tmp_path, {"pyproject.toml": "", "tox.ini": "[tox]\nenv_list = py39, py310\n"}).versions == (
        "3.9",
        "3.10",
    )


def test_tools_that_show(tmp_path: Path) -> None:
    found = detect(
        tmp_path,
        {
            "pyproject.toml": "[project]\nname = 'x'\n[tool.ruff.format]\n[tool.mypy]\n[tool.uv]\n[tool.pytest.x]\n",
            ".pre-commit-config.yaml": "repos:\n- repo: https://x/ruff-pre-commit\n  rev: v0.5.1\n",
            "noxfile.py": "",
        },
    )
    assert found.name == "x"
    assert found.found == ("pyproject.toml", "uv", "nox", "pytest", "ruff", "mypy")
    assert found.ruff == "0.5.1"
    assert found.formats_with_ruff
    assert found.checks_types


def test_versions_from_version_control(tmp_path: Path) -> None:
    backend = "[build-system]\nrequires = ['setuptools_scm>=8']\n"
    assert detect(tmp_path, {"pyproject.toml": backend}).scm_version == "0.0.0"
    assert detect(tmp_path, {"pyproject.toml": backend, "PKG-INFO": "Name: y\nVersion: 4.5\n"}).scm_version == "4.5"
    assert detect(tmp_path, {"pyproject.toml": "[build-system]\nrequires = ['flit_core']\n"}).scm_version is None


def test_what_is_no_package(tmp_path: Path) -> None:
    assert not detect(tmp_path, {"requirements.txt": "x"}).is_installable
    assert not detect(tmp_path, {"pyproject.toml": "[project]\nname='x'\n[tool.uv]\npackage = false\n"}).is_installable
    assert detect(tmp_path, FLAT).is_installable


@pytest.mark.parametrize("name", ["pyproject.toml", "setup.cfg"])
def test_files_that_cannot_be_read_do_no_harm(tmp_path: Path, name: str) -> None:
    assert detect(tmp_path, {name: "[[[ nonsense"}).name in (tmp_path.name, "y")


def test_a_folder_without_a_project(tmp_path: Path) -> None:
    assert python_project.detect(tmp_path, ["a.py", "README"], AVAILABLE) is None
