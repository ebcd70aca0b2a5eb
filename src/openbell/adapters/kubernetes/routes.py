"""The Gateway API as a router: HTTPRoutes with weights for http and websocket, TCPRoutes for FIX.

An environment has one route for each of its services, `PROJECT-SERVICE`, bound to the gateway's listener of that name.
A route change writes all of them at once under our field manager and counts when the gateway has accepted each in the
generation that was written, and serves it, as far as that can be seen from here. A request with the header
`openbell-slot: green` reaches that slot whatever its weight.

Works with any gateway that conforms; Kubernetes has no transaction over objects, so the routes of an environment change
within milliseconds of each other, not at one moment. Source: https://gateway-api.sigs.k8s.io/reference/spec/
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from openbell.adapters.kubernetes.api import FIELD_MANAGER, SYSTEM, Api
from openbell.adapters.kubernetes.in_force import Probe, change_of, rule_of
from openbell.adapters.kubernetes.objects import Pods, Route, Services
from openbell.adapters.kubernetes.platform import SERVICE, SERVING, SLOT
from openbell.adapters.kubernetes.prerequisites import served
from openbell.core.project import Service
from openbell.ports import SLOTS, AdapterError, RouteChange

HEADER = "openbell-slot"
KEY, SESSIONS, CHANGE = "openbell.dev/key", "openbell.dev/sessions", "openbell.dev/change"
SHARES = "openbell.dev/shares"
"""Our note of the shares that a route was written with: what differs from it, somebody else has changed."""
ACCEPT_TIMEOUT_S = 15.0
ACCEPT_POLL_S = 0.05
GROUP, VERSION = "gateway.networking.k8s.io", "v1"
TCP_VERSIONS = (VERSION, "v1alpha2")
"""TCPRoute became v1 late (Gateway API 1.5); until then it is the same object under an older version."""


class _Noted(msgspec.Struct, frozen=True):
    """What a route keeps of the last change that was completed, and of which command it was."""

    key: str
    change: RouteChange


class GatewayRoutes:
    """Implements `openbell.ports.Router` for one environment. `gateway` is "NAME" or "NAMESPACE/NAME"."""

    def __init__(
        self, api: Api, *, project: str, gateway: str, services: Mapping[str, Service], address: str = ""
    ) -> None:
        self._api = api
        self._project = project
        self._gateway = gateway
        self._services = {name: one for name, one in services.items() if one.protocol != "leader"}
        closed = {name: one.drain for name, one in self._services.items() if one.protocol != "fix"}
        self._probe = Probe(api, gateway=gateway, address=address, paths=closed)
        self._lock = asyncio.Lock()
        self._tcp = ""

    async def route(self, weights: dict[str, int], sessions: str, *, key: str) -> RouteChange:
        """Send `weights[slot]` percent of new requests and streams to each slot, new FIX sessions to `sessions`."""
        if set(weights) - set(SLOTS) or sum(weights.values()) != 100 or min(weights.values()) < 0:
            message = f"impossible weights {weights}: they are percent for {' and '.join(SLOTS)}, and sum to 100"
            raise AdapterError(SYSTEM, "route", message, effect="not_applied")
        if sessions not in SLOTS:
            message = f"impossible slot {sessions} for sessions; there are {' and '.join(SLOTS)}"
            raise AdapterError(SYSTEM, "route", message, effect="not_applied")
        async with self._lock:
            known = await self._known_change(key)
            if known is not None:
                return known
            await self._require_instances([slot for slot in SLOTS if weights.get(slot) or slot == sessions])
            ports = await self._ports()
            self._require_ports(ports, weights, sessions)
            questions = await self._probe.questions()
            begun = time.monotonic()
            await self._wait_accepted(await self._write_all(weights, sessions, ports, key=key))
            await self._probe.wait_in_force(questions, change_of(key))
            switch_ms = (time.monotonic() - begun) * 1000
            change = RouteChange(round(switch_ms, 3), time.time())
            note = {"metadata": {"annotations": {CHANGE: msgspec.json.encode(_Noted(key, change)).decode()}}}
            await asyncio.gather(*(self._api.merge(path, note) for path in await self._paths()))
            return change

    async def weights(self) -> dict[str, int]:
        """The weights in force, by slot: those of the first http or websocket service's route."""
        found = dict.fromkeys(SLOTS, 0)
        for name, service in self._services.items():
            if service.protocol != "fix":
                route = await self._api.find(await self._path(name), Route)
                for backend in _default_backends(route) if route else ():
                    slot = backend.name.removesuffix(f"-{name}").rpartition("-")[2]
                    if slot in found:
                        found[slot] = backend.weight_pct
                return found
        return found

    async def drift(self) -> str:
        """Say which routes are not as they were written last, and whose fields they are; empty when all are ours."""
        async with self._lock:
            routes = await self._routes()
        return "; ".join(
            said for name, route in zip(self._services, routes, strict=True) if (said := _drift(name, route))
        )

    async def kinds(self) -> dict[str, str]:
        """Versions of the kinds of routes that the services need. Raises `AdapterError` when one is not served."""
        protocols = {one.protocol for one in self._services.values()}
        found = {}
        if protocols - {"fix"}:
            if "HTTPRoute" not in (await served(self._api, [f"{GROUP}/{VERSION}"]))[f"{GROUP}/{VERSION}"]:
                raise _unserved("HTTPRoute", (VERSION,))
            found["HTTPRoute"] = VERSION
        if "fix" in protocols:
            found["TCPRoute"] = await self._tcp_version()
        return found

    @property
    def listeners(self) -> tuple[str, ...]:
        """The services that have a route, and that the gateway must have a listener for."""
        return tuple(self._services)

    async def sessions(self) -> str:
        """The slot where new FIX sessions begin; empty when nothing is routed yet."""
        for name in self._services:
            route = await self._api.find(await self._path(name), Route)
            if route is not None:
                return route.metadata.annotations.get(SESSIONS, "")
        return ""

    async def ports(self, slot: str) -> dict[str, int]:
        """Ports of a slot's Services, by service."""
        return (await self._ports())[slot]

    async def remove(self) -> None:
        """Take the environment's routes away."""
        await asyncio.gather(*(self._api.delete(path) for path in await self._paths()))

    async def _known_change(self, key: str) -> RouteChange | None:
        """Return what a repeated command did the first time, if it is still in force on every route."""
        routes = await self._routes()
        notes = [route.metadata.annotations if route is not None else {} for route in routes]
        # The note is of an earlier command where this one was written and not completed.
        noted = [_noted(one) for one in notes if one.get(KEY) == key]
        changes = [one.change for one in noted if one is not None and one.key == key]
        return changes[0] if changes and len(changes) == len(routes) else None

    async def _require_instances(self, slots: list[str]) -> None:
        for slot in slots:
            params = {"labelSelector": f"{SLOT}={slot},{SERVING}=true"}
            pods = (await self._api.read("v1/pods", Pods, params=params)).items
            ready = {pod.metadata.labels.get(SERVICE) for pod in pods if pod.ready and not pod.leaving}
            missing = [name for name in self._services if name not in ready]
            if missing:
                message = f"slot {slot} has no instance of {', '.join(missing)} that serves"
                # Pods that are there may serve again: after an outage of the API server all of a node seem not to.
                raise AdapterError(SYSTEM, "route", message, retryable=bool(pods), effect="not_applied")

    def _require_ports(self, ports: Mapping[str, Mapping[str, int]], weights: Mapping[str, int], sessions: str) -> None:
        """Raise `AdapterError` where a route would lead nowhere, because what it leads to has no Service."""
        for name, service in self._services.items():
            wanted = [sessions] if service.protocol == "fix" else [slot for slot in SLOTS if weights.get(slot)]
            missing = [f"{self._project}-{slot}-{name}" for slot in wanted if name not in ports[slot]]
            if missing:
                message = f"there is no Service {missing[0]} with a port and the labels {SLOT} and {SERVICE}"
                raise AdapterError(SYSTEM, "route", message, effect="not_applied")

    async def _ports(self) -> dict[str, dict[str, int]]:
        """Ports of the Services of each slot, by slot and service: the first port of each is the one customers use."""
        found: dict[str, dict[str, int]] = {slot: {} for slot in SLOTS}
        for one in (await self._api.read("v1/services", Services, params={"labelSelector": SLOT})).items:
            slot, name = one.metadata.labels.get(SLOT, ""), one.metadata.labels.get(SERVICE, "")
            if slot in found and one.spec.ports:
                found[slot][name] = one.spec.ports[0].port
        return found

    async def _write_all(
        self, weights: Mapping[str, int], sessions: str, ports: Mapping[str, Mapping[str, int]], *, key: str
    ) -> dict[str, int]:
        """Apply all routes at once; returns their generations. When some were refused, the others have changed."""
        written = await asyncio.gather(
            *(self._write(name, weights, sessions, ports, key=key) for name in self._services), return_exceptions=True
        )
        failed = [one for one in written if isinstance(one, BaseException)]
        for error in failed:
            if isinstance(error, AdapterError) and error.effect == "not_applied" and len(failed) < len(written):
                raise AdapterError(SYSTEM, error.operation, error.message, retryable=error.retryable) from error
            raise error
        return {name: one for name, one in zip(self._services, written, strict=True) if isinstance(one, int)}

    async def _write(
        self,
        name: str,
        weights: Mapping[str, int],
        sessions: str,
        ports: Mapping[str, Mapping[str, int]],
        *,
        key: str,
    ) -> int:
        """Apply the route of a service; returns the generation that the gateway must have accepted."""
        service = self._services[name]
        there = [slot for slot in SLOTS if name in ports[slot]]
        fix = service.protocol == "fix"
        shares = {slot: 100 * (slot == sessions) for slot in there} if fix else {s: weights.get(s, 0) for s in there}
        backends = {slot: {"name": f"{self._project}-{slot}-{name}", "port": ports[slot][name]} for slot in there}
        # Nobody outside operates a service: these paths match best and lead nowhere.
        closed = [{"path": {"type": "Exact", "value": path}} for path in service.closed]
        rules: list[dict[str, Any]] = [] if fix else [rule_of(service.drain, change_of(key)), {"matches": closed}]
        for slot in there if not fix else ():
            match = {"headers": [{"name": HEADER, "value": slot}]}
            rules.append({"matches": [match], "backendRefs": [{**backends[slot], "weight": 1}]})
        default = [{**backends[slot], "weight": share} for slot, share in shares.items() if share]
        rules.append({"backendRefs": default})
        content = {
            "apiVersion": f"{GROUP}/{await self._tcp_version() if fix else VERSION}",
            "kind": "TCPRoute" if fix else "HTTPRoute",
            "metadata": {
                "name": f"{self._project}-{name}",
                "labels": {"app.kubernetes.io/managed-by": FIELD_MANAGER, SERVICE: name},
                "annotations": {SESSIONS: sessions, KEY: key, SHARES: _written(default)},
            },
            "spec": {"parentRefs": [self._parent(name)], "rules": rules},
        }
        # What others have changed is taken back: `drift` has named them, and a way back must never wait for them.
        answer = await self._api.apply(await self._path(name), content, force=True)
        return msgspec.json.decode(answer, type=Route).metadata.generation

    def _parent(self, listener: str) -> dict[str, str]:
        namespace, _, name = self._gateway.rpartition("/")
        return {"name": name, "sectionName": listener, **({"namespace": namespace} if namespace else {})}

    async def _wait_accepted(self, generations: Mapping[str, int]) -> None:
        """Wait until the gateway serves what was written; raises `AdapterError` with what it says otherwise."""
        deadline = time.monotonic() + ACCEPT_TIMEOUT_S
        while True:
            routes = {name: await self._api.read(await self._path(name), Route) for name in generations}
            said = {name: _problem(route, generations[name]) for name, route in routes.items()}
            late = [f"{name}: {problem}" for name, problem in said.items() if problem]
            if not late:
                return
            if time.monotonic() > deadline:
                message = f"the gateway {self._gateway} has not accepted {'; '.join(late)}"
                raise AdapterError(SYSTEM, "route", message, retryable=True)
            await asyncio.sleep(ACCEPT_POLL_S)

    async def _path(self, name: str) -> str:
        fix = self._services[name].protocol == "fix"
        kind = f"{await self._tcp_version()}/tcproutes" if fix else f"{VERSION}/httproutes"
        return f"{GROUP}/{kind}/{self._project}-{name}"

    async def _paths(self) -> list[str]:
        return [await self._path(name) for name in self._services]

    async def _routes(self) -> list[Route | None]:
        """The routes of all services, in their order, as they are now; asked for at the same time."""
        return await asyncio.gather(*(self._api.find(path, Route) for path in await self._paths()))

    async def _tcp_version(self) -> str:
        """The newest version of TCPRoute that the cluster serves. Raises `AdapterError` when there is none."""
        if not self._tcp:
            known = await served(self._api, [f"{GROUP}/{one}" for one in TCP_VERSIONS])
            self._tcp = next((one for one in TCP_VERSIONS if "TCPRoute" in known[f"{GROUP}/{one}"]), "")
        if not self._tcp:
            raise _unserved("TCPRoute", TCP_VERSIONS)
        return self._tcp


