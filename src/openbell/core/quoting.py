"""How a value enters a script of the shell: as a part of one word, wherever its placeholder stands.

`{out}/x`, `"{out}/x"` and `'{out}'/x` are all the same file, whatever the folder is called. For that a script is cut
where its quoting changes: at quotes, substitutions, here-documents and comments. That is as much of the shell's grammar
as commands of jobs need. Beyond it are a `case` inside `$(...)`, a substitution inside a here-document, and a script in
quotes that is for another shell. A value of plain characters is the same in every place and depends on none of this.

Source: POSIX, Shell Command Language, 2.2 Quoting and 2.7.4 Here-Document
"""

import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from typing import Literal

from openbell.core.pattern import fill

Place = Literal["bare", "double", "single", "ansi", "here", "literal"]

_BARE_MARK = re.compile(
    r"""\\. | (?<![^\s;&|(])\#[^\n]* | (?P<sign>\$'|['"`()\n])
    | <<< | <<(?P<dash>-?)[ \t]*(?:['"\\](?P<literal>\w+)['"]?|(?P<here>[A-Za-z_]\w*))""",
    re.VERBOSE | re.DOTALL,
)
_DOUBLE_MARK = re.compile(r"""\\. | (?P<sign>["`]|\$\()""", re.VERBOSE | re.DOTALL)
_CLOSERS = {'"': '"', "`": "`", "(": ")", "$(": ")"}
_STRINGS: dict[str, tuple[Place, re.Pattern[str]]] = {
    "'": ("single", re.compile(r"[^']*")),
    "$'": ("ansi", re.compile(r"(?:[^'\\]|\\.)*", re.DOTALL)),
}


def _escape(characters: str) -> Callable[[str], str]:
    special = re.compile(f"[{re.escape(characters)}]")
    return lambda value: special.sub(r"\\\g<0>", value)


_WRITERS: dict[Place, Callable[[str], str]] = {
    "bare": shlex.quote,
    "double": _escape('\\"$`'),
    "single": lambda value: value.replace("'", "'\\''"),
    "ansi": _escape("\\'"),
    "here": _escape("\\$`"),
    "literal": str,
}


def fill_script(script: str, texts: Mapping[str, str], values: Mapping[str, str]) -> str:
    """Fill the placeholders of a script: `texts` as they are, being script; each of `values` as a part of one word."""
    return "".join(
        fill(part, {**texts, **{name: _WRITERS[place](value) for name, value in values.items()}})
        for place, part in _cut(script)
    )


def _cut(script: str) -> Iterator[tuple[Place, str]]:
    """Cut a script into its parts, each with the quoting that it stands in; together they are the script."""
    opened: list[str] = []  # what ends the quotes and substitutions that are open, the innermost last
    documents: list[re.Match[str]] = []  # the here-documents that begin on the next line
    start = at = 0
    while True:
        place: Place = "double" if opened[-1:] == ['"'] else "bare"
        mark = (_DOUBLE_MARK if place == "double" else _BARE_MARK).search(script, at)
        if mark is None:
            break
        at, sign = mark.end(), mark["sign"]
        if place == "bare" and (mark["here"] or mark["literal"]):
            documents.append(mark)
        if sign is None or (sign == "\n" and not documents):
            continue
        yield place, script[start:at]
        start = at
        if sign in _STRINGS:
            string, body = _STRINGS[sign]
            start = (body.match(script, at) or mark).end()
            yield string, script[at:start]
            at = start + 1
        elif sign == "\n":
            for document in documents:
                at = _end_of_document(script, at, document)
                yield ("literal" if document["literal"] else "here"), script[start:at]
                start = at
            documents.clear()
        elif opened[-1:] == [sign]:
            opened.pop()
        elif sign in _CLOSERS:
            opened.append(_CLOSERS[sign])
    yield place, script[start:]


def _end_of_document(script: str, begin: int, mark: re.Match[str]) -> int:
    """Find the line that ends a here-document; one without it is none, as in `$((1 <<n))`."""
    tabs, word = r"\t*" if mark["dash"] else "", re.escape(mark["literal"] or mark["here"])
    end = re.compile(f"^{tabs}{word}$", re.MULTILINE).search(script, begin)
    return end.start() if end else begin
