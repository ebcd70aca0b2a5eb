"""Ten ways not to start, and some more: releases of the engine's chart, broken one way each, on a real cluster.

The chart is cut down to one service, for the others would only take time. What no value can break is broken in the
chart's text, as somebody would who edits it.
"""

import contextlib
import json
import shutil
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from openbell.adapters.kubernetes.api import Api
from openbell.adapters.kubernetes.chart import Chart
from openbell.adapters.kubernetes.disruption import REMEDY, stuck_budgets
from openbell.adapters.kubernetes.helm import Helm
from openbell.adapters.kubernetes.platform import Kubernetes
from openbell.core.places import lay_over
from openbell.core.project import Project, ProjectInfo, Service
from openbell.ports import AdapterError, Held, ReleaseRef
from tests.cluster import live
from tests.troubleshooting import Case

ENGINE_CHART = Path(__file__).parents[3] / "engine" / "chart"
RELEASE = ReleaseRef("sha256:" + "1" * 64, "1.2.0")
SLOT = "green"
PROJECT = Project(project=ProjectInfo(name="trading-engine"), services={"api": Service(protocol="http", run="x")})
DATABASE = {"host": "10.88.0.1", "port": 9, "name": "orders", "sslMode": "disable", "existingSecret": "database"}
"""Nobody answers there."""
SECRETS = {"database": {"username": "x", "password": "x"}, "api-keys": {"api-keys": "some-key:customer"}}
SETTINGS: dict[str, Any] = {
    "database": DATABASE,
    "valkey": {"host": "10.88.0.1", "port": 9},
    "apiKeys": {"existingSecret": "api-keys"},
    "services": {
        "api": {"preStopSleepSeconds": 0, "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}}},
        **dict.fromkeys(("websocket", "fix-gateway", "worker")),
    },
}
ALWAYS_READY = ("path: /readyz", "path: /healthz")
"""Without a database the engine never says that it is ready."""

Edit = tuple[str, str]


class Told(msgspec.Struct, frozen=True):
    """What was said, after how long, and what the slot held before and after."""

    message: str
    effect: str
    seconds: float
    before: dict[str, Held]
    after: dict[str, Held]


class Bench:
    """One namespace with what the engine needs to start, and a place for charts that are broken."""

    def __init__(self, namespace: str, image: str, folder: Path) -> None:
        self.namespace = namespace
        self._image = image
        self._folder = folder
        self.api = Api("", namespace)
        for name, content in SECRETS.items():
            secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}}
            live.apply({**secret, "stringData": content})

    @property
    def repository(self) -> str:
        """Where the engine's image is."""
        return self._image.partition("@")[0]

    def platform(
        self, settings: Mapping[str, Any] | None = None, *, edit: Edit | None = None, image: str | None = None
    ) -> Kubernetes:
        """A platform whose only release is the engine's, with these settings, and this put for that in its chart."""
        folder = self._chart(edit)
        images = {"api": image or self._image}
        chart = Chart(PROJECT, folder, (), images, lay_over(SETTINGS, settings or {}))
        helm = Helm("", self.namespace)
        return Kubernetes(
            self.api, helm, project="trading-engine", environment="production", chart_of=lambda _digest: chart
        )

    async def refused(self, platform: Kubernetes, *, replicas: int = 1, timeout_s: float = 60.0) -> Told:
        """Place a release that cannot be placed."""
        before, begun = await platform.placements(), time.monotonic()
        try:
            await platform.place(SLOT, RELEASE, replicas, timeout_s=timeout_s, key="k")
        except AdapterError as error:
            seconds = time.monotonic() - begun
            return Told(str(error), error.effect, seconds, before, await platform.placements())
        raise AssertionError("it was placed")

    async def place(self, platform: Kubernetes) -> None:
        """Place a release that can be."""
        await platform.place(SLOT, RELEASE, 1, timeout_s=60.0, key="k")

    def _chart(self, edit: Edit | None) -> Path:
        folder = self._folder / f"chart-{len(list(self._folder.iterdir()))}"
        shutil.copytree(ENGINE_CHART, folder)
        schema = json.loads((folder / "values.schema.json").read_text())
        del schema["properties"]["services"]["required"]
        (folder / "values.schema.json").write_text(json.dumps(schema))
        if edit is not None:
            template = folder / "templates" / "deployment.yaml"
            text = template.read_text()
            assert edit[0] in text
            template.write_text(text.replace(*edit))
        return folder


