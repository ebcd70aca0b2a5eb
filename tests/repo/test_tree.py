"""Every file of the repository keeps the rules that hold where it lies."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.repo import rules
from tests.repo.purity import purity
from tests.repo.syntax import Violation

ROOT = Path(__file__).parents[2]
Rule = Callable[[str], list[Violation]]

EVERYWHERE: tuple[Rule, ...] = (rules.text,)
PYTHON: tuple[Rule, ...] = (rules.function_size, rules.file_size, rules.mutable_defaults)
PRODUCT: tuple[Rule, ...] = (rules.module_docstring, rules.public_docstrings, rules.units)
CORES = ("src/openbell/core/", "engine/src/trading_engine/core/")
BELOW_CLI = ("src/openbell/hosts/", "src/openbell/adapters/", "src/openbell/wiring/")
ABOVE_ADAPTERS = ("src/openbell/core/", "src/openbell/hosts/", "src/openbell/ports.py")
SCOPES: tuple[tuple[tuple[str, ...], tuple[Rule, ...]], ...] = (
    (("src/", "engine/src/"), PRODUCT),
    (("bench/", "docs/"), (rules.module_docstring, rules.public_docstrings)),
    (CORES, (purity,)),
    (("src/openbell/core/", "src/openbell/ports.py"), (rules.keyword_only_defaults,)),
    (BELOW_CLI, (rules.keyword_only_values,)),
    (ABOVE_ADAPTERS, (rules.product_names,)),
)
"""Which Python files keep which rules, besides those that hold everywhere; the rules of all scopes that fit add up."""

RULES_THEMSELVES = ("tests/repo/rules.py", "tests/repo/test_rules.py")
"""They name what they forbid."""

BINARY = (".png", ".gif", ".ico", ".woff2", ".gz", ".zip")


def repository_files() -> list[str]:
    """Name the files that git tracks or would track; in an unpacked archive, all files."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        found = [str(path.relative_to(ROOT)) for path in ROOT.rglob("*") if ".venv" not in path.parts]
    else:
        found = listed.stdout.splitlines()
    return sorted(name for name in found if (ROOT / name).is_file() and not name.endswith(BINARY))


def rules_for(name: str) -> list[Rule]:
    """Choose the rules for a file by its path."""
    chosen = [] if name in RULES_THEMSELVES else list(EVERYWHERE)
    if name.endswith(".py"):
        chosen += PYTHON
        for folders, scoped in SCOPES:
            if name.startswith(folders):
                chosen += scoped
    return chosen


FILES = repository_files()


@pytest.mark.parametrize("name", FILES)
def test_file_keeps_the_rules(name: str) -> None:
    source = (ROOT / name).read_text()
    broken = [(rule.__name__, violation) for rule in rules_for(name) for violation in rule(source)]
    broken += [("module_name", violation) for violation in rules.module_name(name)]
    report = [f"{name}:{violation.line}: {rule}: {violation.message}" for rule, violation in broken]
    if report:
        pytest.fail("\n".join(report), pytrace=False)


MIRRORED = ("core", "hosts", "adapters", "wiring", "cli")


@pytest.mark.parametrize(
    "name", [name for name in FILES if name.startswith(tuple(f"tests/{each}/" for each in MIRRORED))]
)
def test_tests_mirror_the_sources(name: str) -> None:
    path = Path(name)
    folder = ROOT / "src" / "openbell" / path.parent.relative_to("tests")
    modules = {module.stem for module in folder.glob("*.py")} | {folder.name}
    subject = path.stem.removeprefix("test_")
    if path.stem.startswith("test_"):
        fits = any(subject == module or subject.startswith(f"{module}_") for module in modules)
        assert fits, (
            f"{name} tests no module of {folder.relative_to(ROOT)}; name it test_MODULE.py or test_MODULE_ASPECT.py"
        )


def test_folders_of_tests_are_no_packages() -> None:
    packages = [name for name in FILES if name.startswith("tests/") and name.endswith("/__init__.py")]
    assert packages == [], "pytest would import their modules as top-level ones, which hide others of that name"


def test_the_tree_is_really_read() -> None:
    assert "src/openbell/core/project.py" in FILES
    assert purity in rules_for("src/openbell/core/project.py")
    assert purity in rules_for("engine/src/trading_engine/core/book.py")
    assert purity not in rules_for("src/openbell/ports.py")
    assert rules.product_names in rules_for("src/openbell/hosts/local.py")
    assert rules.product_names not in rules_for("src/openbell/adapters/haproxy.py")
    assert rules_for("README.md") == [rules.text]
