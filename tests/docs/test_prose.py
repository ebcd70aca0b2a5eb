"""The documents name nothing that is not there: commands, options, make targets, files, links, tests."""

import json
import re
from pathlib import Path

import pytest

from openbell.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "changes").glob("*.md")],
)
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
COMMAND = re.compile(r"\bopenbell ([a-z]+)\b")
MAKE = re.compile(r"\bmake ([a-z][a-z-]*)\b")
SOURCE = re.compile(r"`((?:src|engine|tests|bench|docs|\.ci)/[\w./-]+)`")


def code_of(text: str) -> str:
    """Take what is marked as code: blocks and spans; words in running text are no commands."""
    blocks = "\n".join(block for _, block in BLOCK.findall(text))
    spans = "\n".join(re.findall(r"`([^`\n]+)`", BLOCK.sub("", text)))
    return f"{blocks}\n{spans}"


def anchors_of(path: Path) -> set[str]:
    """List the anchors that a page offers, made from its headings as forges make them."""
    headings = re.findall(r"^#+ (.+)$", BLOCK.sub("", path.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(path: Path, text: str) -> list[str]:
    """List the relative links of a page that lead nowhere."""
    broken = []
    for target in LINK.findall(BLOCK.sub("", text)):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        linked = path.parent / file if file else path
        if not linked.exists() or (anchor and anchor not in anchors_of(linked)):
            broken.append(target)
    return broken


def unknown_commands(text: str) -> list[str]:
    """List the commands of openbell that a page names and that are none."""
    return sorted(set(COMMAND.findall(code_of(text))) - {*(name.partition(" ")[0] for name in COMMANDS), "demo"})


def unknown_targets(text: str) -> list[str]:
    """List the make targets that a page names and that are none."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    return sorted(set(MAKE.findall(code_of(text))) - targets)


def unknown_files(text: str) -> list[str]:
    """List the files of the repository that a page names and that are not there."""
    return sorted(name for name in set(SOURCE.findall(BLOCK.sub("", text))) if not (ROOT / name).exists())


@pytest.mark.parametrize("name", NAMES)
def test_page_names_nothing_that_is_not_there(name: str) -> None:
    path = ROOT / name
    text = path.read_text()
    assert broken_links(path, text) == []
    assert unknown_commands(text) == []
    assert unknown_targets(text) == []
    assert unknown_files(text) == []


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "schema").glob("*.json")), ids=lambda path: path.name)
def test_schema_is_one(path: Path) -> None:
    schema = json.loads(path.read_text())
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert schema["title"]


def test_page_that_is_wrong_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One\n[there](#one) [gone](gone.md) [no](#two) [far](https://example.com)\n")
    assert broken_links(page, page.read_text()) == ["gone.md", "#two"]
    assert unknown_commands("Say `openbell fly`, then `openbell run`. Words: openbell goes.") == ["fly"]
    assert unknown_targets("```\nmake tea\nmake test\n```\n") == ["tea"]
    assert unknown_files("See `src/openbell/core/project.py` and `src/openbell/gone.py`.") == ["src/openbell/gone.py"]
