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
    families: dict[str, cyclopts.App] = {}
    for name, command in COMMANDS.items():
        family, _, member = name.rpartition(" ")
        if family and family not in families:
            families[family] = cyclopts.App(name=family, help=f"{family.capitalize()}s: what can be done with them.")
            app.command(families[family])
        parent = families.get(family, app)
        parent.command(f"openbell.cli.{command.module}:{name.replace(' ', '_')}", name=member)
    app.register_install_completion_command()
    return app


def command_named(app: cyclopts.App, name: str) -> cyclopts.App:
    """Find a command by its name of one or two words."""
    for word in name.split(" "):
        app = app[word]
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
