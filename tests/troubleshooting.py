"""What goes wrong, made real by tests, and what a person sees then: the cases of docs/troubleshooting.md.

A test declares its case and hands over the message it saw. It must be the one that docs/troubleshooting.json keeps, in
which names that differ each time are the same; with OPENBELL_TEST_RECORD=1 it is kept there instead.
"""

import fcntl
import json
import os
import re
from pathlib import Path
from typing import Literal

import msgspec

RECORDINGS = Path(__file__).parents[1] / "docs" / "troubleshooting.json"
RECORD = "OPENBELL_TEST_RECORD"
_SAME_EACH_TIME = (
    (re.compile(r"\bt-[a-z-]+-[0-9a-f]{6}\b"), "trading"),
    (re.compile(r"(-(?:api|worker|websocket|fix-gateway))-[0-9a-f]{6,10}-[0-9a-z]{5}\b"), r"\1-7c9d8b5f4-x2x7q"),
    (re.compile(r"\b10\.88\.\d+\.\d+\b"), "10.0.0.7"),
    (re.compile(r"\blocalhost:5000/"), "registry.example/"),
    (re.compile(r"/\S+/(?=state/)"), "/srv/"),
    (re.compile(r"/state/(?=journal|environments)"), "/.openbell/"),
    (re.compile(r"\(disk I/O error\)"), "(database or disk is full)"),
    (re.compile(r"\bport \d{5}\b"), "port 20001"),
    (re.compile(r"\bprocess \d+$", re.MULTILINE), "process 4711"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"), "2026-01-05T10:00:00Z"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}"), "2026-01-05 10:00:00,000"),
)


class Case(msgspec.Struct, frozen=True):
    """One case: where it happens, how the test makes it real, what to do, and whether it is told at once."""

    name: str
    where: Literal["a cluster", "one machine"]
    title: str
    done: str
    remedy: str
    told: Literal["at once", "when the time is up", "by doctor", "by the command"] = "at once"


class Seen(msgspec.Struct, frozen=True):
    """A case, what was seen, and after how many seconds."""

    case: Case
    message: str
    seconds: int


def normal(message: str) -> str:
    """The message with names, addresses and times that are the same each time."""
    for pattern, word in _SAME_EACH_TIME:
        message = pattern.sub(word, message)
    return message


def recordings() -> dict[str, Seen]:
    """What is kept, by the names of the cases."""
    return msgspec.json.decode(RECORDINGS.read_bytes(), type=dict[str, Seen])


def compare(case: Case, message: str, *, seconds: int = 0) -> None:
    """Assert that this was seen before, or keep it."""
    seen = Seen(case, normal(message).strip(), seconds)
    if os.environ.get(RECORD):
        _keep(seen)
    kept = recordings().get(case.name)
    assert kept is not None, f"{case.name} is not in {RECORDINGS.name}; run the test with {RECORD}=1, then make docs"
    assert seen.message == kept.message, f"people see something else now; if it is good, run the test with {RECORD}=1"


def _keep(seen: Seen) -> None:
    with RECORDINGS.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        kept = {**json.loads(file.read() or "{}"), seen.case.name: msgspec.to_builtins(seen)}
        file.seek(0)
        file.truncate()
        file.write(json.dumps(dict(sorted(kept.items())), indent=2, ensure_ascii=False) + "\n")
