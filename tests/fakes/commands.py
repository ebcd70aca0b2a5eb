"""Commands of the command line, called within the test's own process."""

from collections.abc import Callable

import pytest

from openbell.cli.parser import parse_and_run

Call = Callable[..., tuple[int, str, str]]
"""Takes the arguments of a command; returns its exit code, and what it wrote to standard output and error."""


def caller(capsys: pytest.CaptureFixture[str]) -> Call:
    """Make what calls commands in the current folder; what was printed before a call is not part of its answer."""

    def run_command(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = parse_and_run(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run_command
