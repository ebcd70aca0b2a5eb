"""What every `Router` does, whatever it is made of."""

import pytest
import pytest_asyncio

from openbell.ports import AdapterError
from tests.conformance.worlds import World

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def router_world(whole_world: World) -> World:
    """The world without what other modules have left there; placing what is there already takes no time."""
    await whole_world.reset()
    return whole_world


@pytest_asyncio.fixture(loop_scope="session")
async def both(router_world: World) -> World:
    """The world with a release in each slot; weights are as the test before has left them."""
    await place_both(router_world)
    return router_world


async def place_both(world: World) -> None:
    await world.platform.place("blue", world.release("1.0.0"), 1, timeout_s=world.timeout_s, key="a")
    await world.platform.place("green", world.release("1.1.0", OTHER="1"), 1, timeout_s=world.timeout_s, key="b")


async def test_all_requests_follow_a_change_at_once(both: World) -> None:
    for number, slot in enumerate(("blue", "green", "blue")):
        change = await both.router.route({slot: 100}, slot, key=f"all-{number}")
        assert change.switch_ms < both.switch_ms_max
        assert set(await both.request(10)) == {(200, slot)}
        assert (await both.router.weights())[slot] == 100


async def test_what_somebody_else_changes_is_told_and_taken_over(both: World) -> None:
    await both.router.route({"blue": 95, "green": 5}, "blue", key="ours")
    assert await both.router.drift() == ""
    await both.disturb()
    assert await both.router.drift() != ""
    await both.router.route({"blue": 95, "green": 5}, "blue", key="ours again")
    assert await both.router.drift() == ""
    assert await both.router.weights() == {"blue": 95, "green": 5}


async def test_customers_do_not_operate_services(both: World) -> None:
    await both.router.route({"blue": 100}, "blue", key="closed")
    assert await both.ask("/healthz") == 200
    for path in ("/drain", "/metrics", "/%64rain"):
        assert await both.ask(path) in both.refusals


async def test_a_share_of_the_requests_goes_to_the_candidate(both: World) -> None:
    await both.router.route({"blue": 70, "green": 30}, "blue", key="share")
    assert await both.router.weights() == {"blue": 70, "green": 30}
    slots = [slot for _, slot in await both.request(400)]
    assert 70 <= slots.count("green") <= 170


async def test_the_same_key_is_one_change(both: World) -> None:
    first = await both.router.route({"blue": 95, "green": 5}, "blue", key="same")
    assert await both.router.route({"blue": 95, "green": 5}, "blue", key="same") == first
    assert await both.router.weights() == {"blue": 95, "green": 5}


async def test_impossible_weights_are_refused(both: World) -> None:
    for weights, sessions in (
        ({"blue": 50, "green": 49}, "blue"),
        ({"blue": 101, "green": -1}, "blue"),
        ({"blue": 100, "red": 0}, "blue"),
        ({"blue": 100}, "red"),
    ):
        with pytest.raises(AdapterError, match="impossible") as caught:
            await both.router.route(weights, sessions, key=f"impossible {weights} {sessions}")
        assert caught.value.effect == "not_applied"


async def test_a_slot_without_instances_gets_nothing(world: World) -> None:
    await world.platform.place("blue", world.release("1.0.0"), 1, timeout_s=world.timeout_s, key="a")
    await world.router.route({"blue": 100}, "blue", key="before")
    for weights, sessions in (({"blue": 95, "green": 5}, "blue"), ({"blue": 100}, "green")):
        with pytest.raises(AdapterError, match="slot green has no instance") as caught:
            await world.router.route(weights, sessions, key=f"empty {sessions}")
        assert caught.value.effect == "not_applied"
        assert await world.router.weights() == {"blue": 100, "green": 0}
