"""The reference of the command line, composed from the commands themselves."""

import importlib
import inspect

from cyclopts.argument import Argument, ArgumentCollection

from openbell.cli.main import COMMANDS
from openbell.cli.parser import build_app, command_named

HEAD = """\
# Commands

`openbell COMMAND --help` says the same on the terminal. State lives in `.openbell/` of the project, or where
`OPENBELL_STATE` says. With `--json` a command prints one JSON document on standard output and nothing else; progress
goes to standard error. The documents are described in [schema/](schema/), the exit codes in
[exit-codes.md](exit-codes.md).
"""


def page() -> str:
    """Compose the page: the commands by group, each with its arguments and options."""
    app = build_app()
    lines = [HEAD]
    group = ""
    for name, command in COMMANDS.items():
        if command.group != group:
            group = command.group
            lines.append(f"## {group}\n")
        arguments = command_named(app, name).assemble_argument_collection(parse_docstring=True)
        lines.append(_section(name, command.summary, arguments))
    return "\n".join(lines)


def prose(command: str) -> str:
    """Take what a command's docstring says beyond its first sentence and before its parameters."""
    module = importlib.import_module(f"openbell.cli.{COMMANDS[command].module}")
    text = inspect.getdoc(getattr(module, command.replace(" ", "_"))) or ""
    body = text.partition("\n\n")[2]
    for heading in ("Parameters\n", "Args:\n", "Arguments:\n"):
        body = body.partition(heading)[0]
    return body.strip()


def _section(name: str, summary: str, arguments: ArgumentCollection) -> str:
    shown = [argument for argument in arguments if argument.show]
    usage = " ".join(["openbell", name, *(_usage(argument) for argument in shown if argument.index is not None)])
    options = [argument for argument in shown if argument.index is None]
    lines = [
        f"### {name}\n",
        f"{summary[:1].upper()}{summary[1:]}.\n",
        f"```\n{usage}{' [OPTIONS]' if options else ''}\n```\n",
    ]
    if more := prose(name):
        lines.append(f"{more}\n")
    lines += [_row(argument) for argument in shown]
    return "\n".join(lines) + ("\n" if shown else "")


def _usage(argument: Argument) -> str:
    name = argument.names[0].upper().lstrip("-")
    name = f"{name}..." if argument.token_count()[1] else name
    return name if argument.required else f"[{name}]"


def _row(argument: Argument) -> str:
    help_text = (argument.parameter.help or "").strip().rstrip(".")
    default = " (the default)" if argument.field_info.default is True else ""
    return f"- `{_names(argument)}`" + (f": {help_text}{default}" if help_text else "")


def _names(argument: Argument) -> str:
    if argument.index is not None:
        return argument.names[0].upper().lstrip("-")
    given = [name for name in argument.names if not name.startswith(("--no-", "--empty-"))]
    choices = argument.get_choices()
    refused = [name for name in argument.names if name.startswith("--no-") and argument.field_info.default is not False]
    value = "" if refused else f" {'|'.join(choices)}" if choices else _placeholder(argument)
    return ", ".join(given + refused) + value


def _placeholder(argument: Argument) -> str:
    return f" {argument.names[0].lstrip('-').upper()}" if argument.token_count()[0] else ""
