"""What every `Platform` does, whatever it is made of."""

import time

import pytest

from openbell.core.project import ReleaseInfo
from openbell.ports import AdapterError
from tests.conformance.worlds import World

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def count(world: World, slot: str) -> dict[str, int]:
    health = await world.platform.observe(slot)
    assert health.observed
    return {service.service: service.instances for service in health.services}


async def test_placing_brings_every_service_to_its_replicas_in_order(world: World) -> None:
    await world.platform.place("blue", world.release("1.0.0"), 2, timeout_s=world.timeout_s, key="a")
    health = await world.platform.observe("blue")
    assert [service.service for service in health.services] == ["fix-gateway", "worker", "api"]
    assert all((service.instances, service.healthy) == (2, 2) for service in health.services)
    assert (health.healthy, health.version, health.restarts, health.failed_health_checks) == (True, "1.0.0", 0, 0)


async def test_placing_again_changes_nothing_and_never_takes_away(world: World) -> None:
    release = world.release("1.0.0")
    await world.platform.place("blue", release, 1, timeout_s=world.timeout_s, key="a")
    await world.platform.place("blue", release, 1, timeout_s=world.timeout_s, key="a")
    assert set((await count(world, "blue")).values()) == {1}
    await world.platform.place("blue", release, 2, timeout_s=world.timeout_s, key="b")
    assert set((await count(world, "blue")).values()) == {2}
    await world.platform.place("blue", release, 1, timeout_s=world.timeout_s, key="c")
    assert set((await count(world, "blue")).values()) == {2}


async def test_an_occupied_slot_refuses_another_release(world: World) -> None:
    await world.platform.place("blue", world.release("1.0.0"), 1, timeout_s=world.timeout_s, key="a")
    with pytest.raises(AdapterError, match=r"holds 1\.0\.0") as caught:
        await world.platform.place("blue", world.release("1.1.0", OTHER="1"), 1, timeout_s=world.timeout_s, key="b")
    assert caught.value.effect == "not_applied"
    assert (await world.platform.observe("blue")).version == "1.0.0"


@pytest.mark.parametrize("failure", ["ready", "start"])
async def test_a_release_that_never_gets_healthy_leaves_the_slot_as_it_was(world: World, failure: str) -> None:
    begun, timeout_s = time.monotonic(), 3.0 if failure == "ready" else world.timeout_s
    with pytest.raises(AdapterError, match=world.api_instance) as caught:
        await world.platform.place("green", world.release("1.2.0", FAIL=failure), 1, timeout_s=timeout_s, key="a")
    assert caught.value.effect == "not_applied"
    assert time.monotonic() - begun < world.refused_s_max < world.timeout_s, "what cannot start is not waited for"
    if failure == "start":
        assert "the configuration is broken" in caught.value.message
    assert await count(world, "green") == {}


async def test_a_release_that_is_not_there_is_refused(world: World) -> None:
    unknown = world.release("1.0.0")
    with pytest.raises(AdapterError, match="release") as caught:
        await world.platform.place(
            "blue", type(unknown)("sha256:" + "0" * 64, "9.9.9"), 1, timeout_s=world.timeout_s, key="a"
        )
    assert caught.value.effect == "not_applied"


async def test_retiring_leaves_so_many_of_each_service_and_may_be_repeated(world: World) -> None:
    await world.platform.place("blue", world.release("1.0.0"), 2, timeout_s=world.timeout_s, key="a")
    for _ in range(2):
        await world.platform.retire("blue", 1, key="b")
        assert set((await count(world, "blue")).values()) == {1}
    for _ in range(2):
        await world.platform.retire("blue", 0, key="c")
        assert await count(world, "blue") == {}


async def test_an_emptied_slot_takes_another_release(world: World) -> None:
    await world.platform.place("blue", world.release("1.0.0"), 1, timeout_s=world.timeout_s, key="a")
    await world.platform.retire("blue", 0, key="b")
    await world.platform.place("blue", world.release("1.1.0", OTHER="1"), 1, timeout_s=world.timeout_s, key="c")
    assert (await world.platform.observe("blue")).version == "1.1.0"


async def test_draining_reports_each_service_in_order(world: World) -> None:
    await world.platform.place("blue", world.release("1.0.0"), 2, timeout_s=world.timeout_s, key="a")
    reports = await world.platform.drain("blue", "green", 0, key="b")
    assert [(report.service, report.remaining) for report in reports] == [
        ("fix-gateway", 0),
        ("worker", 0),
        ("api", 0),
    ]
    assert len(await world.platform.drain("blue", "green", 1, key="c")) == 3
    assert await world.platform.drain("blue", "green", 2, key="d") == []
    assert await world.platform.drain("green", "blue", 0, key="e") == []


async def test_an_unused_slot_is_observed_and_empty(world: World) -> None:
    health = await world.platform.observe("green")
    assert (health.observed, health.services, health.healthy) == (True, (), False)


async def test_a_migration_runs_once_per_key(world: World) -> None:
    release = world.release("1.0.0", migration=ReleaseInfo(expand="true"))
    await world.platform.migrate("expand", release.digest, key="m1")
    await world.platform.migrate("expand", release.digest, key="m1")
    await world.platform.migrate("contract", release.digest, key="m2")


async def test_a_migration_that_fails_says_so(world: World) -> None:
    release = world.release("1.0.0", migration=ReleaseInfo(expand="false"))
    with pytest.raises(AdapterError, match=world.migration_failed):
        await world.platform.migrate("expand", release.digest, key="m3")
