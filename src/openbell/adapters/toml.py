"""`openbell.toml` and the policy files that are laid over it: from text to a `Project`, or every problem with its line.

The standard library reads TOML but forgets the lines, so a small scanner finds the line of every key of a file that is
known to be well-formed; it runs only when there is something to say. Which rules hold between fields is the core's
business (`openbell.core.validation`).

Source: https://toml.io/en/v1.0.0
"""

import re
import stat
import tomllib
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec

from openbell.core.places import lay_over
from openbell.core.project import Problem, Project
from openbell.core.texts import suggest
from openbell.core.validation import validate

KeyPath = tuple[str, ...]
FILE_SIZE_MAX = 1_000_000
DEPTH_MAX = 16
"""More than twice as deep as anything in a configuration; much deeper would exhaust the stack of who reads it."""
PROBLEMS_SHOWN_MAX = 50

_DAY = "a day, such as 2027-01-31 without quotes"
_LONG_NUMBER = re.compile(r"[0-9A-Fa-f_]{1000,}")


class ConfigurationError(Exception):
    """The configuration cannot be used; `problems` are complete sentences, each with file and line."""

    def __init__(self, problems: Sequence[str], *, count: int | None = None) -> None:
        number = len(problems) if count is None else count
        super().__init__("\n".join([*problems, f"{number} error{'s' if number != 1 else ''}. Nothing was run."]))
        self.problems = tuple(problems)


class Layer(msgspec.Struct, frozen=True):
    """One file of the configuration: its name as people know it, its text and its content."""

    name: str
    text: str
    content: dict[str, Any]


class Configuration(msgspec.Struct, frozen=True):
    """A project, and the files it came from, the first one first."""

    project: Project
    layers: tuple[Layer, ...]

    def locate(self, path: KeyPath) -> str:
        """Say where a value comes from, as "openbell.toml:31"; the table it would be in when it is a default."""
        return locate(self.layers, path)

    def origin(self, path: KeyPath) -> str:
        """Say where a value comes from, as `locate`, or "default" when no file has it."""
        written = any(path in index_lines(layer.text) for layer in self.layers)
        return self.locate(path) if written else "default"


def load(files: Sequence[Path], *, relative_to: Path) -> Configuration:
    """Read a project from its file and the policy files laid over it; later files win, tables merge, lists replace.

    Raises `ConfigurationError` with all problems at once.
    """
    return assemble([_read(file, relative_to) for file in files])


def assemble(layers: Sequence[Layer]) -> Configuration:
    """Make a project of files that were read; raises `ConfigurationError` with all problems at once."""
    merged: dict[str, Any] = {}
    for layer in layers:
        merged = lay_over(merged, layer.content)
    found = check_types(merged, Project)
    if found:
        raise _errors(layers, found)
    try:
        project = msgspec.convert(merged, Project)
    except msgspec.ValidationError as error:
        raise _errors(layers, [Problem((), f"{error}.")]) from None
    problems = [*validate(project), *check_patterns(project)]
    if problems:
        raise _errors(layers, problems)
    return Configuration(project, tuple(layers))


Document = TypeVar("Document", bound=msgspec.Struct)


def load_document(
    file: Path, type_: type[Document], *, relative_to: Path, check: Callable[[Document], Iterable[Problem]]
) -> tuple[Document, Layer]:
    """Read another file of the project, by its struct and the rules of `check`; raises `ConfigurationError`."""
    layer = _read(file, relative_to)
    problems = check_types(layer.content, type_)
    if not problems:
        document = msgspec.convert(layer.content, type_)
        problems = list(check(document))
        if not problems:
            return document, layer
    raise _errors([layer], problems)


def check_patterns(project: Project) -> list[Problem]:
    """Return every pattern of files that git's rules cannot read; the words of the core do not know them all."""
    written: list[tuple[KeyPath, tuple[str, ...]]] = [(("release", "config"), project.release.config)]
    for name, job in project.jobs.items():
        written += [(("jobs", name, "inputs"), job.inputs), (("jobs", name, "outputs"), job.outputs)]
    return [
        Problem((*path, str(index)), f'{path[-1]}: "{pattern}" is no pattern of files, as .gitignore has them.{hint}')
        for path, patterns in written
        for index, pattern in enumerate(patterns)
        if (hint := _pattern_error(pattern)) is not None
    ]


