"""Routes of an environment against a gateway in memory: what is written, when it counts, and who is named."""

import asyncio
import json

import pytest

from openbell.adapters.kubernetes import routes as module
from openbell.adapters.kubernetes.in_force import change_of, rule_of
from openbell.adapters.kubernetes.platform import SERVICE, SLOT
from openbell.adapters.kubernetes.routes import (
    CHANGE,
    HEADER,
    KEY,
    SESSIONS,
    SHARES,
    GatewayRoutes,
)
from openbell.core.project import Service
from openbell.ports import AdapterError
from tests.adapters.kubernetes.memory import Content, MemoryApi, pod, service

SERVICES = {
    "api": Service(protocol="http", run="x"),
    "websocket": Service(protocol="websocket", run="x"),
    "fix-gateway": Service(protocol="fix", run="x"),
    "worker": Service(protocol="leader", run="x"),
}
PORTS = {"api": 80, "websocket": 8080, "fix-gateway": 9878, "worker": 8081}
HTTP_GROUP, TCP_GROUP = "gateway.networking.k8s.io/v1/httproutes", "gateway.networking.k8s.io/v1/tcproutes"
API, WEBSOCKET, FIX = f"{HTTP_GROUP}/shop-api", f"{HTTP_GROUP}/shop-websocket", f"{TCP_GROUP}/shop-fix-gateway"


class Gateway:
    """Accepts what is written, unless told otherwise."""

    def __init__(self, api: MemoryApi) -> None:
        self.problems: dict[str, Content] = {}
        self.silent = False
        api.on_write = self.look

    def look(self, _path: str, route: Content) -> None:
        if self.silent:
            return
        generation = route["metadata"]["generation"]
        good = [
            {"type": kind, "status": "True", "reason": kind, "message": "", "observedGeneration": generation}
            for kind in ("Accepted", "ResolvedRefs")
        ]
        bad = self.problems.get(route["metadata"]["name"])
        conditions = [{**bad, "observedGeneration": generation}, good[1]] if bad else good
        route["status"] = {"parents": [{"parentRef": {"name": "openbell"}, "conditions": conditions}]}


@pytest.fixture
def api() -> MemoryApi:
    made = MemoryApi()
    for slot in ("blue", "green"):
        for name, port in PORTS.items():
            labels = {SLOT: slot, SERVICE: name}
            made.put(f"v1/services/shop-{slot}-{name}", service(f"shop-{slot}-{name}", labels, port))
            made.put(f"v1/pods/shop-{slot}-{name}-1", pod(f"shop-{slot}-{name}-1", labels))
    return made


@pytest.fixture
def gateway(api: MemoryApi, monkeypatch: pytest.MonkeyPatch) -> Gateway:
    monkeypatch.setattr(module, "ACCEPT_POLL_S", 0.0)
    return Gateway(api)


@pytest.fixture
def routes(api: MemoryApi, gateway: Gateway) -> GatewayRoutes:
    return GatewayRoutes(api, project="shop", gateway="gateways/openbell", services=SERVICES)


def written(api: MemoryApi) -> list[str]:
    return [path.rpartition("/")[2] for path, _ in api.applied]


# --- what is refused before anything is written


@pytest.mark.parametrize(
    ("weights", "sessions"),
    [
        ({}, "blue"),
        ({"blue": 50, "green": 49}, "blue"),
        ({"blue": 101, "green": -1}, "blue"),
        ({"blue": 100, "red": 0}, "blue"),
        ({"blue": 100}, "red"),
        ({"blue": 100}, ""),
    ],
)
async def test_impossible_weights_are_refused(
    routes: GatewayRoutes, api: MemoryApi, weights: dict[str, int], sessions: str
) -> None:
    with pytest.raises(AdapterError, match="impossible") as caught:
        await routes.route(weights, sessions, key="a")
    assert caught.value.effect == "not_applied"
    assert api.asked == []


@pytest.mark.parametrize(
    "change",
    [
        {"metadata": {"labels": {"openbell.dev/serving": "false"}}},
        {"metadata": {"deletionTimestamp": "2026-11-24T21:30:00Z"}},
        {"status": {"conditions": [{"type": "Ready", "status": "False"}]}},
    ],
)
@pytest.mark.parametrize(("weights", "sessions"), [({"blue": 95, "green": 5}, "blue"), ({"blue": 100}, "green")])
async def test_a_slot_without_a_pod_that_serves_gets_nothing(
    routes: GatewayRoutes, api: MemoryApi, weights: dict[str, int], sessions: str, change: Content
) -> None:
    await api.merge("v1/pods/shop-green-websocket-1", change)
    with pytest.raises(AdapterError, match="slot green has no instance of websocket that serves") as caught:
        await routes.route(weights, sessions, key="a")
    assert caught.value.effect == "not_applied"
    assert written(api) == []
    await routes.route({"blue": 100}, "blue", key="b")


