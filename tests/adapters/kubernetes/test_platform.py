"""Placing, retiring, draining and observing on a cluster in memory, where something goes wrong or is repeated."""

from typing import Any

import msgspec
import pytest

from openbell.adapters.kubernetes import platform as module
from openbell.adapters.kubernetes.chart import DIGEST, VERSION
from openbell.adapters.kubernetes.objects import Pod
from openbell.adapters.kubernetes.platform import (
    DELETION_COST,
    SERVICE,
    SERVING,
    SLOT,
    _surplus,
)
from openbell.ports import AdapterError, Held
from tests.adapters.kubernetes.memory import NAMESPACE, Content, held, pod
from tests.adapters.kubernetes.world import ONE, TWO, World, refused

BAD_IMAGE: Content = {"waiting": {"reason": "ImagePullBackOff", "message": "image: not found"}}
LOOPS: Content = {"waiting": {"reason": "CrashLoopBackOff"}}


# --- placing


async def test_a_release_is_placed_with_its_images_its_settings_and_who_it_is(world: World) -> None:
    world.settings = {"config": {"LOG": "debug", "REGION": "eu"}, "database": {"host": "db"}, "openbell": {"slot": "?"}}
    await world.place()
    assert held(world.api, "blue") == {"api": 2, "worker": 2}
    assert await world.platform.placements() == {"blue": Held(ONE.digest, "1.0.0", 4)}
    image = {"repository": "registry.example/api", "digest": f"sha256:{'a' * 64}"}
    values = world.helm.values["shop-blue"]
    assert values["openbell"] == {"environment": "production", "slot": "blue", "release": "1" * 12}
    assert values["annotations"] == {DIGEST: ONE.digest, VERSION: "1.0.0"}
    assert values["services"]["api"] == {"replicas": 2, "image": image, "env": {"WORKERS": "2"}}
    assert values["config"] == {"LOG": "info", "REGION": "eu"}
    assert values["database"] == {"host": "db"}
    assert values["migrations"] == {"expand": False, "contract": ""}


async def test_placing_says_so_to_those_who_look_with_kubectl(world: World) -> None:
    await world.place()
    (event,) = world.api.created
    assert (event["reason"], event["type"]) == ("Placed", "Normal")
    assert event["message"] == "1.0.0: 2 of each service are ready in blue"
    assert event["involvedObject"]["uid"].startswith("uid-shop-blue-")
    assert event["involvedObject"]["namespace"] == event["metadata"]["namespace"] == NAMESPACE


async def test_what_cannot_be_announced_is_placed_all_the_same(world: World) -> None:
    world.api.refusals["POST", "/events"] = (403, "events is forbidden")
    await world.place()
    assert held(world.api, "blue") == {"api": 2, "worker": 2}


async def test_placing_never_takes_away(world: World) -> None:
    await world.place(replicas=3)
    await world.place(replicas=1)
    assert held(world.api, "blue") == {"api": 3, "worker": 3}


async def test_an_occupied_slot_is_refused(world: World) -> None:
    await world.place()
    before = list(world.helm.calls)
    async with refused(r"slot blue holds 1\.0\.0; retire it before 1\.1\.0 is placed there"):
        await world.place(release=TWO)
    assert world.helm.calls == before


async def test_a_release_without_an_image_by_digest_is_refused(world: World) -> None:
    world.images = {"api": "registry.example/api:latest"}
    async with refused("no image by digest for worker, api.*images.json"):
        await world.place()
    assert world.helm.calls == []


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (BAD_IMAGE, "its image cannot be had: image: not found"),
        ({"running": {}}, "not ready within 0.05 s: (worker|api) 0 of 2, (worker|api) 0 of 2"),
    ],
)
async def test_what_does_not_get_ready_leaves_the_slot_empty(world: World, state: Content, message: str) -> None:
    world.helm.broken = state
    async with refused(message):
        await world.place()
    assert world.helm.calls == [("upgrade", "shop-blue"), ("uninstall", "shop-blue")]
    assert await world.platform.placements() == {}


async def test_a_scale_up_that_fails_is_put_back(world: World) -> None:
    await world.place(replicas=1)
    world.helm.broken = BAD_IMAGE
    async with refused("its image cannot be had"):
        await world.place(replicas=2)
    assert world.helm.values["shop-blue"]["services"]["api"]["replicas"] == 1
    assert held(world.api, "blue") == {"api": 1, "worker": 1}


