"""What every command says the same way: facts as JSON on standard output, progress and errors on standard error.

All text gets to the terminal through here, for much of it is other people's: commit subjects, names, what services
print. Whoever writes those must not move the cursor, so control characters are replaced (ECMA-48).
"""

import os
import re
import sys
from typing import TYPE_CHECKING, Any, TextIO

import msgspec

if TYPE_CHECKING:
    from rich.console import Console

DONE, FAILED, USAGE, WAITS, INTERRUPTED = 0, 1, 2, 3, 130
CANNOT = 75
"""This machine cannot do it now, and that says nothing of the work (EX_TEMPFAIL of sysexits.h)."""
NOT_CHECKED = 75
"""A tool could not look at everything; EX_TEMPFAIL of sysexits.h."""
UNREAD = 141
"""Nobody reads standard output any more: what a shell says of a tool that SIGPIPE has ended."""

_COLOURS = {"red": "31", "green": "32", "yellow": "33", "blue": "34", "dim": "2", "bold": "1"}
# Colours may stay: those of `paint`, and those of tools in the logs of jobs; not 8, which hides what follows. Overrides
# of direction go, too: they let a line read otherwise than it is.
_NUMBER = r"(?:[0-79]|[1-9]\d{1,2})?"
_CONTROL = re.compile(rf"(\x1b\[{_NUMBER}(?:;{_NUMBER})*m)|[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def console(*, stderr: bool = True) -> "Console":
    """Return a console that wraps at spaces and adds nothing of its own; progress belongs on standard error."""
    # Imported when something moves on the screen, and not before: it costs more than a run in which all is known.
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, emoji=False)


def is_lively(stream: TextIO) -> bool:
    """Say whether a stream is a terminal on which things may move and have colours."""
    return stream.isatty() and os.environ.get("TERM") != "dumb" and "NO_COLOR" not in os.environ


def paint(text: str, colour: str, stream: TextIO) -> str:
    """Colour a text on a terminal; elsewhere it stays as it is."""
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if is_lively(stream) else text


def counted(number: int, noun: str) -> str:
    """Write a number with its noun: "1 job", "2 jobs"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def harmless(text: str, *, colours: bool) -> str:
    """Replace control characters, except newlines and tabs; with `colours`, sequences that set one stay."""
    return _CONTROL.sub(lambda found: (colours and found[1]) or "\ufffd", text)


def say(line: str = "", *, stream: TextIO | None = None) -> None:
    """Print a line, on standard error by default; a terminal that lacks a glyph gets a question mark, not a crash.

    Progress that nobody reads any more does not stop the work. Raises `BrokenPipeError` for standard output.
    """
    stream = stream or sys.stderr
    encoding = stream.encoding or "utf-8"
    text = harmless(line, colours=is_lively(stream))
    try:
        stream.write(text.encode(encoding, errors="replace").decode(encoding) + "\n")
        stream.flush()
    except BrokenPipeError:
        if stream is not sys.stderr:
            raise
        forget(stream)


def forget(stream: TextIO) -> None:
    """Let what is still to be written to a stream go nowhere; else Python complains of it when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def print_json(fact: Any) -> None:
    """Print one JSON document on standard output."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(fact), indent=2).decode() + "\n")


def complain(message: str, *, code: int = USAGE) -> int:
    """Print an error on standard error, and return the exit code that belongs to it."""
    say(message.rstrip())
    return code