async def test_a_route_that_would_lead_nowhere_is_refused(routes: GatewayRoutes, api: MemoryApi) -> None:
    await api.delete("v1/services/shop-green-api")
    with pytest.raises(AdapterError, match="there is no Service shop-green-api with a port") as caught:
        await routes.route({"green": 100}, "blue", key="a")
    assert caught.value.effect == "not_applied"
    assert written(api) == []
    await routes.route({"blue": 100}, "green", key="b")


# --- what is written


async def test_one_change_writes_a_route_for_each_service_but_the_leader(routes: GatewayRoutes, api: MemoryApi) -> None:
    change = await routes.route({"blue": 95, "green": 5}, "blue", key="a")
    assert sorted(written(api)) == ["shop-api", "shop-fix-gateway", "shop-websocket"]
    assert all(force for _, force in api.applied), "what others have changed is taken over"
    assert change.switch_ms >= 0
    assert routes.listeners == ("api", "websocket", "fix-gateway")
    assert await routes.weights() == {"blue": 95, "green": 5}
    assert await routes.sessions() == "blue"
    assert await routes.ports("green") == PORTS


async def test_requests_are_split_by_weight_and_a_header_reaches_a_slot(routes: GatewayRoutes, api: MemoryApi) -> None:
    await routes.route({"blue": 95, "green": 5}, "blue", key="a")
    route = api.get(API)
    assert (route["kind"], route["apiVersion"]) == ("HTTPRoute", "gateway.networking.k8s.io/v1")
    assert route["spec"]["parentRefs"] == [{"name": "openbell", "namespace": "gateways", "sectionName": "api"}]
    shown, closed, blue, green, default = route["spec"]["rules"]
    assert shown == rule_of("/drain", change_of("a"))
    assert closed == {"matches": [{"path": {"type": "Exact", "value": path}} for path in ("/drain", "/metrics")]}
    for slot, rule in (("blue", blue), ("green", green)):
        assert rule["matches"] == [{"headers": [{"name": HEADER, "value": slot}]}]
        assert rule["backendRefs"] == [{"name": f"shop-{slot}-api", "port": 80, "weight": 1}]
    assert default == {
        "backendRefs": [
            {"name": "shop-blue-api", "port": 80, "weight": 95},
            {"name": "shop-green-api", "port": 80, "weight": 5},
        ]
    }


async def test_fix_sessions_follow_their_slot_and_not_the_weights(routes: GatewayRoutes, api: MemoryApi) -> None:
    await routes.route({"blue": 5, "green": 95}, "blue", key="a")
    route = api.get(FIX)
    assert route["kind"] == "TCPRoute"
    assert route["spec"]["rules"] == [{"backendRefs": [{"name": "shop-blue-fix-gateway", "port": 9878, "weight": 100}]}]
    assert route["metadata"]["annotations"][SESSIONS] == "blue"


async def test_a_slot_that_is_not_placed_yet_is_no_part_of_a_route(routes: GatewayRoutes, api: MemoryApi) -> None:
    for name in PORTS:
        await api.delete(f"v1/services/shop-green-{name}")
    await routes.route({"blue": 100}, "blue", key="a")
    assert "green" not in json.dumps(api.get(API)["spec"])
    assert await routes.weights() == {"blue": 100, "green": 0}


async def test_a_gateway_of_the_same_namespace_has_no_other(api: MemoryApi, gateway: Gateway) -> None:
    routes = GatewayRoutes(api, project="shop", gateway="openbell", services=SERVICES)
    await routes.route({"blue": 100}, "blue", key="a")
    assert api.get(API)["spec"]["parentRefs"] == [{"name": "openbell", "sectionName": "api"}]


async def test_without_routes_nothing_is_routed(routes: GatewayRoutes) -> None:
    assert await routes.weights() == {"blue": 0, "green": 0}
    assert await routes.sessions() == ""
    await routes.remove()


async def test_routes_are_removed(routes: GatewayRoutes, api: MemoryApi) -> None:
    await routes.route({"blue": 100}, "blue", key="a")
    await routes.remove()
    assert api.names(HTTP_GROUP) == api.names(TCP_GROUP) == []


# --- once for each key


