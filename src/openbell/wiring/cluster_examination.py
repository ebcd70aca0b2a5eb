"""What a rollout needs of a cluster, looked at before anything is touched: each thing one line, with its remedy.

It looks as whoever runs openbell, so that what it finds is what a rollout will find. Nothing is changed.
"""

import asyncio
import re
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from openbell.adapters.kubernetes import disruption
from openbell.adapters.kubernetes.api import Api
from openbell.adapters.kubernetes.chart import Chart
from openbell.adapters.kubernetes.helm import Helm
from openbell.adapters.kubernetes.permissions import Permission, Rendered, needed
from openbell.adapters.kubernetes.platform import Kubernetes
from openbell.adapters.kubernetes.prerequisites import (
    class_problem,
    gateway_problems,
    lacking,
    namespace_is_missing,
    read_gateway,
    served,
    unresolved,
    version,
    who,
)
from openbell.adapters.kubernetes.references import references
from openbell.adapters.kubernetes.routes import GatewayRoutes
from openbell.adapters.prometheus import PrometheusMetrics
from openbell.ports import AdapterError
from openbell.wiring.site import Check

METRICS = "metrics"
"""The check that only a judge needs."""
HELM_MIN = (3, 13)
"""The first that can be told to remove what may not be there."""
_HELM_VERSION = re.compile(r"v(\d+)\.(\d+)[\w.-]*")
_GATEWAY_API = "An administrator installs it: https://gateway-api.sigs.k8s.io/guides/getting-started"


class Subject(msgspec.Struct, frozen=True):
    """What is looked at: an environment in a namespace, and the charts whose objects it shall hold."""

    environment: str
    api: Api
    helm: Helm
    platform: Kubernetes
    router: GatewayRoutes
    metrics: PrometheusMetrics
    gateway: str
    charts: tuple[Chart, ...]


async def examine_cluster(subject: Subject) -> list[Check]:
    """Look at everything; what cannot be seen because something else is missing is left out."""
    programs = list(await asyncio.gather(_helm(subject.helm), _kubectl()))
    reached = await _cluster(subject.api)
    if not reached.ok:
        return [*programs, reached]
    missing = await _namespace(subject)
    if missing is not None:
        return [*programs, reached, missing]
    rendered, chart = await _objects(subject) if programs[0].ok else (Rendered(), [])
    objects = rendered.all
    allowed, unmet = await _permissions(subject, rendered)
    checks = [*programs, reached, *allowed, *chart]
    if objects:
        checks += await _kinds(subject.api, objects)
        checks += await _references(subject, objects, unmet)
    if "poddisruptionbudgets" not in {one.resource for one in unmet}:
        checks += await _budgets(subject.api)
    routes = await _route_kinds(subject)
    checks.append(routes)
    if routes.ok and "gateways" not in {one.resource for one in unmet}:
        checks += await _gateway(subject)
    return [*checks, await _metrics(subject)]


async def _helm(helm: Helm) -> Check:
    remedy = "Install it: https://helm.sh/docs/intro/install"
    path = shutil.which("helm")
    if path is None:
        return Check("helm", False, True, "helm is not on PATH", remedy)
    try:
        said = await helm.version()
    except AdapterError as error:
        return Check("helm", False, True, f"{path} does not say its version: {error.message}", remedy)
    found = _HELM_VERSION.search(said)
    if found is None or (int(found[1]), int(found[2])) < HELM_MIN:
        least = ".".join(map(str, HELM_MIN))
        return Check("helm", False, True, f"{path} is {said}, and {least} is the oldest that will do", remedy)
    return Check("helm", True, True, f"{found[0]} ({path})")


async def _kubectl() -> Check:
    path = shutil.which("kubectl")
    remedy = "Install it: https://kubernetes.io/docs/tasks/tools"
    return Check("kubectl", path is not None, True, path or "kubectl is not on PATH", remedy)


async def _cluster(api: Api) -> Check:
    """Whether the API server answers and knows us."""
    try:
        found, user = await asyncio.gather(version(api), who(api))
    except AdapterError as error:
        return Check("cluster", False, True, error.message, "See that KUBECONFIG and context lead to your cluster")
    return Check("cluster", True, True, f"Kubernetes {found}" + (f", as {user}" if user else ""))


async def _namespace(subject: Subject) -> Check | None:
    """Say that the namespace is missing; None where it is there, or nobody knows."""
    name = subject.api.namespace
    try:
        if not await namespace_is_missing(subject.api):
            return None
    except AdapterError as error:
        return _unread("namespace", error)
    found, remedy = f"there is no namespace {name}", f"kubectl create namespace {name}"
    return Check("namespace", False, True, found, f"{remedy}; or name another: namespace = ...")


