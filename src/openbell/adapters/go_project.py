"""What a folder says about the Go module in it: its name, its tests, its programs, the linter it is configured for.

Source: https://go.dev/ref/mod
"""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from openbell.core.proposal import GoFacts

_MODULE = re.compile(r"^module\s+(\S+)", re.MULTILINE)
_MAIN = re.compile(rb"^package main\b", re.MULTILINE)
_MAJOR = re.compile(r"v[0-9]+")


def detect(folder: Path, files: Sequence[str]) -> GoFacts | None:
    """Look at a folder whose files are known; None when there is no `go.mod`."""
    if "go.mod" not in files:
        return None
    match = _MODULE.search(_read(folder / "go.mod").decode(errors="replace"))
    parts = [part for part in (match[1].split("/") if match else [folder.name]) if not _MAJOR.fullmatch(part)]
    sources = [
        name for name in files if name.endswith(".go") and "/testdata/" not in f"/{name}" and "vendor/" not in name
    ]
    programs = [name for name in sources if not name.endswith("_test.go")]
    golangci = any(name.startswith(".golangci.") for name in files)
    return GoFacts(
        name=parts[-1] if parts else folder.name,
        found=("go.mod", *(("golangci-lint",) if golangci else ())),
        has_tests=any(name.endswith("_test.go") for name in sources),
        has_programs=any(_MAIN.search(_read(folder / name)) for name in programs),
        can_detect_races=shutil.which("gcc") is not None or shutil.which("clang") is not None,
        has_golangci=golangci,
    )


def _read(file: Path) -> bytes:
    """Read a file; one that may not be read says nothing."""
    try:
        return file.read_bytes()
    except OSError:
        return b""
