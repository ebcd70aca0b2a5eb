"""How fast the matcher is, next to the naive book in the same run; measures and prints, and judges only the ratio."""

import random
import time
from collections.abc import Callable

import pytest

from harness.naive import NaiveMatching
from trading_engine.core.codes import OrderType, Side
from trading_engine.core.commands import CancelOrder, Command, LoggedCommand, SubmitOrder
from trading_engine.core.replica import Replica

COMMANDS = 6_000
CANCEL_SHARE = 0.45


def make_log(count: int) -> list[LoggedCommand]:
    """Orders around a fixed price with 45 % cancels, as published order flow has them."""
    source = random.Random(7)
    log: list[LoggedCommand] = []
    names: list[str] = []
    for seq in range(1, count + 1):
        command: Command
        if names and source.random() < CANCEL_SHARE:
            name = names.pop(source.randrange(len(names)))
            command = CancelOrder("a", f"c{seq}", name)
        else:
            names.append(f"o{seq}")
            side = source.choice((Side.BUY, Side.SELL))
            # Most orders rest at a distance: books are deep, and a matcher must not mind.
            price_ticks = round(source.gauss(1_000 - 40 if side is Side.BUY else 1_000 + 40, 25))
            command = SubmitOrder("a", f"o{seq}", "ACME", side, OrderType.LIMIT, source.randint(1, 9), price_ticks)
        log.append(LoggedCommand(seq, seq, command))
    return log


@pytest.mark.benchmark
def test_matcher_speed(record_property: Callable[[str, object], None], capsys: pytest.CaptureFixture[str]) -> None:
    log = make_log(COMMANDS)
    seconds = {}
    replica, naive = Replica(), NaiveMatching()
    for name, apply in (("matching", replica.matching.apply), ("naive book", naive.apply)):
        started = time.perf_counter()
        for logged in log:
            apply(logged)
        seconds[name] = time.perf_counter() - started
    encoded = Replica()
    started = time.perf_counter()
    for logged in log:
        encoded.apply(logged)
    seconds["matching, encoding and hash chain"] = time.perf_counter() - started
    with capsys.disabled():
        print()
        for name, taken in seconds.items():
            record_property(name, COMMANDS / taken)
            print(f"  {name:36} {COMMANDS / taken:10,.0f} commands/s")
    assert seconds["matching"] < seconds["naive book"]