def _pattern_error(pattern: str) -> str | None:
    """Say what helps with a pattern that cannot be read; None when it can. Most need no look at all."""
    special = frozenset(pattern) & frozenset("\\![#")
    if not pattern.strip() or (not special and pattern.strip("/ ")):
        return None
    from pathspec import GitIgnoreSpec

    try:
        if [each for each in GitIgnoreSpec.from_lines([pattern]).patterns if each.include is not None]:
            return None
    except (ValueError, re.error):
        pass
    return " A literal character of \\ ! # [ has a backslash before it." if special else ""


def _errors(layers: Sequence[Layer], problems: Sequence[Problem]) -> ConfigurationError:
    names = [layer.name for layer in layers]
    indexes = _index(layers)
    places = [_place(indexes, problem.path) for problem in problems]
    ordered = sorted(zip(places, problems, strict=True), key=lambda pair: (names.index(pair[0][0]), pair[0][1]))
    told = [f"{name}:{line}: {_context(problem)}" for (name, line), problem in ordered[:PROBLEMS_SHOWN_MAX]]
    more = len(ordered) - len(told)
    return ConfigurationError([*told, f"... and {more} more."] if more else told, count=len(ordered))


def _context(problem: Problem) -> str:
    """A message that does not name its table gets it in front."""
    named = problem.message.startswith("unknown key") or len(problem.path) < 2
    return problem.message if named else f"[{'.'.join(problem.path[:2])}] {problem.message}"


def _read(file: Path, relative_to: Path) -> Layer:
    name = str(file.relative_to(relative_to)) if file.is_relative_to(relative_to) else str(file)
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):
            # A pipe would be waited for, a device be read for ever.
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "no regular file"
            raise ConfigurationError([f"{name}: is {kind}; a configuration is a file of text."])
        if status.st_size > FILE_SIZE_MAX:
            raise ConfigurationError([f"{name}: larger than {FILE_SIZE_MAX // 1000} kB; that is no configuration."])
        # Some editors put a byte order mark first, which says nothing in UTF-8.
        text = file.read_text(encoding="utf-8").removeprefix("\ufeff")
    except FileNotFoundError:
        raise ConfigurationError([f"{name}: no such file."]) from None
    except OSError as error:
        raise ConfigurationError([f"{name}: cannot be read: {error.strerror}."]) from None
    except UnicodeDecodeError as error:
        message = f"{name}: not UTF-8 at byte {error.start}. Save it as UTF-8, the encoding of TOML."
        raise ConfigurationError([message]) from None
    return parse(name, text)


