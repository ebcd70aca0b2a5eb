"""What gets to the terminal, and what happens when nobody reads it any more."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from openbell.cli.terminal import harmless, say

CONFIGURATION = '[project]\nname = "tiny"\n[jobs.a]\nstage = "test"\nrun = "true"\n'


class Terminal(io.StringIO):
    """A stream that is one."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\tb\nc é ✓", "a\tb\nc é ✓"),
        ("feat: \x1b]0;owned\x07", "feat: \ufffd]0;owned\ufffd"),
        ("back\x08\rover\x7f\x9b2J", "back\ufffd\ufffdover\ufffd\ufffd2J"),
        ("\u202eevil\u2066", "\ufffdevil\ufffd"),
        ("\x1b[2Jgone\x1b[31mred", "\ufffd[2Jgone\ufffdred"),
    ],
)
def test_what_others_wrote_commands_no_terminal(text: str, shown: str) -> None:
    assert harmless(text, colours=False) == shown


def test_colours_stay_where_they_are_wanted_but_nothing_is_hidden() -> None:
    text = "\x1b[31mred\x1b[0;1m bold\x1b[m"
    assert harmless(text, colours=True) == text
    assert harmless("\x1b[8mhidden", colours=True) == "\ufffd[8mhidden"
    assert harmless("\x1b[1;8mhidden", colours=True) == "\ufffd[1;8mhidden"


def test_say_is_where_text_gets_to_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    terminal, file = Terminal(), io.StringIO()
    say("\x1b[32m✓\x1b[0m \x1b[2J", stream=terminal)
    say("\x1b[2J", stream=file)
    assert (terminal.getvalue(), file.getvalue()) == ("\x1b[32m✓\x1b[0m \ufffd[2J\n", "\ufffd[2J\n")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "openbell.toml").write_text(CONFIGURATION)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run([*git, *command], cwd=tmp_path, check=True)
    return tmp_path


@pytest.fixture
def unread() -> Iterator[int]:
    """The writing end of a pipe whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["status"], 141), (["check", "--json"], 141), (["--help"], 141), (["run", "--json"], 141), (["nothing"], 2)],
)
def test_a_reader_that_has_gone_ends_it_quietly(folder: Path, unread: int, arguments: list[str], code: int) -> None:
    command = [sys.executable, "-m", "openbell", *arguments]
    found = subprocess.run(
        command, cwd=folder, stdout=unread, stderr=subprocess.PIPE, text=True, timeout=60, check=False
    )
    assert found.returncode == code
    assert "Traceback" not in found.stderr
    assert "Broken" not in found.stderr


def test_progress_that_nobody_reads_does_not_stop_the_work(folder: Path, unread: int) -> None:
    command = [sys.executable, "-m", "openbell", "run", "--json"]
    found = subprocess.run(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=unread, text=True, timeout=60, check=False
    )
    assert (found.returncode, json.loads(found.stdout)["outcome"]) == (0, "success")