class Broken(msgspec.Struct, frozen=True):
    """A case, what makes it real, words that must be said, and the most seconds until they are.

    The machine may be busy, so that these are more than what people wait; that is kept when nothing else runs.
    """

    case: Case
    make: Callable[[Bench], Awaitable[Told]]
    says: str
    seconds_max: float


BROKEN: dict[str, Broken] = {}


def broken(
    name: str,
    title: str,
    *,
    done: str,
    says: str,
    remedy: str,
    told: Literal["at once", "when the time is up", "by doctor"] = "at once",
    seconds_max: float = 30.0,
) -> Callable[[Callable[[Bench], Awaitable[Told]]], None]:
    """Declare a case; the function makes it real."""

    def declare(make: Callable[[Bench], Awaitable[Told]]) -> None:
        BROKEN[name] = Broken(Case(name, "a cluster", title, done, remedy, told), make, says, seconds_max)

    return declare


def _api(**settings: Any) -> dict[str, Any]:
    return {"services": {"api": settings}}


@broken(
    "image",
    "An image that is not in the registry",
    done="The release's `images.json` names a digest that nobody has pushed.",
    says="not found; push it",
    remedy="Push the image, and see that `images.json` names the digest that the registry gave it. If it is there, the "
    "cluster lacks the right to pull it: name a Secret with the login in `imagePullSecrets`.",
)
async def _image(bench: Bench) -> Told:
    return await bench.refused(bench.platform(image=f"{bench.repository}@sha256:{'b' * 64}"))


@broken(
    "crash-loop",
    "A service that ends again and again",
    done="The service is told to listen on an address that no pod has.",
    says="it ends again and again (exit code 1); its log says why",
    remedy="Read the log's last lines, which come with the message. What a service needs besides its configuration "
    "(a database, another service) it should wait for and not end.",
)
async def _crash_loop(bench: Bench) -> Told:
    return await bench.refused(bench.platform({"listenAddress": "192.0.2.1"}))


@broken(
    "out-of-memory",
    "A service that needs more memory than it may have",
    done="The memory limit is 16 MiB; the service needs some 60.",
    says="more memory than its limit of 16Mi and was killed (OOMKilled); raise its memory limit",
    remedy="Raise `resources.limits.memory` of the service. If it was enough before, find what uses more now.",
)
async def _out_of_memory(bench: Bench) -> Told:
    memory = {"requests": {"memory": "16Mi"}, "limits": {"memory": "16Mi"}}
    return await bench.refused(bench.platform(_api(resources=memory)))


@broken(
    "wrong-path",
    "A probe that asks for a path the service does not know",
    done="The chart's readiness probe asks for `/ready`; the service answers on `/readyz`.",
    says="statuscode: 404; the service does not know that path",
    remedy="Let the chart's probes ask for the paths of the service's `[services]` table, `health` and `ready`.",
)
async def _wrong_path(bench: Bench) -> Told:
    return await bench.refused(bench.platform(edit=("path: /readyz", "path: /ready")))


@broken(
    "wrong-port",
    "A probe that asks on a port where nobody listens",
    done="The chart's readiness probe asks on port 9090; the service listens on 8080.",
    says="connection refused; the service does not listen on that port",
    remedy="Compare the port in the message with the one in the log, and mend the one that is wrong: the probe's port "
    "or the port that the service is started with. A service that never listens at all is told when its startup probe "
    "has given up, or when the time is up.",
)
async def _wrong_port(bench: Bench) -> Told:
    return await bench.refused(bench.platform(edit=("path: /readyz, port: http", "path: /readyz, port: 9090")))


