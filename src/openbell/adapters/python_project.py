"""What a folder says about the Python project in it: layout, tests and what they need, tools that it is configured for.

Projects declare what their tests need in many ways. They are tried in the order of how much they mean it: dependency
groups (PEP 735), extras, requirements files, tox; and when there is nothing, what the tests import, as far as it is
known under which name that is published. Nothing of the project is executed.

Source: https://packaging.python.org/en/latest/specifications/
"""

import ast
import configparser
import re
import shlex
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from openbell.core.proposal import PythonFacts

TEST_NAMES = ("test", "tests", "testing")
WIDER_NAMES = ("dev", "develop", "development", "all")
TYPES_NAMES = ("typing", "types", "type-check", "type-checking", "typecheck", "mypy")
LINT_NAMES = ("lint", "linting", "linters", "check", "checks", "qa", "quality")
REQUIREMENTS = (
    "requirements/tests.txt", "requirements/test.txt", "requirements-test.txt", "requirements-tests.txt",
    "requirements_test.txt", "test-requirements.txt", "tests/requirements.txt", "test_requirements.txt",
    "requirements-dev.txt", "requirements_dev.txt", "dev-requirements.txt", "requirements/dev.txt",
)  # fmt: skip
SCM_BACKENDS = ("setuptools_scm", "setuptools-scm", "hatch-vcs", "versioningit", "setuptools-git-versioning")
IMPORTED = {
    "hypothesis": "hypothesis", "freezegun": "freezegun", "attr": "attrs", "attrs": "attrs", "yaml": "pyyaml",
    "numpy": "numpy", "requests": "requests", "pytest_mock": "pytest-mock", "pytest_asyncio": "pytest-asyncio",
    "trio": "trio", "anyio": "anyio", "dateutil": "python-dateutil", "jsonschema": "jsonschema", "mock": "mock",
    "parameterized": "parameterized", "simplejson": "simplejson", "tzdata": "tzdata", "flask": "flask",
    "django": "django", "click": "click", "responses": "responses", "httpx": "httpx", "psutil": "psutil",
}  # fmt: skip
"""Names under which well-known test dependencies are imported and published; a guess beyond these might be anyone's."""

Ini = Mapping[str, Mapping[str, str]]

_NAME_SEPARATORS = re.compile(r"[-_.]+")
_SPECIFIER = re.compile(r"(>=|<=|==|!=|~=|>|<)\s*(\d+)(?:\.(\d+|\*))?")

_PLAIN_REQUIREMENT = re.compile(r"(?:-r\s*[\w./-]+|[A-Za-z][\w.\[\],-]*(?:\s*[<>=!~]=?[^{:]*)?)")


def detect(folder: Path, files: Sequence[str], available: Sequence[str]) -> PythonFacts | None:
    """Look at a folder whose files are known; None when there is no Python project.

    `available` are the Pythons that jobs could use on this machine ("3.12"), oldest first.
    """
    markers = [name for name in ("pyproject.toml", "setup.py", "setup.cfg", "requirements.txt") if name in files]
    if not markers:
        return None
    pyproject = _read_toml(folder / "pyproject.toml") if "pyproject.toml" in files else {}
    legacy = _read_ini(folder / "setup.cfg") if "setup.cfg" in files else {}
    project = _table(pyproject, "project")
    tests = find_tests(files)
    needs = _test_needs(folder, files, pyproject, legacy, tests) if tests else ()
    ruff, ruff_source = _ruff(folder, files, pyproject)
    requires = str(project.get("requires-python") or legacy.get("options", {}).get("python_requires") or "")
    return PythonFacts(
        name=_name(folder, pyproject, legacy),
        found=(*markers[:1], *_tools(files, pyproject, legacy)),
        versions=choose_versions(available, requires, _stated_versions(folder, files, project)),
        packages=find_packages(files),
        is_installable=_is_installable(files, pyproject),
        tests=tests,
        test_needs=needs,
        type_needs=_declared_needs(pyproject, legacy, (TYPES_NAMES, LINT_NAMES, WIDER_NAMES)) or needs,
        ruff=ruff,
        ruff_source=ruff_source,
        formats_with_ruff="format" in _table(pyproject, "tool", "ruff") or "ruff-format" in _pre_commit(folder, files),
        checks_types=_checks_types(files, pyproject, legacy),
        scm_version=_scm_version(folder, files, pyproject),
    )


