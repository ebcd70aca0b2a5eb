"""Fake programs on PATH: shell scripts that keep what they were called with and do what a test says."""

import asyncio
import os
from pathlib import Path

import pytest

DEADLINE_S = 10.0


class Fake:
    """One program. Its script finds `$KEPT`, a folder to leave things in."""

    def __init__(self, path: Path, kept: Path) -> None:
        self._path = path
        self.kept = kept
        self.does("")

    def does(self, script: str) -> None:
        """Say what it does after it has kept its arguments."""
        keep = f"""printf '%s\\n' "$@" "" >>{self.kept}/calls"""
        self._path.write_text(f"#!/bin/sh\nKEPT={self.kept}\n{keep}\n{script}\n")
        self._path.chmod(0o700)

    @property
    def calls(self) -> list[list[str]]:
        """The arguments of each call."""
        path = self.kept / "calls"
        return [call.split("\n") for call in path.read_text().split("\n\n") if call] if path.exists() else []

    async def pid(self) -> int:
        """The number of the process, once the script has left it in `pid`."""
        async with asyncio.timeout(DEADLINE_S):
            while not (self.kept / "pid").exists():  # noqa: ASYNC110 - another program makes it
                await asyncio.sleep(0.005)
        return int((self.kept / "pid").read_text())


def fake(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> Fake:
    """Put a program of this name before all others."""
    programs, kept = folder / "bin", folder / "kept"
    programs.mkdir()
    kept.mkdir()
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.defpath}")
    return Fake(programs / name, kept)