async def test_the_last_lines_of_a_crash_are_told(world: World) -> None:
    world.helm.broken = LOOPS
    for name in ("shop-blue-worker-1", "shop-blue-worker-2"):
        world.api.logs[f"{name} before"] = "reading settings\nRISK_LIMIT is missing\n"

    def crash() -> None:
        for each in world.api.names("v1/pods"):
            (status,) = world.api.get(f"v1/pods/{each}")["status"]["containerStatuses"]
            status |= {"lastState": {"terminated": {"exitCode": 1}}, "restartCount": 1}

    world.helm.afterwards = crash
    async with refused("shop-blue-worker-1: it ends again and again.*\nreading settings\nRISK_LIMIT is missing$"):
        await world.place()


async def test_what_a_service_answers_to_its_own_probe_is_told(world: World) -> None:
    """The kubelet says only the number; a service says why it is not ready."""
    world.helm.broken = {"running": {}}
    world.api.pod_answers = lambda _pod, method, _body: (503, {"ready": False, "because": f"{method}: no database"})
    probe = {"httpGet": {"path": "/readyz", "port": "http"}}

    def refuse() -> None:
        for each in world.api.names("v1/pods"):
            world.api.get(f"v1/pods/{each}")["spec"]["containers"][0]["readinessProbe"] = probe
            about = {"kind": "Pod", "name": each, "fieldPath": "spec.containers{main}"}
            said = {"reason": "Unhealthy", "message": "Readiness probe failed: HTTP probe failed with statuscode: 503"}
            world.api.put(f"v1/events/{each}", {"metadata": {"name": each}, "involvedObject": about, **said})
            world.api.logs[each] = "listening\n"

    world.helm.afterwards = refuse
    answer = r'GET /readyz answered 503: {"ready": false, "because": "GET: no database"}'
    async with refused(f"shop-blue-worker-1: .*statuscode: 503; what it answers.*\n{answer}\nlistening$"):
        await world.place()
    assert held(world.api, "blue") == {}


async def test_a_node_that_is_brought_is_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openbell.adapters.kubernetes.diagnosis.SCALE_UP_GRACE_S", 0.0)
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "Insufficient cpu"}

    def find_no_node() -> None:
        for each in world.api.names("v1/pods"):
            world.api.get(f"v1/pods/{each}")["status"] = {"phase": "Pending", "conditions": [condition]}
            about = {"kind": "Pod", "name": each}
            event = {"metadata": {}, "reason": "TriggeredScaleUp", "type": "Normal", "involvedObject": about}
            world.api.put(f"v1/events/{each}", event)

    world.helm.broken = {}
    world.helm.afterwards = find_no_node
    looks = 0
    pods = world.platform._pods

    async def count(slot: str) -> list[Pod]:
        nonlocal looks
        looks += 1
        return await pods(slot)

    monkeypatch.setattr(world.platform, "_pods", count)
    async with refused("no node can take it"):
        await world.place()
    assert looks > 1, "it was not hopeless at the first look"


@pytest.mark.parametrize("retryable", [True, False])
async def test_where_nothing_happened_nothing_is_undone(world: World, *, retryable: bool) -> None:
    world.helm.failures["upgrade"] = AdapterError("helm", "upgrade", "no", retryable=retryable, effect="not_applied")
    async with refused("no", retryable=retryable):
        await world.place()
    assert world.helm.calls == [("upgrade", "shop-blue")]


async def test_what_cannot_be_looked_at_is_put_back(world: World) -> None:
    world.api.refusals["GET", "/events"] = (403, "cannot list events")
    world.helm.broken = BAD_IMAGE
    async with refused("cannot list events"):
        await world.place()
    assert world.helm.calls == [("upgrade", "shop-blue"), ("uninstall", "shop-blue")]


async def test_what_cannot_be_put_back_is_told_with_its_cause(world: World) -> None:
    world.helm.broken = BAD_IMAGE
    world.helm.failures["uninstall"] = AdapterError("helm", "uninstall", "connection refused", retryable=True)
    async with refused(
        "its image cannot be had: .*\nblue could not be put back: connection refused", "unknown", retryable=True
    ):
        await world.place()


# --- retiring


async def test_retiring_to_none_removes_the_release_and_may_be_repeated(world: World) -> None:
    await world.place()
    for _ in range(2):
        await world.platform.retire("blue", 0, key="k")
    assert await world.platform.placements() == {}
    assert [event["reason"] for event in world.api.created] == ["Placed", "Retiring"]


