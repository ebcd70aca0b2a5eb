"""Writes plain data as YAML of one shape: what looks like anything but a word is quoted, scripts are blocks.

A library for YAML writes no comments, which the releases of pinned actions need, and decides by itself what is quoted.
Quoted texts are JSON's, which YAML 1.2 contains; what YAML takes for a line break or refuses is escaped besides.

Source: https://yaml.org/spec/1.2.2
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence

from openbell.adapters.github_workflow.pins import Uses

Value = None | bool | int | str | Uses | Sequence["Value"] | Mapping[str, "Value"]

_WORD = re.compile(r"(?:[A-Za-z_/]|\./)[A-Za-z0-9_./@-]*(?: [A-Za-z0-9_./@()-]+)*")
_NO_WORD = re.compile(r"(?i)true|false|yes|no|on|off|null|y|n|\.(?:inf|nan)|\.{1,3}")
_ESCAPED = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")
_IN_BLOCK = re.compile("[ -~\n\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]*")


def write(document: Mapping[str, Value]) -> str:
    """Write a document; keys keep their order."""
    return "\n".join(_mapping(document, "")) + "\n"


def _mapping(mapping: Mapping[str, Value], indent: str) -> Iterator[str]:
    for key, value in mapping.items():
        name = key if key == "on" else _text(key)
        if isinstance(value, str) and "\n" in value and _is_block(value):
            yield f"{indent}{name}: |{_chomping(value)}"
            yield from (f"{indent}  {line}" if line else "" for line in value.removesuffix("\n").split("\n"))
        elif isinstance(value, Mapping) and value:
            yield f"{indent}{name}:"
            yield from _mapping(value, indent + "  ")
        elif isinstance(value, Sequence) and not isinstance(value, str) and value and not _is_short(value):
            yield f"{indent}{name}:"
            yield from _sequence(value, indent + "  ")
        else:
            yield f"{indent}{name}: {_scalar(value)}".rstrip()


def _sequence(values: Sequence[Value], indent: str) -> Iterator[str]:
    for value in values:
        if isinstance(value, Mapping) and value:
            first, *rest = _mapping(value, indent + "  ")
            yield f"{indent}- {first.lstrip()}"
            yield from rest
        else:
            yield f"{indent}- {_scalar(value)}"


def _scalar(value: Value) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case str():
            return _text(value)
        case Uses(text, comment):
            return f"{_text(text)} # {comment}"
        case Mapping():
            return "{" + ", ".join(f"{_text(key)}: {_scalar(each) or 'null'}" for key, each in value.items()) + "}"
        case _:
            return "[" + ", ".join(_scalar(each) or "null" for each in value) + "]"


def _text(text: str) -> str:
    if _WORD.fullmatch(text) and not _NO_WORD.fullmatch(text):
        return text
    return _ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(text, ensure_ascii=False))


def _is_block(text: str) -> bool:
    """Whether a text can be a block as it stands: printable, and its first line says how deep it is."""
    return bool(_IN_BLOCK.fullmatch(text)) and not text.startswith((" ", "\n")) and not text.endswith("\n\n")


def _chomping(text: str) -> str:
    return "" if text.endswith("\n") else "-"


def _is_short(value: Sequence[Value]) -> bool:
    """Whether a list fits on one line."""
    return all(isinstance(each, str) for each in value) and len(repr(value)) <= 80