@broken(
    "not-ready",
    "A service that says it is not ready",
    done="Nobody answers where the database should be.",
    says="GET /readyz answered 503",
    remedy="The service says itself what it waits for. It may still come right, so it is waited for until "
    "`healthy_timeout_s` is over.",
    told="when the time is up",
)
async def _not_ready(bench: Bench) -> Told:
    return await bench.refused(bench.platform(), timeout_s=8.0)


@broken(
    "no-room",
    "A pod that no node can take",
    done="The service asks for 64 processors; the largest node has fewer.",
    says="no node can take it (it asks for cpu 64, memory 64Mi): 0/1 nodes are available: 1 Insufficient cpu; add",
    remedy="Ask for less (`resources.requests`), or add a node that is large enough. An autoscaler gets 20 seconds to "
    "say that it brings one; if it says so it is waited for, and if it says that it does not it is told at once.",
    seconds_max=45.0,
)
async def _no_room(bench: Bench) -> Told:
    return await bench.refused(bench.platform(_api(resources={"requests": {"cpu": "64"}})))


@broken(
    "quota",
    "A quota that is used up",
    done="A second pod of the service is wanted where a ResourceQuota allows one.",
    says="trading-engine-green-api: the namespace's quota is used up: exceeded quota: few, requested: pods=1",
    remedy="Raise the namespace's ResourceQuota, or run fewer or smaller pods. In a rollout both sides live beside "
    "each other, so the quota must hold them both.",
)
async def _quota(bench: Bench) -> Told:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few", "namespace": bench.namespace}}
    live.apply({**quota, "spec": {"hard": {"pods": 1}}})
    platform = bench.platform(edit=ALWAYS_READY)
    await bench.place(platform)
    return await bench.refused(platform, replicas=2)


@broken(
    "missing-secret",
    "A Secret that is missing",
    done="The values name a Secret that is not in the namespace.",
    says='secret "keys-of-customers" not found; create what is missing in the namespace',
    remedy="Create the Secret in the environment's namespace, or name the right one in the values. `openbell doctor` "
    "finds it before anything is placed.",
)
async def _missing_secret(bench: Bench) -> Told:
    return await bench.refused(bench.platform({"apiKeys": {"existingSecret": "keys-of-customers"}}))


@broken(
    "missing-volume",
    "A volume that cannot be mounted",
    done="The values name a ConfigMap with a certificate authority; it is not in the namespace.",
    says='configmap "rds-ca" not found; create what it mounts in the namespace',
    remedy="Create what the volume is made of in the environment's namespace, with the key that the chart names.",
)
async def _missing_volume(bench: Bench) -> Told:
    return await bench.refused(bench.platform({"database": {"caConfigMap": {"name": "rds-ca"}}}))


@contextlib.contextmanager
def _rule(name: str, group: str, resource: str, expression: str, message: str) -> Iterator[None]:
    """Have a ValidatingAdmissionPolicy for one namespace, NAMESPACE-rule."""
    api, namespace = "admissionregistration.k8s.io", name.rpartition("-")[0]
    kinds = {"apiGroups": [group], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": [resource]}
    policy = {
        "matchConstraints": {"resourceRules": [kinds]},
        "validations": [{"expression": expression, "message": message}],
    }
    binding = {
        "policyName": name,
        "validationActions": ["Deny"],
        "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}},
    }
    specs = {"ValidatingAdmissionPolicy": policy, "ValidatingAdmissionPolicyBinding": binding}
    try:
        for kind, spec in specs.items():
            live.apply({"apiVersion": f"{api}/v1", "kind": kind, "metadata": {"name": name}, "spec": spec})
        _wait_in_force(namespace, resource, message)
        yield
    finally:
        for kind in specs:
            live.kubectl("delete", kind, name, "--ignore-not-found", check=False)


def _wait_in_force(namespace: str, resource: str, message: str) -> None:
    """Wait until a rule refuses what it is to refuse: an API server learns of it a moment after it was written."""
    pod = {"containers": [{"name": "probe", "image": "registry.example/probe:1"}]}
    labels = {"app": "probe"}
    probes = {
        "pods": {"apiVersion": "v1", "kind": "Pod", "spec": pod},
        "deployments": {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}},
        },
    }
    probe = {**probes[resource], "metadata": {"name": "probe", "namespace": namespace, "labels": labels}}
    deadline = time.monotonic() + 30.0
    while time.monotonic() < deadline:
        asked = ("create", "--dry-run=server", "--filename", "-")
        if message in live.kubectl(*asked, stdin=json.dumps(probe), check=False).stderr:
            return
    raise AssertionError(f"the rule is not in force: {message}")


