"""What is written is read back as it was, by a library that others read it with."""

from typing import Any

import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from openbell.adapters.github_workflow.pins import Uses
from openbell.adapters.github_workflow.yaml import Value, write

TEXTS = st.text(max_size=30) | st.sampled_from(
    ["on", "No", "~", "0x1f", "1e3", "- a", "a: b", "# x", "a #b", "{}", "'", '"', "\\", "a\nb\n", " a\nb", "a\n\n",
     "\ta", "a\r\nb", "\u2028", "\x85", "&a", "*a", "!x", "%x", "@x", "`x", "a:", "2026-01-01", "1:20", "=", "<<", ".",
     "x\n  y\n", "\na\n", "a\n#b\n", "a\n---\nb\n", "---", "...\n", "🦀", "a  b", "null", "yes\n", "${{ x }}"]
)  # fmt: skip
KEYS = TEXTS.filter(lambda key: key != "on")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


class Loader(yaml.SafeLoader):
    """Reads texts as YAML 1.2 does: `on` is a word."""


def read(text: str) -> Any:
    return yaml.load(text, Loader)  # noqa: S506 - a subclass of the safe one


@given(document=st.dictionaries(KEYS, VALUES, min_size=1, max_size=5))
@example(document={"a": [[]], "b": [{}, [{"c": None}], ["x"]], "": {}})
@example(document={".0": None, "._1": "/", "./a": "_1"})
@example(document={"x": [["a", ["b"]], {"k": ["v", {"w": "x\ny\n"}]}]})
def test_a_document_is_read_back_as_it_was(document: dict[str, Value]) -> None:
    assert read(write(document)) == document


def test_a_pinned_action_has_its_release_beside_it() -> None:
    text = write({"steps": [{"uses": Uses("a/b@0123", "v1.2.3"), "with": {"x": True}}], "on": None})
    assert text == "steps:\n  - uses: a/b@0123 # v1.2.3\n    with:\n      x: true\non:\n"


def test_scripts_are_blocks_and_short_lists_are_lines() -> None:
    text = write({"run": "a \\\n  b\n", "list": ["a", "b"], "on": {"push": {"branches": ["**"]}}})
    assert text == 'run: |\n  a \\\n    b\nlist: [a, b]\non:\n  push:\n    branches: ["**"]\n'
