"""What every command says the same way: facts as JSON on standard output, progress and errors on standard error."""

import sys
from typing import Any

import msgspec
from rich.console import Console

DONE, FAILED, USAGE, WAITS, INTERRUPTED = 0, 1, 2, 3, 130


def console(*, stderr: bool = True) -> Console:
    """Return a console that colours only on a terminal; progress belongs on standard error."""
    return Console(stderr=stderr, highlight=False, soft_wrap=True)


def print_json(fact: Any) -> None:
    """Print one JSON document on standard output."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(fact), indent=2).decode() + "\n")


def complain(message: str, *, code: int = USAGE) -> int:
    """Print an error on standard error, and return the exit code that belongs to it."""
    sys.stderr.write(message.rstrip() + "\n")
    return code
