"""The new lines of a diff without context, as `git diff --unified=0` writes it, by path.

Source: https://git-scm.com/docs/diff-format
"""

import re

_HUNK = re.compile(rb"@@ -\d+(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
_ESCAPED = re.compile(rb"\\([abtnvfr\"\\]|[0-7]{3})")
_ESCAPES = dict(zip([b"a", b"b", b"t", b"n", b"v", b"f", b"r", b'"', b"\\"], b'\a\b\t\n\v\f\r"\\', strict=True))


def parse_hunks(text: bytes) -> dict[str, tuple[range, ...]]:
    """Read the new lines out of a diff without context. Only a hunk's head counts its lines, so content cannot lie."""
    found: dict[str, list[range]] = {}
    path, skip = "", 0
    for line in text.split(b"\n"):
        if skip and line[:1] in (b"+", b"-", b"\\"):
            skip -= line[:1] != b"\\"
            continue
        skip = 0
        if line.startswith(b"+++ "):
            name = _unquote(line[4:].rstrip(b"\t")).decode(errors="surrogateescape")
            path = name.removeprefix("b/") if name.startswith("b/") else ""
        elif head := _HUNK.match(line):
            removed, added = (int(head[number] or 1) for number in (1, 3))
            skip = removed + added
            if path and added:
                found.setdefault(path, []).append(range(int(head[2]), int(head[2]) + added))
    return {name: tuple(parts) for name, parts in found.items()}


def _unquote(name: bytes) -> bytes:
    """Read a path as git writes it: in quotes, with C's escapes, when it has control characters or quotes."""
    if not name.startswith(b'"'):
        return name
    return _ESCAPED.sub(
        lambda found: bytes([_ESCAPES[found[1]] if found[1] in _ESCAPES else int(found[1], 8) & 255]), name[1:-1]
    )