def choose_versions(available: Sequence[str], requires: str, stated: Sequence[str] = ()) -> tuple[str, ...]:
    """Choose the two newest Pythons that the project allows, and states when it does; else the one that runs this."""
    allowed = [version for version in available if _allows(requires, version)]
    fitting = [version for version in allowed if version in stated] or allowed
    return tuple(fitting[-2:]) or (f"{sys.version_info.major}.{sys.version_info.minor}",)


def _stated_versions(folder: Path, files: Sequence[str], project: Mapping[str, Any]) -> tuple[str, ...]:
    """Read the versions that a project says it is tested on: its classifiers, or the environments of tox."""
    prefix = "Programming Language :: Python :: 3."
    classified = [entry for entry in _texts(project, "classifiers") if entry.startswith(prefix)]
    if classified:
        return tuple(entry.removeprefix("Programming Language :: Python :: ") for entry in classified)
    text = _read_text(folder / "tox.ini") if "tox.ini" in files else ""
    listed = re.search(r"^env_?list\s*=((?:.*\n(?:[ \t]+.*\n)*))", text, re.MULTILINE)
    if listed is None:
        return ()
    braced = [minor for inner in re.findall(r"py3\{([\d,]+)\}", listed[1]) for minor in inner.split(",")]
    return tuple(f"3.{minor}" for minor in (*braced, *re.findall(r"\bpy3(\d+)", listed[1])) if minor)


def _allows(requires: str, version: str) -> bool:
    """Check a minor version against `requires-python`; what cannot be read allows everything."""
    found = tuple(int(part) for part in version.split("."))
    for operator, major, minor in _SPECIFIER.findall(requires):
        wanted = (int(major), int(minor)) if minor.isdigit() else (int(major),)
        part = found[: len(wanted)]
        allowed = {
            ">=": part >= wanted, ">": part > wanted or (part == wanted and len(wanted) == 2), "<": part < wanted,
            "<=": part <= wanted, "==": part == wanted, "!=": part != wanted or minor.isdigit(), "~=": part >= wanted,
        }  # fmt: skip
        if not allowed[operator]:
            return False
    return True


def find_tests(files: Sequence[str]) -> str | None:
    """Find the folder of the tests: the usual names first, then wherever test modules are."""
    modules = [name for name in files if re.fullmatch(r"(?:.*/)?(?:test_[^/]*|[^/]*_tests?|tests?)\.py", name)]
    for folder in ("tests", "test"):
        if any(name.startswith(f"{folder}/") and name.endswith(".py") for name in files):
            return folder
    folders = dict.fromkeys(name.rpartition("/")[0] or "." for name in modules)
    return min(folders, key=lambda name: (name.count("/"), name), default=None)


def find_packages(files: Sequence[str]) -> tuple[str, ...]:
    """Find what is checked for types: `src`, or the packages at the top."""
    if any(name.startswith("src/") and name.endswith(".py") for name in files):
        return ("src",)
    tops = dict.fromkeys(
        name.partition("/")[0] for name in files if name.count("/") == 1 and name.endswith("/__init__.py")
    )
    return tuple(top for top in tops if top not in ("tests", "test", "docs", "examples"))


def _name(folder: Path, pyproject: Mapping[str, Any], legacy: Ini) -> str:
    candidates = (
        _table(pyproject, "project").get("name"),
        _table(pyproject, "tool", "poetry").get("name"),
        legacy.get("metadata", {}).get("name"),
        _pkg_info(folder, "Name"),
    )
    return next((str(name) for name in candidates if name), folder.name)