def _unserved(kind: str, versions: Sequence[str]) -> AdapterError:
    message = f"the cluster serves no {kind} of {GROUP} in version {' or '.join(versions)}"
    return AdapterError(SYSTEM, "route", message, effect="not_applied")


def _noted(annotations: Mapping[str, str]) -> _Noted | None:
    """What a route keeps of the last change; None without it, or where somebody has written something else there."""
    try:
        return msgspec.json.decode(annotations.get(CHANGE, ""), type=_Noted)
    except msgspec.DecodeError:
        return None


def _problem(route: Route, generation: int) -> str | None:
    """What keeps a gateway from serving a route as it was written; None when nothing does."""
    if not route.status.parents:
        return "no gateway has taken it; is there a listener of that name, and does it allow routes of this namespace?"
    for parent in route.status.parents:
        conditions = {one.type: one for one in parent.conditions}
        for kind in ("Accepted", "ResolvedRefs"):
            condition = conditions.get(kind)
            if condition is None or condition.observed_generation < generation:
                return f"{kind} is not known for generation {generation} yet"
            if condition.status != "True":
                return f"{condition.reason}: {condition.message}"
    return None


def _default_backends(route: Route) -> tuple[Any, ...]:
    """The backends of the rule that every request without our header follows."""
    return next((rule.backend_refs for rule in reversed(route.spec.rules) if not _has_header(rule)), ())