async def test_retiring_keeps_so_many_and_never_adds(world: World) -> None:
    await world.place(replicas=3)
    await world.platform.retire("blue", 2, key="k")
    await world.platform.retire("blue", 3, key="k")
    assert held(world.api, "blue") == {"api": 2, "worker": 2}
    assert world.helm.values["shop-blue"]["annotations"][VERSION] == "1.0.0"


async def test_what_does_not_end_is_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GONE_TIMEOUT_S", 0.0)
    leaving = pod("shop-blue-api-9", {SLOT: "blue", SERVICE: "api"})
    leaving["metadata"]["deletionTimestamp"] = "2026-11-24T21:30:00Z"
    world.api.put("v1/pods/elsewhere", leaving)
    async with refused("still ending after 0 s: shop-blue-api-9", "unknown", retryable=True):
        await world.platform.retire("blue", 0, key="k")


# --- draining


def make_pod(name: str, *, ready: bool = True, made: int = 1) -> Pod:
    return msgspec.convert(pod(name, {}, ready=ready, made=made), Pod)


def test_the_surplus_is_what_is_not_ready_then_what_is_oldest() -> None:
    pods = [make_pod("c", made=3), make_pod("a", made=1), make_pod("d", ready=False, made=4), make_pod("b", made=2)]
    names = [[one.metadata.name for one in _surplus(pods, keep)] for keep in range(7)]
    assert names == [["d", "a", "b", "c"], ["d", "a", "b"], ["d", "a"], ["d"], [], [], []]


async def test_what_drains_gets_no_more_work_where_others_stay(world: World) -> None:
    await world.place(replicas=2)
    world.api.pod_answers = lambda _pod, _method, _body: (200, {"remaining": 0})
    reports = await world.platform.drain("blue", "green", 1, key="k")
    assert [report.service for report in reports] == ["api", "worker"]
    marked = [
        name
        for name in world.api.names("v1/pods")
        if world.api.get(f"v1/pods/{name}")["metadata"]["labels"][SERVING] == "false"
    ]
    assert len(marked) == 2
    assert all(
        world.api.get(f"v1/pods/{name}")["metadata"]["annotations"] == {DELETION_COST: "-1000"} for name in marked
    )
    asked = {path.rpartition("/pods/")[2] for method, path, body in world.api.asked if body == {"to": "green"}}
    assert asked == {f"{name}:8080/proxy/drain" for name in marked}
    assert await world.platform.drain("blue", "green", 2, key="k") == []
    assert await world.platform.drain("green", "blue", 0, key="k") == []


async def test_what_drains_whole_goes_on_serving_until_its_routes_are_gone(world: World) -> None:
    await world.place(replicas=1)
    await world.platform.drain("blue", "green", 0, key="k")
    labels = [world.api.get(f"v1/pods/{name}")["metadata"]["labels"] for name in world.api.names("v1/pods")]
    assert {one[SERVING] for one in labels} == {"true"}


async def test_what_moved_and_what_is_left_is_counted(world: World) -> None:
    await world.place(replicas=2)
    left = {"api": [7, 7, 5, 2]}

    def answers(name: str, _method: str, _body: Any) -> tuple[int, Any]:
        rest = left.get("api", []) if "-api-" in name else []
        return 200, {"remaining": rest.pop(0) if len(rest) > 1 else rest[0] if rest else 0}

    world.api.pod_answers = answers
    api, worker = await world.platform.drain("blue", "green", 1, key="k")
    assert (api.service, api.moved, api.remaining) == ("api", 5, 2)
    assert (worker.service, worker.moved, worker.remaining) == ("worker", 0, 0)


async def test_the_side_that_takes_over_is_asked_as_well(world: World) -> None:
    await world.place("blue", ONE, 1)
    await world.place("green", TWO, 1)
    world.api.pod_answers = lambda _pod, _method, _body: (200, {"remaining": 0})
    await world.platform.drain("blue", "green", 0, key="k")
    asked = [path for _, path, body in world.api.asked if body == {"to": "green"} and "green-worker" in path]
    assert len(asked) == 1


async def test_a_lead_that_is_kept_is_no_handover(world: World) -> None:
    await world.place(replicas=1)
    world.api.pod_answers = lambda name, _method, _body: (200, {"remaining": int("-worker-" in name)})
    async with refused("did not hand its lead over to green within 0.05 s", "unknown", retryable=True):
        await world.platform.drain("blue", "green", 0, key="k")