async def test_the_same_key_is_one_change(routes: GatewayRoutes, api: MemoryApi) -> None:
    first = await routes.route({"blue": 95, "green": 5}, "blue", key="a")
    assert await routes.route({"blue": 95, "green": 5}, "blue", key="a") == first
    assert len(api.applied) == 3
    await routes.route({"blue": 75, "green": 25}, "blue", key="b")
    assert len(api.applied) == 6


async def test_a_change_that_was_not_completed_is_made_again(
    routes: GatewayRoutes, api: MemoryApi, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The note of the change before is still there, and says nothing of this one."""
    before = await routes.route({"blue": 100}, "blue", key="a")
    monkeypatch.setattr(module, "ACCEPT_TIMEOUT_S", 0.0)
    gateway.silent = True
    with pytest.raises(AdapterError, match="has not accepted"):
        await routes.route({"blue": 95, "green": 5}, "blue", key="b")
    assert api.get(API)["metadata"]["annotations"][KEY] == "b"
    with pytest.raises(AdapterError, match="has not accepted"):
        await routes.route({"blue": 95, "green": 5}, "blue", key="b")
    gateway.silent = False
    assert await routes.route({"blue": 95, "green": 5}, "blue", key="b") != before


@pytest.mark.parametrize("note", ["", "nonsense", "{}", '{"switch_ms": 1, "at_s": 2}'])
async def test_a_note_of_somebody_else_is_no_note(routes: GatewayRoutes, api: MemoryApi, note: str) -> None:
    await routes.route({"blue": 100}, "blue", key="a")
    await api.merge(WEBSOCKET, {"metadata": {"annotations": {CHANGE: note}}})
    await routes.route({"blue": 100}, "blue", key="a")
    assert len(api.applied) == 6


# --- when it counts


async def test_a_change_counts_when_the_gateway_has_accepted_this_generation(
    routes: GatewayRoutes, api: MemoryApi, gateway: Gateway
) -> None:
    await routes.route({"blue": 100}, "blue", key="a")
    gateway.silent = True
    change = asyncio.create_task(routes.route({"blue": 95, "green": 5}, "blue", key="b"))
    for _ in range(300):
        await asyncio.sleep(0)
    assert api.get(API)["metadata"]["generation"] == 2
    assert not change.done(), "the gateway has only accepted the generation before"
    gateway.silent = False
    for path in (API, WEBSOCKET):
        gateway.look(path, api.get(path))
    await asyncio.wait_for(change, 5)


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        (
            {"type": "Accepted", "status": "False", "reason": "NotAllowedByListeners", "message": "no such namespace"},
            "shop-websocket|websocket: NotAllowedByListeners: no such namespace",
        ),
        (
            {"type": "Accepted", "status": "Unknown", "reason": "Pending", "message": "Waiting for controller"},
            "websocket: Pending: Waiting for controller",
        ),
    ],
)
async def test_a_gateway_that_refuses_is_quoted_and_the_route_named(
    routes: GatewayRoutes, gateway: Gateway, monkeypatch: pytest.MonkeyPatch, problem: Content, message: str
) -> None:
    monkeypatch.setattr(module, "ACCEPT_TIMEOUT_S", 0.0)
    gateway.problems["shop-websocket"] = problem
    with pytest.raises(AdapterError, match=message) as caught:
        await routes.route({"blue": 100}, "blue", key="a")
    assert "the gateway gateways/openbell has not accepted websocket: " in caught.value.message
    assert (caught.value.retryable, caught.value.effect) == (True, "unknown")


async def test_a_gateway_that_does_not_look_is_told(
    routes: GatewayRoutes, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ACCEPT_TIMEOUT_S", 0.0)
    gateway.silent = True
    with pytest.raises(AdapterError, match="api: no gateway has taken it; is there a listener of that name"):
        await routes.route({"blue": 100}, "blue", key="a")


# --- who else changes routes


async def test_what_somebody_else_has_changed_is_named_and_taken_over(routes: GatewayRoutes, api: MemoryApi) -> None:
    await routes.route({"blue": 95, "green": 5}, "blue", key="a")
    assert await routes.drift() == ""
    path = next(path for path in api.objects if path.endswith("/shop-api"))
    edited = api.objects[path]
    edited["spec"]["rules"][-1]["backendRefs"][0]["weight"] = 50
    edited["metadata"]["managedFields"] = [
        {"manager": "openbell", "operation": "Apply", "time": "2026-01-01T10:00:00Z", "fieldsV1": {"f:spec": {}}},
        {"manager": "traefik", "operation": "Update", "time": "2026-01-01T10:00:00Z", "fieldsV1": {"f:status": {}}},
        {"manager": "kubectl-edit", "operation": "Update", "time": "2026-01-01T11:00:00Z", "fieldsV1": {"f:spec": {}}},
    ]
    said = await routes.drift()
    assert said.startswith("shop-api is now shop-blue-api 50, shop-green-api 5 (not ")
    assert said.endswith("changed by kubectl-edit at 2026-01-01T11:00:00Z")
    await routes.route({"blue": 95, "green": 5}, "blue", key="b")
    assert await routes.drift() == ""


async def test_a_route_that_somebody_has_deleted_is_told(routes: GatewayRoutes, api: MemoryApi) -> None:
    await routes.route({"blue": 100}, "blue", key="a")
    for path in [path for path in api.objects if path.endswith("/shop-websocket")]:
        del api.objects[path]
    assert await routes.drift() == "the route of websocket was deleted"


async def test_where_only_some_routes_were_refused_others_have_changed(routes: GatewayRoutes, api: MemoryApi) -> None:
    api.refusals["PATCH", "/shop-websocket"] = (403, "not allowed")
    with pytest.raises(AdapterError, match="not allowed") as caught:
        await routes.route({"blue": 100}, "blue", key="a")
    assert caught.value.effect == "unknown"
    assert sorted(written(api)) == ["shop-api", "shop-fix-gateway"]
    api.refusals.clear()
    await routes.route({"blue": 100}, "blue", key="a")
    assert await routes.weights() == {"blue": 100, "green": 0}


async def test_a_refusal_that_is_no_conflict_is_told_as_it_is(routes: GatewayRoutes, api: MemoryApi) -> None:
    for name in ("api", "websocket", "fix-gateway"):
        api.refusals["PATCH", f"/shop-{name}"] = (403, "cannot patch resource httproutes")
    with pytest.raises(AdapterError, match=r"cannot patch resource httproutes.*openbell render rbac") as caught:
        await routes.route({"blue": 100}, "blue", key="a")
    assert (caught.value.retryable, caught.value.effect) == (False, "not_applied")


@pytest.mark.parametrize("note", ["", "nonsense", "[]", '{"shop-blue-api": "all"}'])
async def test_a_note_of_shares_that_is_none_is_a_change_by_somebody(
    routes: GatewayRoutes, api: MemoryApi, note: str
) -> None:
    await routes.route({"blue": 100}, "blue", key="a")
    assert await routes.drift() == ""
    await api.merge(API, {"metadata": {"annotations": {SHARES: note}}})
    assert f"shop-api is now shop-blue-api 100 (not {note}), changed by somebody" in await routes.drift()


# --- which versions the cluster serves


async def test_tcproutes_are_written_in_the_version_that_the_cluster_serves(api: MemoryApi) -> None:
    api.served |= {
        "gateway.networking.k8s.io/v1": ["Gateway", "HTTPRoute"],
        "gateway.networking.k8s.io/v1alpha2": ["TCPRoute"],
    }
    older = GatewayRoutes(api, project="shop", gateway="openbell", services=SERVICES)
    assert await older.kinds() == {"HTTPRoute": "v1", "TCPRoute": "v1alpha2"}
    Gateway(api)
    await older.route({"blue": 100, "green": 0}, "blue", key="k")
    written = api.get("gateway.networking.k8s.io/v1alpha2/tcproutes/shop-fix-gateway")
    assert written["apiVersion"] == "gateway.networking.k8s.io/v1alpha2"
    assert await older.sessions() == "blue"
    await older.remove()
    assert not [path for path in api.objects if "routes" in path]


@pytest.mark.parametrize(
    ("kind", "said"), [("HTTPRoute", "no HTTPRoute .* version v1"), ("TCPRoute", "v1 or v1alpha2")]
)
async def test_routes_that_the_cluster_does_not_serve_are_named(api: MemoryApi, kind: str, said: str) -> None:
    api.served["gateway.networking.k8s.io/v1"].remove(kind)
    with pytest.raises(AdapterError, match=said) as caught:
        await GatewayRoutes(api, project="shop", gateway="openbell", services=SERVICES).kinds()
    assert caught.value.effect == "not_applied"


async def test_a_project_without_fix_needs_no_tcproutes(api: MemoryApi) -> None:
    api.served["gateway.networking.k8s.io/v1"].remove("TCPRoute")
    some = {name: one for name, one in SERVICES.items() if one.protocol != "fix"}
    routes = GatewayRoutes(api, project="shop", gateway="openbell", services=some)
    assert await routes.kinds() == {"HTTPRoute": "v1"}