def _has_header(rule: Any) -> bool:
    return any(match.get("headers") for match in rule.matches)


def _written(backends: Sequence[Mapping[str, Any]]) -> str:
    return msgspec.json.encode({one["name"]: one["weight"] for one in backends}).decode()


def _shares(written: str) -> dict[str, int] | None:
    """Read our note of a route's shares; None where somebody has written something else there."""
    try:
        return msgspec.json.decode(written, type=dict[str, int])
    except msgspec.DecodeError:
        return None


def _drift(name: str, route: Route | None) -> str:
    if route is None:
        return f"the route of {name} was deleted"
    written = route.metadata.annotations.get(SHARES)
    now = {backend.name: backend.weight_pct for backend in _default_backends(route)}
    if written is None or _shares(written) == {name: share for name, share in now.items() if share}:
        return ""
    shares = ", ".join(f"{backend} {share}" for backend, share in now.items()) or "no backend"
    return f"{route.metadata.name} is now {shares} (not {written}), changed by {_others(route)}"


def _others(route: Route) -> str:
    """Name who else owns fields of a route's spec, with the time of their last change."""
    others = [
        f"{one.manager} at {one.time}"
        for one in route.metadata.managed_fields
        if one.manager != FIELD_MANAGER and "f:spec" in one.fields_v1
    ]
    return ", ".join(others) or "somebody"
