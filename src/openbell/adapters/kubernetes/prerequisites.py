"""What a cluster must have before anything is done to it: each check one request, each failure one sentence.

Source: https://gateway-api.sigs.k8s.io/reference/spec/ and
https://kubernetes.io/docs/reference/kubernetes-api/authorization-resources/self-subject-access-review-v1/
"""

from openbell.adapters.kubernetes.api import Api, is_missing
from openbell.adapters.kubernetes.objects import Condition, Metadata, Read
from openbell.ports import AdapterError


class Address(Read, frozen=True, kw_only=True):
    """Where a gateway answers."""

    value: str = ""


class Listener(Read, frozen=True, kw_only=True):
    """A port of a gateway."""

    name: str
    port: int = 0


class GatewaySpec(Read, frozen=True, kw_only=True):
    """What a gateway shall be."""

    gateway_class_name: str = ""
    listeners: tuple[Listener, ...] = ()


class ListenerStatus(Read, frozen=True, kw_only=True):
    """How a listener is."""

    name: str
    conditions: tuple[Condition, ...] = ()


class GatewayStatus(Read, frozen=True, kw_only=True):
    """How a gateway is."""

    addresses: tuple[Address, ...] = ()
    conditions: tuple[Condition, ...] = ()
    listeners: tuple[ListenerStatus, ...] = ()


class Gateway(Read, frozen=True, kw_only=True):
    """A gateway."""

    metadata: Metadata
    spec: GatewaySpec = GatewaySpec()
    status: GatewayStatus = GatewayStatus()


_GOOD = {"Accepted": "True", "Programmed": "True", "ResolvedRefs": "True", "Conflicted": "False"}
"""Conditions of a listener and what they are when it works; of others nobody knows which way round they are."""


async def read_gateway(api: Api, gateway: str) -> Gateway:
    """Get a gateway by NAME or NAMESPACE/NAME. Raises `AdapterError` with the remedy when there is none."""
    namespace, _, name = gateway.rpartition("/")
    path = f"/apis/gateway.networking.k8s.io/v1/namespaces/{namespace or api.namespace}/gateways/{name}"
    try:
        return await api.read(path, Gateway)
    except AdapterError as error:
        if not is_missing(error):
            raise
        message = f"there is no Gateway {gateway} ({error.message}); create it, or name another: gateway = ..."
        raise AdapterError("kubernetes", "gateway", message, effect="not_applied") from error


def gateway_problems(gateway: Gateway, services: list[str]) -> list[str]:
    """What keeps a gateway from serving an environment: it is not accepted, or a service has no listener."""
    name = gateway.metadata.name
    problems = []
    programmed = {condition.type: condition for condition in gateway.status.conditions}.get("Programmed")
    if programmed is None or programmed.status != "True":
        said = programmed.message if programmed else "no controller has looked at it"
        problems.append(f"the Gateway {name} (class {gateway.spec.gateway_class_name}) serves nothing yet: {said}")
    known = [listener.name for listener in gateway.spec.listeners]
    having = ", ".join(known) or "none"
    missing = [service for service in services if service not in known]
    if missing:
        problems.append(f"the Gateway {name} has no listener called {', '.join(missing)}; it has {having}")
    for listener in gateway.status.listeners:
        bad = [one for one in listener.conditions if one.status != _GOOD.get(one.type, one.status)]
        if listener.name in services and bad:
            why = bad[0].message or bad[0].reason or bad[0].type
            problems.append(f"the listener {listener.name} of the Gateway {name} does not work: {why}")
    return problems
