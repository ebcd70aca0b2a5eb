"""What a Dockerfile is built from: its stages and their base images, as far as they can be read without building it.

Source: https://docs.docker.com/reference/dockerfile (FROM, ARG, and how variables are replaced).
"""

import re
from collections.abc import Iterator, Mapping

import msgspec

SCRATCH = "scratch"
_FROM = re.compile(
    r"FROM\s+(?:--platform=(?P<platform>\S+)\s+)?(?P<image>\S+)(?:\s+AS\s+(?P<stage>\S+))?", re.IGNORECASE
)
_ARG = re.compile(r"ARG\s+(?P<name>[A-Za-z_]\w*)(?:=(?P<value>\S*))?", re.IGNORECASE)
_VARIABLE = re.compile(r"\$(?:(?P<plain>[A-Za-z_]\w*)|\{(?P<name>[A-Za-z_]\w*)(?::-(?P<default>[^}]*))?\})")


class Base(msgspec.Struct, frozen=True):
    """An image that a stage begins with; `native` when it is the builder's platform and not the target's."""

    image: str
    native: bool = False


def bases(text: str, arguments: Mapping[str, str]) -> tuple[Base, ...]:
    """Name the images that a Dockerfile begins its stages with, each once; neither `scratch` nor other stages."""
    values: dict[str, str] = {}
    stages: list[str] = []
    found: dict[Base, None] = {}
    for line in _instructions(text):
        argument = _ARG.fullmatch(line)
        if argument and not stages:
            default = (argument["value"] or "").strip("\"'")
            values[argument["name"]] = arguments.get(argument["name"], _replace(default, values))
        begin = _FROM.match(line)
        if begin is None:
            continue
        image = _replace(begin["image"], values)
        if image not in stages and image != SCRATCH:
            found[Base(image, (begin["platform"] or "") in ("$BUILDPLATFORM", "${BUILDPLATFORM}"))] = None
        stages.append(begin["stage"] or "")
    return tuple(found)


def _instructions(text: str) -> Iterator[str]:
    """Yield instructions, each on one line, without comments."""
    pending = ""
    for line in text.splitlines():
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        if stripped.endswith("\\"):
            pending += stripped[:-1] + " "
            continue
        yield pending + stripped
        pending = ""
    if pending:
        yield pending.strip()


def _replace(text: str, values: Mapping[str, str]) -> str:
    """Replace the variables of a FROM line; one that has no value is nothing."""

    def value(match: re.Match[str]) -> str:
        return values.get(match["plain"] or match["name"], "") or match["default"] or ""

    return _VARIABLE.sub(value, text)