async def _objects(subject: Subject) -> tuple[Rendered, list[Check]]:
    """Render what the charts consist of."""
    try:
        rendered = await asyncio.gather(*(subject.platform.render(chart) for chart in subject.charts))
    except AdapterError as error:
        return Rendered(), [
            Check("chart", False, True, error.message, "Mend the chart, or the values in openbell.toml")
        ]
    installed = [one for each in rendered for one in each.installed]
    return Rendered(installed, [one for each in rendered for one in each.migrations]), []


async def _permissions(subject: Subject, rendered: Rendered) -> tuple[list[Check], tuple[Permission, ...]]:
    """One line if all permissions are there, else one for each resource that lacks some."""
    wanted, where = needed(rendered), subject.api.namespace
    remedy = f"An administrator gives it: openbell render rbac {subject.environment} | kubectl apply -f -"
    try:
        missing = await lacking(subject.api, wanted)
    except AdapterError as error:
        return [_unread("permissions", error)], ()
    if missing == wanted:
        found = f"nothing that a rollout does is allowed in the namespace {where}"
        return [Check("permissions", False, True, found, remedy)], missing
    if missing:
        return [
            Check("permission", False, True, f"may not {one.words} in the namespace {where} ({one.purpose})", remedy)
            for one in missing
        ], missing
    resources = f"all that are needed, on {len(wanted)} kinds of resources in the namespace {where}"
    return [Check("permissions", True, True, resources)], ()


async def _kinds(api: Api, objects: Sequence[Mapping[str, Any]]) -> list[Check]:
    """Whether the cluster knows every kind that the chart consists of."""
    kinds = sorted({(one["apiVersion"], one["kind"]) for one in objects})
    try:
        known = await served(api, [one for one, _ in kinds])
    except AdapterError as error:
        return [_unread("chart", error)]
    missing = [f"{kind} ({group})" for group, kind in kinds if kind not in known[group]]
    if missing:
        remedy = "Install what defines it, or leave it out by the chart's values"
        return [Check("chart", False, True, f"the cluster does not know {', '.join(missing)}", remedy)]
    return [Check("chart", True, True, f"objects of {len(kinds)} kinds, all known to the cluster")]


async def _references(
    subject: Subject, objects: Sequence[Mapping[str, Any]], unmet: Sequence[Permission]
) -> list[Check]:
    """Whether the Secrets and ConfigMaps that pods name are there, as far as we may look."""
    hidden = {plural for plural in ("secrets", "configmaps") for one in unmet if one.resource == plural}
    wanted = [one for one in references(objects) if f"{one.kind.lower()}s" not in hidden]
    if not wanted:
        return []
    try:
        missing = await unresolved(subject.api, wanted)
    except AdapterError as error:
        return [_unread("secrets", error)]
    if missing:
        remedy = f"Create it in the namespace {subject.api.namespace}; pods that name it do not start without"
        return [Check("secrets", False, True, one, remedy) for one in missing]
    return [Check("secrets", True, True, ", ".join(one.name for one in wanted))]


async def _budgets(api: Api) -> list[Check]:
    """Whether nodes could be drained; no rollout needs it, so that all that is said is what is wrong."""
    try:
        stuck = await disruption.stuck_budgets(api)
    except AdapterError as error:
        return [_unread("eviction", error)]
    return [Check("eviction", False, False, one, disruption.REMEDY) for one in stuck]


async def _route_kinds(subject: Subject) -> Check:
    """Whether the cluster serves the kinds of routes that the services need."""
    try:
        routes = await subject.router.kinds()
    except AdapterError as error:
        return Check("gateway api", False, True, error.message, _GATEWAY_API)
    return Check("gateway api", True, True, ", ".join(f"{kind} {one}" for kind, one in routes.items()))


async def _gateway(subject: Subject) -> list[Check]:
    """Whether the gateway is accepted, and has a working listener for each service."""
    try:
        gateway = await read_gateway(subject.api, subject.gateway)
        problems = gateway_problems(gateway, list(subject.router.listeners))
        if not gateway.programmed:
            problems += filter(None, [await class_problem(subject.api, gateway.spec.gateway_class_name)])
    except AdapterError as error:
        return [_unread("gateway", error)]
    listeners = ", ".join(subject.router.listeners)
    there = f"{subject.gateway} (class {gateway.spec.gateway_class_name}) listens for {listeners}"
    return [Check("gateway", False, True, one) for one in problems] or [Check("gateway", True, True, there)]


async def _metrics(subject: Subject) -> Check:
    unread = await subject.metrics.hindrance()
    remedy = "Have Prometheus read the gateway's counters, and name it: metrics_url = ..."
    return Check(METRICS, not unread, True, unread or subject.metrics.url, "" if not unread else remedy)


def _unread(name: str, error: AdapterError) -> Check:
    return Check(name, False, True, error.message)
