"""Patterns and files: the fast way says what `pathspec` says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pathspec import GitIgnoreSpec

from openbell.wiring.selection import Selection

PARTS = st.sampled_from(["a", "b", "ab", "a.b", "a-b", "a0", ".a", "\u00fc", "**", "*", "a*", "!a", "a b"])
PATHS = st.lists(PARTS.filter(lambda part: "*" not in part), min_size=1, max_size=4).map("/".join)
PATTERNS = st.one_of(
    st.lists(PARTS, min_size=1, max_size=3).map("/".join),
    st.lists(PARTS, min_size=1, max_size=3).map(lambda parts: "/".join([*parts, "**"])),
    st.lists(PARTS, min_size=1, max_size=3).map(lambda parts: "/" + "/".join([*parts, "**"])),
    st.lists(PARTS, min_size=1, max_size=2).map(lambda parts: "!" + "/".join([*parts, "**"])),
    st.sampled_from(
        ["a//**", "a/b/", "/a", "//**", "/**", "a/**/b", "a/***", "./a/**", "../**", "a/./**", " a/**", "a /**"]
    ),
)


@given(st.lists(PATHS, max_size=12, unique=True), st.lists(PATTERNS, min_size=1, max_size=4))
def test_it_selects_what_pathspec_selects(files: list[str], patterns: list[str]) -> None:
    spec = GitIgnoreSpec.from_lines(patterns)
    assert Selection(files).select(patterns) == [name for name in files if spec.match_file(name)]


@pytest.mark.parametrize(
    ("patterns", "selected"),
    [
        (["src/**"], ["src/a.py", "src/sub/b.py"]),
        (["/src/sub/**"], ["src/sub/b.py"]),
        (["src/sub/**", "doc/**"], ["doc/x", "src/sub/b.py"]),
        (["src/**", "!src/sub/**"], ["src/a.py"]),
        (["*.py"], ["src/a.py", "src/sub/b.py", "src0.py"]),
        (["nothing/**"], []),
        (["**"], ["doc/x", "src/a.py", "src/sub/b.py", "src0.py"]),
    ],
)
def test_selection(patterns: list[str], selected: list[str]) -> None:
    tree = Selection(["doc/x", "src/a.py", "src/sub/b.py", "src0.py"])
    assert tree.select(patterns) == selected
    assert tree.select(patterns) == selected
