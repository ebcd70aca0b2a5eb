"""What every command says the same way: facts as JSON on standard output, progress and errors on standard error."""

import os
import sys
from typing import TYPE_CHECKING, Any, TextIO

import msgspec

if TYPE_CHECKING:
    from rich.console import Console

DONE, FAILED, USAGE, WAITS, INTERRUPTED = 0, 1, 2, 3, 130

_COLOURS = {"red": "31", "green": "32", "yellow": "33", "blue": "34", "dim": "2", "bold": "1"}


def console(*, stderr: bool = True) -> "Console":
    """Return a console that colours only on a terminal; progress belongs on standard error."""
    # Imported when something moves on the screen, and not before: it costs more than a run in which all is known.
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=True)


def is_lively(stream: TextIO) -> bool:
    """Say whether a stream is a terminal on which things may move and have colours."""
    return stream.isatty() and os.environ.get("TERM") != "dumb" and "NO_COLOR" not in os.environ


def paint(text: str, colour: str, stream: TextIO) -> str:
    """Colour a text on a terminal; elsewhere it stays as it is."""
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if is_lively(stream) else text


def say(line: str = "", *, stream: TextIO | None = None) -> None:
    """Print a line of progress on standard error; a terminal that lacks a glyph gets a question mark, not a crash."""
    stream = stream or sys.stderr
    encoding = stream.encoding or "utf-8"
    stream.write(line.encode(encoding, errors="replace").decode(encoding) + "\n")
    stream.flush()


def print_json(fact: Any) -> None:
    """Print one JSON document on standard output."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(fact), indent=2).decode() + "\n")


def complain(message: str, *, code: int = USAGE) -> int:
    """Print an error on standard error, and return the exit code that belongs to it."""
    sys.stderr.write(message.rstrip() + "\n")
    return code
