"""What a cluster must have before anything is done to it: each check one request, each failure one sentence.

Source: https://gateway-api.sigs.k8s.io/reference/spec/ and
https://kubernetes.io/docs/reference/kubernetes-api/authorization-resources/self-subject-access-review-v1/
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from openbell.adapters.kubernetes.api import Api, is_forbidden, is_missing
from openbell.adapters.kubernetes.objects import Condition, Metadata, Read
from openbell.adapters.kubernetes.permissions import Permission, Rule, unmet
from openbell.adapters.kubernetes.references import Reference
from openbell.ports import AdapterError

REVIEWS = "/apis/authorization.k8s.io/v1"


class Address(Read, frozen=True, kw_only=True):
    """Where a gateway answers."""

    value: str = ""


class Listener(Read, frozen=True, kw_only=True):
    """A port of a gateway."""

    name: str
    port: int = 0
    protocol: str = ""
    hostname: str = ""


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

    @property
    def address(self) -> str:
        """Where it answers, as far as its status says."""
        return next((one.value for one in self.status.addresses), "")

    @property
    def programmed(self) -> bool:
        """Whether a controller serves it."""
        return any(one.type == "Programmed" and one.status == "True" for one in self.status.conditions)


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
    if not gateway.programmed:
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


class Version(Read, frozen=True, kw_only=True):
    """Which Kubernetes answers."""

    git_version: str = ""


class Keys(Read, frozen=True, kw_only=True):
    """A Secret or a ConfigMap, of which only the names of its keys are of interest."""

    metadata: Metadata
    data: dict[str, str] = msgspec.field(default_factory=dict)
    binary_data: dict[str, str] = msgspec.field(default_factory=dict)


class Conditions(Read, frozen=True, kw_only=True):
    """The status of an object that is accepted or not."""

    conditions: tuple[Condition, ...] = ()


class GatewayClass(Read, frozen=True, kw_only=True):
    """Which controller serves the gateways of a class."""

    metadata: Metadata
    status: Conditions = Conditions()


class _Resource(Read, frozen=True, kw_only=True):
    kind: str = ""


class _Resources(Read, frozen=True, kw_only=True):
    resources: tuple[_Resource, ...] = ()


class _Rules(Read, frozen=True, kw_only=True):
    resource_rules: tuple[Rule, ...] = ()
    incomplete: bool = False


class _RulesReview(Read, frozen=True, kw_only=True):
    status: _Rules = _Rules()


class _Access(Read, frozen=True, kw_only=True):
    allowed: bool = False


class _AccessReview(Read, frozen=True, kw_only=True):
    status: _Access = _Access()


class _User(Read, frozen=True, kw_only=True):
    username: str = ""


class _Subject(Read, frozen=True, kw_only=True):
    user_info: _User = _User()


class _SubjectReview(Read, frozen=True, kw_only=True):
    status: _Subject = _Subject()


async def version(api: Api) -> str:
    """Ask which Kubernetes answers; raises `AdapterError` when none does, or it does not know us."""
    return (await api.read("/version", Version)).git_version


async def who(api: Api) -> str:
    """Ask whom the API server takes us for; empty where it cannot be asked (before Kubernetes 1.28)."""
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    try:
        asked = await api.ask("/apis/authentication.k8s.io/v1/selfsubjectreviews", review, _SubjectReview)
    except AdapterError as error:
        if is_missing(error) or is_forbidden(error):
            return ""
        raise
    return asked.status.user_info.username


async def lacking(api: Api, wanted: Sequence[Permission]) -> tuple[Permission, ...]:
    """Return which of the wanted permissions we do not have in the namespace, with the missing verbs only.

    One request lists what we may do; what is not in the list is asked for singly where the list is not all there is,
    for a webhook may decide as well.
    """
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview"}
    content = {**review, "spec": {"namespace": api.namespace}}
    answer = (await api.ask(f"{REVIEWS}/selfsubjectrulesreviews", content, _RulesReview)).status
    missing = unmet(wanted, answer.resource_rules)
    if not answer.incomplete:
        return missing
    asked = await asyncio.gather(*(_allowed(api, one, verb) for one in missing for verb in one.verbs))
    return unmet(missing, [rule for rule in asked if rule is not None])


async def _allowed(api: Api, wanted: Permission, verb: str) -> Rule | None:
    """Ask for one verb; returns it as a rule if it is allowed."""
    resource, _, below = wanted.resource.partition("/")
    attributes = {"namespace": api.namespace, "verb": verb, "group": wanted.group, "resource": resource}
    content = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {**attributes, "subresource": below}},
    }
    answer = await api.ask(f"{REVIEWS}/selfsubjectaccessreviews", content, _AccessReview)
    rule = Rule(verbs=(verb,), api_groups=(wanted.group,), resources=(wanted.resource,))
    return rule if answer.status.allowed else None


async def namespace_is_missing(api: Api) -> bool:
    """Whether the namespace is certainly not there; who may not look at it has to take it as it is."""
    try:
        return await api.find(f"/api/v1/namespaces/{api.namespace}", Keys) is None
    except AdapterError as error:
        if is_forbidden(error):
            return False
        raise


async def served(api: Api, versions: Iterable[str]) -> dict[str, frozenset[str]]:
    """Ask which kinds the cluster serves of each API version ("v1", "apps/v1"); none of a version that it lacks."""
    wanted = sorted(set(versions))
    paths = [f"/api/{one}" if "/" not in one else f"/apis/{one}" for one in wanted]
    found = await asyncio.gather(*(api.find(path, _Resources) for path in paths))
    return {
        name: frozenset(resource.kind for resource in one.resources) if one else frozenset()
        for name, one in zip(wanted, found, strict=True)
    }


async def unresolved(api: Api, wanted: Sequence[Reference]) -> list[str]:
    """Say which Secrets and ConfigMaps that pods need are missing or lack a key; those we may not see are left out."""
    return [said for one in wanted if (said := await _missing(api, one))]


async def _missing(api: Api, wanted: Reference) -> str:
    try:
        found = await api.find(f"v1/{wanted.kind.lower()}s/{wanted.name}", Keys)
    except AdapterError as error:
        if is_forbidden(error):
            return ""
        raise
    if found is None:
        return f"there is no {wanted.kind} {wanted.name}"
    keys: Mapping[str, str] = {**found.data, **found.binary_data}
    missing = [key for key in wanted.keys if key not in keys]
    return f"the {wanted.kind} {wanted.name} has no key {', '.join(missing)}" if missing else ""


async def class_problem(api: Api, name: str) -> str:
    """Say what keeps a class of gateways from being served; empty when nothing does, or we may not look."""
    try:
        found = await api.find(f"/apis/gateway.networking.k8s.io/v1/gatewayclasses/{name}", GatewayClass)
    except AdapterError as error:
        if is_forbidden(error):
            return ""
        raise
    if found is None:
        return f"there is no GatewayClass {name}"
    accepted = {condition.type: condition for condition in found.status.conditions}.get("Accepted")
    if accepted is not None and accepted.status == "True":
        return ""
    said = accepted.message if accepted else "no controller has looked at it"
    return f"the GatewayClass {name} is not accepted: {said}"
