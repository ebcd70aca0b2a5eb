"""The page of what goes wrong, composed from what tests have seen (docs/troubleshooting.json)."""

from pathlib import Path

import msgspec

RECORDINGS = Path(__file__).parent / "troubleshooting.json"
HEAD = """\
# Troubleshooting

What openbell says when something goes wrong, and what to do then. Each of these was made real by a test, and each
message is the one that the test saw; only names, addresses and times are other ones. What is written down first is
how the test did it: it tells whether your case is the same.

A release that cannot be brought up fails the step that places it. The side that serves is not touched, the side that
was to take over is put back as it was, and the exit code says that the rollout was not done
([exit codes](exit-codes.md)). `openbell why` tells it again later.

This page is about environments and rollouts. What a run says of jobs that fail or take long is in
[failures of a pipeline](failures.md).
"""
IN_A_CLUSTER = """\
The system and the step come first, then the pod that it is about: PROJECT-SLOT-SERVICE, which is also the name of the
Deployment where no pod could be made.
What cannot come right by itself is told at once, and everything else when `healthy_timeout_s` is over. The seconds
include putting the slot back.
"""
ON_ONE_MACHINE = """\
What fails on the way is told by the command itself, and kept for `openbell why`.
"""
SECTIONS = {"a cluster": ("In a cluster", IN_A_CLUSTER), "one machine": ("On one machine", ON_ONE_MACHINE)}
TOLD = {
    "at once": "Told after {seconds} s:",
    "when the time is up": "Told when the time is up:",
    "by doctor": "`openbell doctor` says:",
    "by the command": "The command says:",
}


class Case(msgspec.Struct, frozen=True):
    """A case as the tests declare it."""

    name: str
    where: str
    title: str
    done: str
    remedy: str
    told: str


class Seen(msgspec.Struct, frozen=True):
    """A case and what was seen."""

    case: Case
    message: str
    seconds: int


def page() -> str:
    """Compose the page: the cases by where they happen, each with what was done, what was said and what to do."""
    seen = msgspec.json.decode(RECORDINGS.read_bytes(), type=dict[str, Seen]).values()
    parts = [HEAD]
    for where, (heading, text) in SECTIONS.items():
        here = sorted((one for one in seen if one.case.where == where), key=lambda one: one.case.title)
        if here:
            parts += [f"## {heading}\n", text, *map(_section, here)]
    return "\n".join(parts)


def _section(seen: Seen) -> str:
    told = TOLD[seen.case.told].format(seconds=max(1, seen.seconds))
    return "\n".join(
        [
            f"### {seen.case.title}\n",
            f"{seen.case.done} {told}\n",
            f"```text\n{seen.message}\n```\n",
            f"{seen.case.remedy}\n",
        ]
    )
