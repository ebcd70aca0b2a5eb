"""What GitHub lets through is at least what openbell's patterns match, and no more where its language can say it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbell.adapters.github_workflow.filters import branch_filter, condition, literal, possible, quoted, tag_filter
from openbell.core.pattern import match_branch, match_tag

PATTERNS = st.text("ab/.-1*?[]!+\\'", max_size=8)
REFS = st.text("ab/.-1+!'][\\", max_size=8)


def passes_filter(name: str, written: str) -> bool:
    """GitHub's filter patterns, as its cheat sheet has them; one is anchored at both ends."""
    token = re.compile(r"\\(.)|(\*\*)|(\*)|\[([^\]]+)\]([+?]?)|(.)", re.DOTALL)
    parts = []
    for escaped, anything, within, among, often, plain in token.findall(written):
        if among:
            parts.append(f"[{among}]{often}")
        else:
            parts.append(".*" if anything else "[^/]*" if within else re.escape(escaped or plain))
    return re.fullmatch("".join(parts), name, re.DOTALL) is not None


def holds(expression: str, ref: str) -> bool:
    """Evaluate what `condition` writes: comparisons without regard to capitals."""
    as_python = re.sub(r"'((?:[^']|'')*)'", lambda match: repr(match[1].replace("''", "'")), expression)
    as_python = as_python.replace("github.ref_name", "ref").replace("||", "or").replace("&&", "and")
    names = {
        "ref": ref,
        "startsWith": lambda text, head: text.lower().startswith(head.lower()),
        "endsWith": lambda text, tail: text.lower().endswith(tail.lower()),
    }
    return not expression or bool(eval(as_python, {"__builtins__": {}}, names))  # noqa: S307 - what was written here


@given(pattern=PATTERNS, name=REFS)
def test_filters_let_through_what_patterns_match(pattern: str, name: str) -> None:
    if match_branch(name, pattern):
        assert passes_filter(name, branch_filter(pattern))
        assert holds(condition([pattern]), name)
    if match_tag(name, pattern):
        assert passes_filter(name, tag_filter(pattern))


@given(pattern=st.text("ab/.-1*+", max_size=8), name=REFS)
def test_filters_of_words_and_stars_are_exact(pattern: str, name: str) -> None:
    assert passes_filter(name, branch_filter(pattern)) == match_branch(name, pattern)


@pytest.mark.parametrize(
    ("pattern", "written"),
    [("main", "main"), ("release/*", "release/**"), ("a***b", "a**b"), ("v[0-9]", "v[0-9]"), ("v[!0]x", "v**x"),
     ("!x", r"\!x"), ("c++", r"c\+\+"), ("x?", "x**")],
)  # fmt: skip
def test_branch_filter(pattern: str, written: str) -> None:
    assert branch_filter(pattern) == written


@pytest.mark.parametrize(
    ("patterns", "written"),
    [
        (["main", "develop"], "github.ref_name == 'main' || github.ref_name == 'develop'"),
        (["release/*"], "startsWith(github.ref_name, 'release/')"),
        (["a*z"], "(startsWith(github.ref_name, 'a') && endsWith(github.ref_name, 'z'))"),
        (["main", "*"], ""),
        (["it's"], "github.ref_name == 'it''s'"),
    ],
)
def test_condition(patterns: list[str], written: str) -> None:
    assert condition(patterns) == written


@pytest.mark.parametrize(
    "pattern", ["a b", "a..b", "/x", "x/", "a//b", ".x", "x.lock", "a~1", "a:b", "a@{b", "a\\b", "\x7f"]
)
def test_patterns_that_no_ref_fits_are_left_out(pattern: str) -> None:
    assert possible((pattern, "main")) == ("main",)
    assert branch_filter("a${{b") == "a**b"


def test_versions_are_numbers() -> None:
    assert tag_filter("v*.*.*") == "v[0-9]+.[0-9]+.[0-9]+"
    assert tag_filter("release-*") == "release-**"
    assert not passes_filter("v1.2.3-rc1", tag_filter("v*.*.*"))


@given(text=st.text("${} '\"ab", max_size=20))
def test_texts_come_out_as_they_were(text: str) -> None:
    filled = re.sub(r"\$\{\{ '((?:[^']|'')*)' \}\}", lambda match: match[1].replace("''", "'"), literal(text))
    assert filled == text
    assert quoted(text)[1:-1].replace("''", "'") == text
