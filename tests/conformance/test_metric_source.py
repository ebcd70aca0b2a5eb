"""What every `MetricSource` does, whatever it is made of."""

import pytest

from openbell.core.analysis.limits import LATENCY_EDGES_MS
from tests.conformance.worlds import World

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_each_slot_is_counted_since_it_was_last_asked(world: World) -> None:
    await world.platform.place("blue", world.release("1.0.0"), 1, timeout_s=world.timeout_s, key="a")
    await world.router.route({"blue": 100}, "blue", key="count")
    await world.request(7)
    await world.wait_counted()
    blue, green = await world.metrics.sample("blue"), await world.metrics.sample("green")
    assert (blue.observed, blue.requests, blue.errors) == (True, 7, 0)
    assert blue.first_at_s is not None
    assert blue.last_at_s is not None
    assert blue.first_at_s <= blue.last_at_s
    assert (green.observed, green.requests, green.first_at_s) == (True, 0, None)
    assert (await world.metrics.sample("blue")).requests == 0
    await world.request(3)
    await world.wait_counted()
    assert (await world.metrics.sample("blue")).requests == 3


async def test_errors_and_latencies_are_those_of_the_slot_that_served(world: World) -> None:
    await world.platform.place("blue", world.release("1.0.0"), 1, timeout_s=world.timeout_s, key="a")
    bad = world.release("1.2.0", ERRORS="1", LATENCY_S="0.03")
    await world.platform.place("green", bad, 1, timeout_s=world.timeout_s, key="b")
    await world.router.route({"blue": 50, "green": 50}, "blue", key="errors")
    answers = await world.request(40)
    await world.wait_counted()
    blue, green = await world.metrics.sample("blue"), await world.metrics.sample("green")
    assert (blue.requests, blue.errors) == (answers.count((200, "blue")), 0)
    assert (green.requests, green.errors) == (answers.count((500, "green")), answers.count((500, "green")))
    assert green.requests > 0
    assert sum(green.latency_counts) == green.requests
    assert len(green.latency_counts) == len(LATENCY_EDGES_MS) + 1
    fast = LATENCY_EDGES_MS.index(25)
    assert sum(green.latency_counts[: fast + 1]) == 0, "each answer took 30 ms at least"
    assert sum(blue.latency_counts[: fast + 1]) > 0


async def test_without_its_source_nothing_is_observed(world: World) -> None:
    await world.break_metrics()
    try:
        assert not (await world.metrics.sample("blue")).observed
    finally:
        await world.mend_metrics()
    assert (await world.metrics.sample("blue")).observed
