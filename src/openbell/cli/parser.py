"""The parser of the command line: cyclopts with lazily imported commands; usage errors exit with 2."""

from collections.abc import Sequence

import cyclopts

import openbell
from openbell.cli.main import COMMANDS


def build_app() -> cyclopts.App:
    """Build the application; commands are import paths, resolved when called."""
    app = cyclopts.App(
        name="openbell",
        help=openbell.__doc__,
        version=openbell.__version__,
        help_format="plaintext",
        default_parameter=cyclopts.Parameter(negative_iterable=()),
    )
    for name, command in COMMANDS.items():
        app.command(f"openbell.cli.{command.module}:{name}", name=name)
    app.register_install_completion_command()
    return app


def parse_and_run(arguments: Sequence[str]) -> int:
    """Parse, run, and return the exit code."""
    try:
        result = build_app()(arguments, exit_on_error=False, result_action="return_value")
    except cyclopts.CycloptsError:
        return 2
    except KeyboardInterrupt:
        return 130
    return result if isinstance(result, int) else 0