def parse(name: str, text: str) -> Layer:
    """Read the text of a file; raises `ConfigurationError` for what is no TOML, or deeper or larger than any is."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError([_syntax_error(name, str(error))]) from None
    except RecursionError:
        raise ConfigurationError([f"{name}: nested too deeply; at most {DEPTH_MAX} levels are allowed."]) from None
    except ValueError:
        # The only other thing that Python refuses to read: a number of thousands of digits.
        found = _LONG_NUMBER.search(text)
        place = f"{name}:{text.count(chr(10), 0, found.start()) + 1}" if found else name
        message = f"{place}: a number of more than 4300 digits; whole numbers have at most 64 bits."
        raise ConfigurationError([message]) from None
    layer = Layer(name, text, content)
    found_beyond = _find_beyond(content)
    if found_beyond is not None:
        raise _errors([layer], [found_beyond])
    return layer


def _find_beyond(content: dict[str, Any]) -> Problem | None:
    """Find a value that is nested too deeply, or a whole number beyond 64 bits, which TOML does not have."""
    pending: list[tuple[KeyPath, Any]] = [((), content)]
    while pending:
        path, value = pending.pop()
        if len(path) > DEPTH_MAX:
            return Problem(path[:3], f"{_key_of(path[:4])}: nested too deeply; at most {DEPTH_MAX} levels are allowed.")
        if isinstance(value, dict):
            pending += [((*path, key), member) for key, member in value.items()]
        elif isinstance(value, list):
            pending += [((*path, str(index)), member) for index, member in enumerate(value)]
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            return Problem(path, f"{_key_of(path)}: a whole number of {value.bit_length()} bits; it has at most 64.")
    return None


def _syntax_error(name: str, message: str) -> str:
    text, found, place = message.partition(" (at line ")
    line = place.partition(",")[0] if found else ""
    return f"{name}{':' + line if line.isdigit() else ''}: {text[:1].lower()}{text[1:]}."


# ---------------------------------------------------------------------------------------------- types, all at once


def check_types(value: Any, type_: Any, path: KeyPath = ()) -> list[Problem]:
    """Return every unknown key, missing key and wrong type of a value against a struct type."""
    origin, arguments = get_origin(type_), get_args(type_)
    if origin in (Union, UnionType):
        rest = [argument for argument in arguments if argument is not NoneType]
        if len(rest) == 1:
            return check_types(value, rest[0], path)
    if isinstance(type_, type) and issubclass(type_, msgspec.Struct):
        return _check_struct(value, type_, path)
    if origin is dict and isinstance(value, dict):
        return [problem for key, member in value.items() for problem in check_types(member, arguments[1], (*path, key))]
    if origin is tuple and isinstance(value, list):
        return [
            problem
            for index, member in enumerate(value)
            for problem in check_types(member, arguments[0], (*path, str(index)))
        ]
    try:
        msgspec.convert(value, type_)
    except msgspec.ValidationError:
        quotes = " Put it in quotes." if type_ is str and isinstance(value, int | float) else ""
        message = f"{_key_of(path)}: expected {_describe_type(type_)}, found {_describe(value)}.{quotes}"
        return [Problem(path, message)]
    return []


def _check_struct(value: Any, type_: type[msgspec.Struct], path: KeyPath) -> list[Problem]:
    if not isinstance(value, dict):
        return [Problem(path, f"{_key_of(path)}: expected a table, found {_describe(value)}.")]
    fields = _fields(type_)
    where = f"[{'.'.join(path)}]" if path else "the file"
    problems = []
    for key, member in value.items():
        if key not in fields:
            nearest = suggest(key, fields)
            remedy = nearest or f" Known: {', '.join(fields)}."
            problems.append(Problem((*path, key), f'unknown key "{key}" in {where}.{remedy}'))
        else:
            problems += check_types(member, fields[key].type, (*path, key))
    problems += [
        Problem(path, f'key "{name}" is missing in {where}: {_describe_type(field.type)}.')
        for name, field in fields.items()
        if field.required and name not in value
    ]
    return problems


@cache
def _fields(type_: type[msgspec.Struct]) -> dict[str, msgspec.structs.FieldInfo]:
    """Look a struct's fields up, once: a configuration may have hundreds of jobs."""
    return {field.encode_name: field for field in msgspec.structs.fields(type_)}


def _key_of(path: KeyPath) -> str:
    return ".".join(path[2:]) if len(path) > 2 else ".".join(path)


def _describe_type(type_: Any) -> str:
    origin, arguments = get_origin(type_), get_args(type_)
    if origin is Literal:
        return "one of " + ", ".join(f'"{argument}"' for argument in arguments)
    if origin in (Union, UnionType):
        return " or ".join(_describe_type(argument) for argument in arguments if argument is not NoneType)
    if origin is tuple:
        return f"a list ({_describe_type(arguments[0])})"
    names = {str: "text", int: "a whole number", float: "a number", bool: "true or false", dict: "a table", date: _DAY}
    return names.get(origin or type_, "a table")


def _describe(value: Any) -> str:
    kinds: dict[type, str] = {bool: "", str: " (text)", int: "", float: "", list: " (a list)", dict: " (a table)"}
    kind = kinds.get(type(value), f" (a {type(value).__name__})")
    text = f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
    return (text if len(text) <= 60 else text[:57] + "...") + kind


# ---------------------------------------------------------------------------------------------- lines


def locate(layers: Sequence[Layer], path: KeyPath) -> str:
    """Find the last file that has the value of a path (or the nearest table around it), and the line there."""
    name, line = _place(_index(layers), path)
    return f"{name}:{line}"


Indexes = list[tuple[str, dict[KeyPath, int]]]


def _index(layers: Sequence[Layer]) -> Indexes:
    return [(layer.name, index_lines(layer.text)) for layer in layers] or [("openbell.toml", {})]


def _place(indexes: Indexes, path: KeyPath) -> tuple[str, int]:
    for length in range(len(path), 0, -1):
        for name, lines in reversed(indexes):
            if path[:length] in lines:
                return name, lines[path[:length]]
    return indexes[0][0], 1