async def test_a_pod_that_does_not_run_yet_holds_nothing(world: World) -> None:
    """After an eviction another pod takes the place, and starts while the slot is drained."""
    await world.place(replicas=1)
    nobody = {"kind": "Status", "message": "error trying to reach service: dial tcp 10.0.0.7:8080: connection refused"}
    world.api.pod_answers = lambda _pod, _method, _body: (503, nobody)
    assert {report.remaining for report in await world.platform.drain("blue", "green", 0, key="k")} == {0}


@pytest.mark.parametrize("status", [404, 405, 501])
async def test_what_has_nothing_to_drain_is_drained(world: World, status: int) -> None:
    await world.place(replicas=1)
    world.api.pod_answers = lambda _pod, _method, _body: (status, {})
    assert [report.remaining for report in await world.platform.drain("blue", "green", 0, key="k")] == [0, 0]


@pytest.mark.parametrize(("answer", "message"), [((500, {}), "500"), ((200, "ok"), "malformed|invalid")])
async def test_a_pod_that_cannot_say_what_is_left_is_named(world: World, answer: tuple[int, Any], message: str) -> None:
    await world.place(replicas=1)
    world.api.pod_answers = lambda _pod, _method, _body: answer
    async with refused(f"shop-blue-api-[0-9] did not answer GET /drain: .*({message})", "unknown", retryable=True):
        await world.platform.drain("blue", "green", 0, key="k")


async def test_a_pod_that_has_gone_meanwhile_is_drained(world: World) -> None:
    await world.place(replicas=2)
    world.api.refusals["PATCH", "-1"] = (404, "pods not found")
    assert len(await world.platform.drain("blue", "green", 0, key="k")) == 2


# --- observing


async def test_a_side_is_seen_in_the_order_of_its_release(world: World) -> None:
    await world.place(replicas=2)
    name = next(one for one in world.api.names("v1/pods") if "-api-" in one)
    world.api.get(f"v1/pods/{name}")["status"]["containerStatuses"][0]["restartCount"] = 3
    for number, (reason, message, about) in enumerate(
        [
            ("Unhealthy", "Readiness probe failed: 503", name),
            ("Unhealthy", "Startup probe failed: connection refused", name),
            ("Unhealthy", "Liveness probe failed: 500", "shop-green-api-1"),
            ("BackOff", "Back-off restarting", name),
        ]
    ):
        event = {"metadata": {}, "reason": reason, "message": message, "involvedObject": {"name": about}, "count": 4}
        world.api.put(f"v1/events/{number}", event)
    health = await world.platform.observe("blue")
    assert [(one.service, one.instances, one.healthy) for one in health.services] == [("api", 2, 2), ("worker", 2, 2)]
    assert (health.restarts, health.failed_health_checks, health.version) == (3, 4, "1.0.0")
    assert health.healthy


async def test_a_service_without_pods_is_not_healthy(world: World) -> None:
    await world.place(replicas=1)
    for name in world.api.names("v1/pods"):
        if "-worker-" in name:
            await world.api.delete(f"v1/pods/{name}")
    health = await world.platform.observe("blue")
    assert [(one.service, one.instances) for one in health.services] == [("api", 1), ("worker", 0)]
    assert not health.healthy
    assert not health.can_serve


async def test_pods_that_end_or_have_ended_do_not_count(world: World) -> None:
    await world.place(replicas=2)
    first, second, *_ = (one for one in world.api.names("v1/pods") if "-api-" in one)
    world.api.get(f"v1/pods/{first}")["metadata"]["deletionTimestamp"] = "2026-11-24T21:30:00Z"
    world.api.get(f"v1/pods/{second}")["status"]["phase"] = "Failed"
    assert [one.instances for one in (await world.platform.observe("blue")).services] == [0, 2]


async def test_an_unused_slot_is_observed_and_empty(world: World) -> None:
    health = await world.platform.observe("green")
    assert (health.observed, health.services, health.healthy) == (True, (), False)


async def test_a_release_that_this_machine_does_not_know_is_seen_all_the_same(world: World) -> None:
    await world.place(replicas=1)
    for name in world.api.names("apps/v1/deployments"):
        world.api.get(f"apps/v1/deployments/{name}")["metadata"]["annotations"][DIGEST] = "sha256:other"
    assert [one.service for one in (await world.platform.observe("blue")).services] == ["api", "worker"]