def _tools(files: Sequence[str], pyproject: Mapping[str, Any], legacy: Mapping[str, object]) -> list[str]:
    """Name the tools that the project shows signs of, for the first line that a person reads."""
    tool = _table(pyproject, "tool")
    signs = {
        "uv": "uv.lock" in files or "uv" in tool,
        "poetry": "poetry" in tool,
        "tox": "tox.ini" in files or "tox.toml" in files or "tox" in tool,
        "nox": "noxfile.py" in files,
        "pytest": "pytest" in tool or "pytest.ini" in files or "tool:pytest" in legacy or _has_conftest(files),
        "ruff": "ruff" in tool or "ruff.toml" in files or ".ruff.toml" in files,
        "mypy": _checks_types(files, pyproject, legacy),
    }
    return [name for name, shows in signs.items() if shows]


def _has_conftest(files: Sequence[str]) -> bool:
    return any(name == "conftest.py" or name.endswith("/conftest.py") for name in files)


def _is_installable(files: Sequence[str], pyproject: Mapping[str, Any]) -> bool:
    if "setup.py" in files or "build-system" in pyproject or "project" in pyproject:
        return _table(pyproject, "tool", "uv").get("package", True) is not False
    return False


def _checks_types(files: Sequence[str], pyproject: Mapping[str, Any], legacy: Mapping[str, object]) -> bool:
    configured = "mypy" in _table(pyproject, "tool") or "mypy" in legacy
    return configured or "mypy.ini" in files or ".mypy.ini" in files or "mypy" in _required(pyproject)


def _required(pyproject: Mapping[str, Any]) -> dict[str, str]:
    """Return what dependency groups and extras require: names with what follows them."""
    tables = (_table(pyproject, "dependency-groups"), _table(pyproject, "project", "optional-dependencies"))
    entries = [entry for table in tables for name in table for entry in _texts(table, name)]
    split = (re.match(r"\s*([A-Za-z0-9._-]+)\s*(.*)", entry) for entry in entries)
    return {_normal(match[1]): match[2] for match in split if match}


def _ruff(folder: Path, files: Sequence[str], pyproject: Mapping[str, Any]) -> tuple[str | None, str]:
    """Return the version of ruff that the project names and where: "" when none, None when it does not use ruff."""
    required = _required(pyproject)
    places = (
        (
            _pre_commit(folder, files),
            r"ruff-pre-commit\s*\n\s*rev:\s*[\"']?v?(\d+\.\d+\.\d+)",
            ".pre-commit-config.yaml",
        ),
        (_uv_lock(folder, files), r"^name = \"ruff\"\nversion = \"(\d+\.\d+\.\d+)\"", "uv.lock"),
        (required.get("ruff", ""), r"^==\s*(\d+\.\d+\.\d+)$", "pyproject.toml"),
    )
    for text, expression, place in places:
        match = re.search(expression, text, re.MULTILINE)
        if match:
            return match[1], place
    used = "ruff" in _table(pyproject, "tool") or "ruff.toml" in files or ".ruff.toml" in files or "ruff" in required
    return ("" if used else None), ""


def _pre_commit(folder: Path, files: Sequence[str]) -> str:
    name = ".pre-commit-config.yaml"
    return _read_text(folder / name) if name in files else ""


def _uv_lock(folder: Path, files: Sequence[str]) -> str:
    return _read_text(folder / "uv.lock") if "uv.lock" in files else ""


def _scm_version(folder: Path, files: Sequence[str], pyproject: Mapping[str, Any]) -> str | None:
    requires = " ".join(_texts(_table(pyproject, "build-system"), "requires"))
    setup = _read_text(folder / "setup.py") if "setup.py" in files else ""
    if not any(backend in requires or f"use_{backend}" in setup for backend in SCM_BACKENDS):
        return None
    return _pkg_info(folder, "Version") or "0.0.0"


def _pkg_info(folder: Path, field: str) -> str:
    """Read a field of the metadata that a source distribution carries."""
    file = folder / "PKG-INFO"
    match = re.search(rf"^{field}: (\S+)", _read_text(file), re.MULTILINE) if file.is_file() else None
    return match[1] if match else ""


# ---------------------------------------------------------------------------------------------- what tests need


