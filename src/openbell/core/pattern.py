"""Names against patterns: branches and tags (shell-style), and the placeholders of commands.

In a tag's pattern a `*` beside a dot is one number of a version, as in the specification's `v*.*.*`: `v1.2.3` matches,
`v1.2` and the pre-release `v1.2.3-rc1` do not. A pre-release never reaches production by looking like a release.
"""

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import cache

_PLACEHOLDER = re.compile(r"\{\{([A-Za-z_][A-Za-z0-9_-]*)\}\}|(?<![$\\])\{([A-Za-z_][A-Za-z0-9_-]*)\}")


def match_branch(name: str, pattern: str) -> bool:
    """Say whether a branch's name matches a shell-style pattern; `*` crosses slashes."""
    return fnmatchcase(name, pattern)


def match_tag(name: str, pattern: str) -> bool:
    """Say whether a tag's name matches a pattern in which a `*` beside a dot stands for a number."""
    return _tag_expression(pattern).fullmatch(name) is not None


@cache
def _tag_expression(pattern: str) -> re.Pattern[str]:
    parts = []
    for index, character in enumerate(pattern):
        beside_dot = "." in (pattern[index - 1 : index], pattern[index + 1 : index + 2])
        if character == "*":
            parts.append("(?:0|[1-9][0-9]*)" if beside_dot else ".*")
        elif character == "?":
            parts.append(".")
        else:
            parts.append(re.escape(character))
    return re.compile("".join(parts))


def placeholders(text: str) -> list[str]:
    """Return the names of the placeholders `{name}` in a command, in order; `${name}` and `{{name}}` are none."""
    return [match[2] for match in _PLACEHOLDER.finditer(text) if match[2]]


def escape(text: str) -> str:
    """Write a text so that `fill` leaves it as it is."""
    return _PLACEHOLDER.sub(lambda match: match[0] if match[1] else "{" + match[0] + "}", text)


def fill(text: str, values: Mapping[str, str]) -> str:
    """Replace each `{name}` that has a value, and write `{{name}}` as `{name}`; everything else stays as it is."""

    def replace(match: re.Match[str]) -> str:
        if match[1]:
            return "{" + match[1] + "}"
        return values.get(match[2], match[0])

    return _PLACEHOLDER.sub(replace, text)
