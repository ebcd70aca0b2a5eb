"""The drain protocol, whoever carries it: how an instance is asked to move what lives in it, on a machine or in a pod.

`POST drain {"to": SLOT}` asks an instance to move what lives in it; `GET drain` tells how much is left, in `remaining`.
Repeating either does no harm. How a request reaches an instance is the adapter's business.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal

import msgspec

from openbell.ports import AdapterError

DRAIN_POLL_S = 0.05
ABSENT = (404, 405, 501)
"""Answers that say that a service has no such path: it has nothing to move."""

Method = Literal["GET", "POST"]
Ask = Callable[[Method, dict[str, str] | None], Awaitable[int]]
"""Sends one drain request with its body; returns what remains, 0 for an instance that is gone."""


class Remaining(msgspec.Struct):
    """How much lives in an instance: sessions, streams, requests in flight, or 1 for a leader."""

    remaining: int = 0


async def move(ask: Ask, to: str, *, timeout_s: float) -> tuple[int, int]:
    """Have an instance move what lives in it to the slot `to`; returns how much moved, and how much is left by then."""
    deadline = time.monotonic() + timeout_s
    # Asked before, because a service may have moved all of it when it answers.
    before = await ask("GET", None)
    left = await ask("POST", {"to": to})
    while left > 0 and time.monotonic() < deadline:
        await asyncio.sleep(DRAIN_POLL_S)
        left = await ask("GET", None)
    return max(0, before - left), left


def refuse_kept_lead(system: str, left: Mapping[str, int], to: str, *, timeout_s: float) -> None:
    """Raise `AdapterError` naming an instance that still leads: two would lead, or none when it is stopped."""
    for instance, remaining in left.items():
        if remaining > 0:
            message = f"{instance} did not hand its lead over to {to} within {timeout_s:g} s"
            raise AdapterError(system, "drain", message, retryable=True, effect="unknown")
