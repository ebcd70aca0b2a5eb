"""What the rules about the tree share: a violation, parsing once, waivers."""

import ast
import functools
import re
from typing import NamedTuple


class Violation(NamedTuple):
    """One place that breaks a rule."""

    line: int
    message: str


@functools.lru_cache(maxsize=512)
def parse(source: str) -> ast.Module:
    """Parse a module; the same source is parsed once."""
    return ast.parse(source)


def waived(source: str, line: int, kind: str) -> bool:
    """Tell whether the line carries `# KIND-ok: reason`; a waiver without a reason is none."""
    lines = source.splitlines()
    return line <= len(lines) and re.search(rf"(#|//|<!--)\s*{kind}-ok: \w+", lines[line - 1]) is not None