@broken(
    "denied",
    "Pods that a rule of the cluster refuses",
    done="A ValidatingAdmissionPolicy wants images of another registry.",
    says="denied request: images must come from images.example; mend the chart, or the rule that refuses it",
    remedy="The message is the rule's own. Mend the chart or the image's name, or ask whoever keeps the rule.",
)
async def _denied(bench: Bench) -> Told:
    wants = "object.spec.containers.all(c, c.image.startsWith('images.example/'))"
    with _rule(f"{bench.namespace}-images", "", "pods", wants, "images must come from images.example"):
        return await bench.refused(bench.platform())


@broken(
    "insecure",
    "Pods that the namespace's security level refuses",
    done="The namespace enforces the Pod Security Standard `restricted`; the chart no longer drops capabilities.",
    says='violates PodSecurity "restricted:latest"',
    remedy="Give the container the `securityContext` that the message asks for. `engine/chart` fulfils `restricted`.",
)
async def _insecure(bench: Bench) -> Told:
    live.kubectl("label", "namespace", bench.namespace, "pod-security.kubernetes.io/enforce=restricted")
    context = '{{- include "trading-engine.securityContext" $ | nindent 12 }}'
    return await bench.refused(bench.platform(edit=(context, "{readOnlyRootFilesystem: true}")))


@broken(
    "denied-deployment",
    "A chart that a rule of the cluster refuses",
    done="A ValidatingAdmissionPolicy wants every Deployment to name the team that it belongs to.",
    says="denied request: every Deployment has a label team; mend the chart, or the rule that refuses it",
    remedy="The message is Helm's, and in it the rule's own. Mend the chart, or ask whoever keeps the rule.",
)
async def _denied_deployment(bench: Bench) -> Told:
    wants = "'team' in object.metadata.labels"
    with _rule(f"{bench.namespace}-teams", "apps", "deployments", wants, "every Deployment has a label team"):
        return await bench.refused(bench.platform())


@broken(
    "no-eviction",
    "A node that cannot be drained",
    done="A PodDisruptionBudget wants all pods to stay (`minAvailable: 100%`); then one is evicted, as `kubectl drain` "
    "does, and the cluster refuses.",
    says="lets no pod go, though all are healthy (1 of 1): no node that runs one of them can be drained",
    remedy="Let one pod go at a time (`podDisruptionBudget.maxUnavailable: 1`), or run one more than `minAvailable` "
    "asks for. Openbell's own rollouts are not held up by it, only whoever drains a node.",
    told="by doctor",
)
async def _no_eviction(bench: Bench) -> Told:
    platform = bench.platform({"podDisruptionBudget": {"enabled": False}}, edit=ALWAYS_READY)
    metadata = {"name": "keep-all-of-green-api", "namespace": bench.namespace}
    everything = {"minAvailable": "100%", "selector": {"matchLabels": {"app.kubernetes.io/component": "api"}}}
    live.apply({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": metadata, "spec": everything})
    await bench.place(platform)
    before, begun = await platform.placements(), time.monotonic()
    ((pod,),) = (await platform.pods_by_service(SLOT)).values()
    name = pod.metadata.name
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": bench.namespace}}
    path = f"/api/v1/namespaces/{bench.namespace}/pods/{name}/eviction"
    asked = live.kubectl("create", "--raw", path, "--filename", "-", stdin=json.dumps(eviction), check=False)
    assert "would violate the pod's disruption budget" in asked.stderr
    (message,) = await stuck_budgets(bench.api)
    told = Told(f"{message}. {REMEDY}", "not_applied", time.monotonic() - begun, before, await platform.placements())
    await platform.retire(SLOT, 0, key="k")
    return told