def index_lines(text: str) -> dict[KeyPath, int]:
    """Map the path of every key and table of well-formed TOML to its line, from 1. List items are "0", "1" ..."""
    return _Scanner(text).scan()


class _Scanner:
    """Walks over well-formed TOML and notes the line of each key; it does not decode values."""

    def __init__(self, text: str) -> None:
        self.text = text.replace("\r\n", "\n") + "\n"
        self.at = 0
        self.line, self.counted_to = 1, 0
        self.lines: dict[KeyPath, int] = {}
        self.counts: dict[KeyPath, int] = {}

    def scan(self) -> dict[KeyPath, int]:
        table: KeyPath = ()
        while self._skip_blank():
            if self.text.startswith("[[", self.at):
                self.at += 2
                path = self._absolute(self._key())
                self.counts[path] = self.counts.get(path, -1) + 1
                table = (*path, str(self.counts[path]))
                self._note(path)
                self._note(table)
                self._skip_line()
            elif self.text[self.at] == "[":
                self.at += 1
                table = self._absolute(self._key())
                self._note(table)
                self._skip_line()
            else:
                self._pair(table)
        return self.lines

    def _absolute(self, key: KeyPath) -> KeyPath:
        """Name the last element of each array of tables that a header goes through."""
        path: KeyPath = ()
        for index, part in enumerate(key):
            path = (*path, part)
            if path in self.counts and index < len(key) - 1:
                path = (*path, str(self.counts[path]))
        return path

    def _note(self, path: KeyPath) -> None:
        # Counted on from the last key: from the beginning each time, large files would take minutes.
        self.line += self.text.count("\n", self.counted_to, self.at)
        self.counted_to = self.at
        for length in range(1, len(path) + 1):
            self.lines.setdefault(path[:length], self.line)

    def _pair(self, table: KeyPath) -> None:
        start = self.at
        path = (*table, *self._key())
        self.at, end = start, self.at
        self._note(path)
        self.at = self.text.index("=", end) + 1
        self._value(path)

    def _key(self) -> KeyPath:
        parts: list[str] = []
        while True:
            self._skip_spaces()
            if self.text[self.at] in "\"'":
                parts.append(self._string())
            else:
                start = self.at
                while self.text[self.at].isalnum() or self.text[self.at] in "-_":
                    self.at += 1
                parts.append(self.text[start : self.at])
            self._skip_spaces()
            if self.text[self.at] != ".":
                return tuple(parts)
            self.at += 1

    def _value(self, path: KeyPath) -> None:
        self._skip_spaces()
        character = self.text[self.at]
        if character in "\"'":
            self._string()
        elif character == "[":
            self._list(path)
        elif character == "{":
            self.at += 1
            while self._skip_blank() and self.text[self.at] != "}":
                self._pair(path)
                self._skip_blank()
                self.at += self.text[self.at] == ","
            self.at += 1
        else:
            while self.text[self.at] not in ",]}#\n":
                self.at += 1

    def _list(self, path: KeyPath) -> None:
        self.at += 1
        index = 0
        while self._skip_blank() and self.text[self.at] != "]":
            self._note((*path, str(index)))
            self._value((*path, str(index)))
            self._skip_blank()
            self.at += self.text[self.at] == ","
            index += 1
        self.at += 1

    def _string(self) -> str:
        quote = self.text[self.at]
        if self.text.startswith(quote * 3, self.at):
            end = self.at + 3
            while not self.text.startswith(quote * 3, end):
                end += 2 if self.text[end] == "\\" and quote == '"' else 1
            end += 3
            while end < len(self.text) and self.text[end] == quote:
                end += 1
            self.at = end
            return ""
        end = self.at + 1
        while self.text[end] != quote:
            end += 2 if self.text[end] == "\\" and quote == '"' else 1
        content = self.text[self.at + 1 : end]
        self.at = end + 1
        return content

    def _skip_spaces(self) -> None:
        while self.text[self.at] in " \t":
            self.at += 1

    def _skip_blank(self) -> bool:
        """Go to the next character that means something; False at the end."""
        while self.at < len(self.text):
            if self.text[self.at] == "#":
                self._skip_line()
            elif self.text[self.at] in " \t\n":
                self.at += 1
            else:
                return True
        return False

    def _skip_line(self) -> None:
        self.at = self.text.index("\n", self.at)
