"""The parser: every command of the overview is there, and says what it does."""

import pytest

from openbell.cli.main import COMMANDS
from openbell.cli.parser import parse_and_run


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert parse_and_run([*name.split(" "), "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"Usage: openbell {name}" in shown
    assert "--empty-" not in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["nope"], 'Unknown command "nope"'), (["run", "--nope"], "Unknown option: --nope"), (["deploy"], "deploy")],
)
def test_mistakes_exit_with_2_and_say_what(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert parse_and_run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert parse_and_run(["--version"]) == 0
    assert capsys.readouterr().out.strip() == "0.1.0"
