"""Names against patterns, and placeholders of commands."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbell.core.pattern import escape, fill, match_branch, match_tag, placeholders


@pytest.mark.parametrize(
    ("tag", "pattern", "matches"),
    [
        ("v1.2.3", "v*.*.*", True),
        ("v10.20.30", "v*.*.*", True),
        ("v1.2", "v*.*.*", False),
        ("v1.2.3.4", "v*.*.*", False),
        ("v1.2.3-rc1", "v*.*.*", False),
        ("v1.2.3rc1", "v*.*.*", False),
        ("vx.y.z", "v*.*.*", False),
        ("v01.2.3", "v*.*.*", False),
        ("1.2.3", "v*.*.*", False),
        ("v1.2.3-rc1", "v*.*.*-*", True),
        ("v1.2.3", "v*.*.*-*", False),
        ("release-7", "release-*", True),
        ("release-x/y", "release-*", True),
        ("v1", "v?", True),
        ("v1.2.3\n", "v*.*.*", False),
    ],
)
def test_tags(tag: str, pattern: str, *, matches: bool) -> None:
    assert match_tag(tag, pattern) is matches


def test_branches_are_shell_style() -> None:
    assert match_branch("feature/a/b", "feature/*")
    assert not match_branch("Main", "main")


def test_placeholders_are_lone_words_in_braces() -> None:
    text = "echo ${HOME} {out} {fix-gateway_address} {Api_url} {a,b} {} {{literal}} {1} { x } ${X%%:*} awk '{print $1}'"
    assert placeholders(text) == ["out", "fix-gateway_address", "Api_url"]


def test_fill_replaces_what_it_knows_and_nothing_else() -> None:
    filled = fill("{a} {b} {{a}} ${a} {a}", {"a": "{b}", "c": "x"})
    assert filled == "{b} {b} {a} ${a} {b}"


@given(st.text())
def test_fill_without_values_only_takes_escapes_away(text: str) -> None:
    assert fill(fill(text, {}), {}).count("{{") <= text.count("{{")
    if "{{" not in text:
        assert fill(text, {}) == text


@given(st.text("a{}$\\1", max_size=8).filter(lambda text: "{{" not in text))
def test_what_is_escaped_is_left_as_it_is(text: str) -> None:
    assert fill(escape(text), {"a": "x", "aa": "y"}) == text
