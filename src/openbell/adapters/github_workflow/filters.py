"""Branches and tags in the two languages of GitHub: filters of events, and expressions.

Neither can say all that a pattern of `openbell.core.pattern` can. What is written here lets through whatever the
pattern does, and sometimes more (expressions do not tell capitals from small letters); on the machine openbell decides
again.

Source: https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax#filter-pattern-cheat-sheet
"""

import re
from collections.abc import Sequence

_SPECIAL = re.compile(r"[*+?!\[\]\\]")
_SIMPLE_CLASS = re.compile(r"\[(?:[A-Za-z0-9](?:-[A-Za-z0-9])?)+\]")
_ANY_CLASS = re.compile(r"\[!?\]?[^\]]*\]")
# Where an expression begins or ends, also within its strings, tools do not agree; no ref is called so.
_WILD = re.compile(r"[*?\[]|\$\{\{|\}\}")
_WILD_OR_END = re.compile(r"[*?\]]|\$\{\{|\}\}")
ANYTHING = "**"


# git-check-ref-format(1): what no branch and no tag has in its name.
_NO_REF = re.compile(r"[\x00-\x20\x7f~^:\\]|\.\.|@\{|//|(^|/)\.|^/|[/.]$|\.lock(/|$)")


def possible(patterns: Sequence[str]) -> tuple[str, ...]:
    """Keep the patterns that a ref may fit; GitHub refuses the others."""
    return tuple(pattern for pattern in patterns if not _NO_REF.search(pattern))


def branch_filter(pattern: str) -> str:
    """Write a branch's pattern as a filter: `*` crosses slashes there only when it is doubled."""
    parts, at = [], 0
    while at < len(pattern):
        among = _ANY_CLASS.match(pattern, at)
        if among:
            parts.append(among[0] if _SIMPLE_CLASS.fullmatch(among[0]) else ANYTHING)
            at = among.end()
        else:
            parts.append(ANYTHING if pattern[at] in "*?" else _literal(pattern[at]))
            at += 1
    return _joined(parts)


def tag_filter(pattern: str) -> str:
    """Write a tag's pattern as a filter; a `*` beside a dot is a number."""
    parts = []
    for index, character in enumerate(pattern):
        beside_dot = "." in (pattern[index - 1 : index], pattern[index + 1 : index + 2])
        if character == "*" and beside_dot:
            parts.append("[0-9]+")
        else:
            parts.append(ANYTHING if character in "*?" else _literal(character))
    return _joined(parts)


def _literal(character: str) -> str:
    return "\\" + character if _SPECIAL.match(character) else character


def _joined(parts: Sequence[str]) -> str:
    """Join; of several wildcards in a row one is enough, and four stars mean nothing."""
    kept = [part for index, part in enumerate(parts) if part != ANYTHING or parts[index - 1 : index] != [ANYTHING]]
    # Nobody fills anything in here, but tools that look for faults believe so.
    return "".join(kept).replace("${{", ANYTHING)


def condition(patterns: Sequence[str]) -> str:
    """Write "the ref fits one of the patterns" as an expression, by what they begin and end with; "" if any ref may."""
    alternatives = [_fits(pattern) for pattern in patterns]
    return "" if "" in alternatives else " || ".join(dict.fromkeys(alternatives))


def _fits(pattern: str) -> str:
    head, tail = _WILD.split(pattern, maxsplit=1)[0], _WILD_OR_END.split(pattern)[-1]
    if head == pattern:
        return f"github.ref_name == {quoted(pattern)}"
    tests = [f"startsWith(github.ref_name, {quoted(head)})"] if head else []
    tests += [f"endsWith(github.ref_name, {quoted(tail)})"] if tail and "[" not in tail else []
    return f"({' && '.join(tests)})" if len(tests) > 1 else "".join(tests)


def quoted(text: str) -> str:
    """Write a text as an expression's string."""
    return "'" + text.replace("'", "''") + "'"


def literal(text: str) -> str:
    """Write a text so that it comes out as it is where expressions are filled in."""
    return text.replace("${{", "${{ '${{' }}")