def _test_needs(
    folder: Path,
    files: Sequence[str],
    pyproject: Mapping[str, Any],
    legacy: Ini,
    tests: str,
) -> tuple[str, ...]:
    found = _declared_needs(pyproject, legacy, (TEST_NAMES, WIDER_NAMES))
    if found:
        return found
    file = next((name for name in REQUIREMENTS if name in files), None)
    if file:
        return (f"-r {file}",)
    declared = _poetry_needs(pyproject) or _tox_needs(folder, files, pyproject)
    return tuple(_shell(need) for need in declared or _imported_needs(folder, files, tests))


def _declared_needs(pyproject: Mapping[str, Any], legacy: Ini, names: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Find a dependency group (PEP 735) or an extra by the names it may have, those of the first row first."""
    groups = {_normal(name): name for name in _table(pyproject, "dependency-groups")}
    extras = {_normal(name): name for name in legacy.get("options.extras_require", {})}
    extras |= {_normal(name): name for name in _table(pyproject, "project", "optional-dependencies")}
    for name in (name for row in names for name in row):
        if name in groups:
            return (f"--group {_shell(groups[name])}",)
        if name in extras:
            return (f'-e ".[{extras[name]}]"',)
    return ()


def _normal(name: str) -> str:
    """Names of packages, groups and extras are the same in any spelling."""
    return _NAME_SEPARATORS.sub("-", name).lower()


def _poetry_needs(pyproject: Mapping[str, Any]) -> list[str]:
    """Names alone: poetry's version constraints are its own."""
    poetry = _table(pyproject, "tool", "poetry")
    tables = [_table(poetry, "group", name, "dependencies") for name in (*TEST_NAMES, *WIDER_NAMES)]
    tables.append(_table(poetry, "dev-dependencies"))
    return [
        name
        for table in tables
        for name, value in table.items()
        if isinstance(value, str) or (isinstance(value, dict) and "version" in value)
    ]


def _tox_needs(folder: Path, files: Sequence[str], pyproject: Mapping[str, Any]) -> list[str]:
    """The lines of `deps` that are plain requirements; those with conditions or substitutions are left out."""
    if "tox.ini" in files:
        text = _read_ini(folder / "tox.ini").get("testenv", {}).get("deps", "")
    else:
        text = str(_table(pyproject, "tool", "tox").get("legacy_tox_ini", ""))
        parsed = configparser.ConfigParser(interpolation=None, strict=False)
        try:
            parsed.read_string(text)
            text = parsed.get("testenv", "deps", fallback="")
        except configparser.Error:
            return []
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return [line for line in lines if _PLAIN_REQUIREMENT.fullmatch(line)]


def _imported_needs(folder: Path, files: Sequence[str], tests: str) -> list[str]:
    modules = [name for name in files if name.endswith(".py") and (tests == "." or name.startswith(f"{tests}/"))]
    found = {name: True for module in modules for name in _imports(folder / module)}
    return sorted({IMPORTED[name] for name in found if name in IMPORTED})


def _imports(file: Path) -> Iterable[str]:
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def _shell(need: str) -> str:
    """Write a requirement as one word; in quotes that a person reads easily, unless it has what they do not keep."""
    if re.fullmatch(r"[\w.\[\],=/ -]+", need):
        return need
    return shlex.quote(need) if frozenset(need) & frozenset('$`"\\') else f'"{need}"'


def _table(content: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    for key in path:
        inner = content.get(key)
        if not isinstance(inner, dict):
            return {}
        content = inner
    return content


def _texts(table: Mapping[str, Any], key: str) -> list[str]:
    """The texts of a list, which may be anything else in a file that nobody has checked."""
    entries = table.get(key)
    return [entry for entry in entries if isinstance(entry, str)] if isinstance(entries, list) else []


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_read_text(file).removeprefix("\ufeff"))
    except (ValueError, RecursionError):
        return {}


def _read_ini(file: Path) -> Ini:
    parsed = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parsed.read_string(_read_text(file))
    except configparser.Error:
        return {}
    return {section: dict(parsed.items(section)) for section in parsed.sections()}
