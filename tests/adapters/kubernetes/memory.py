"""A cluster in memory: objects by path, what a gateway would do with them, and Helm releases that bring pods."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import yaml

from openbell.adapters.kubernetes.api import APPLY, Api
from openbell.adapters.kubernetes.helm import Helm
from openbell.adapters.kubernetes.platform import SERVICE, SERVING, SLOT
from openbell.ports import AdapterError

Content = dict[str, Any]
NAMESPACE = "trading"


class MemoryApi(Api):
    """Implements what is sent over the wire; everything above it is the real `Api`."""

    def __init__(self) -> None:
        super().__init__("", NAMESPACE)
        self.objects: dict[str, Content] = {}
        self.created: list[Content] = []
        self.asked: list[tuple[str, str, Any]] = []
        self.applied: list[tuple[str, bool]] = []
        self.refusals: dict[tuple[str, str], tuple[int, str]] = {}
        """What is refused: by method and the end of the path, status and message."""
        self.on_write: Callable[[str, Content], None] = lambda _path, _content: None
        self.logs: dict[str, str] = {}
        self.served = {
            "v1": ["ConfigMap", "Pod", "Secret", "Service"],
            "apps/v1": ["Deployment"],
            "batch/v1": ["Job"],
            "gateway.networking.k8s.io/v1": ["Gateway", "HTTPRoute", "TCPRoute"],
            "policy/v1": ["PodDisruptionBudget"],
        }
        """Which kinds there are, by API version."""
        self.namespace_is_there = True
        self.rules: list[Content] = [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]
        """What we may do."""
        self.singly: set[tuple[str, str]] = set()
        """Verbs and resources that a webhook allows, which no list of rules says; none without any."""
        self.pod_answers: Callable[[str, str, Any], tuple[int, Any]] = lambda _pod, _method, _body: (404, {})

    def put(self, path: str, content: Content) -> Content:
        """Have an object."""
        self.objects[self._path(path)] = content
        return content

    def get(self, path: str) -> Content:
        """Look at an object."""
        return self.objects[self._path(path)]

    def names(self, path: str) -> list[str]:
        """The names of the objects of a kind."""
        return [key.rpartition("/")[2] for key in self.objects if key.rpartition("/")[0] == self._path(path)]

    async def _once(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "application/json",
    ) -> httpx2.Response:
        content = json.loads(body) if body is not None else None
        self.asked.append((method, path, content))
        for (refused, end), (status, message) in self.refusals.items():
            if method == refused and path.endswith(end):
                return answer(status, {"kind": "Status", "message": message})
        known = self._about_the_cluster(path, content)
        if known is not None:
            return answer(200, known) if known else answer(404, {"kind": "Status", "message": "not found"})
        if "/proxy/" in path:
            pod = path.partition("/pods/")[2].partition(":")[0]
            return answer(*self.pod_answers(pod, method, content))
        if path.endswith("/log"):
            key = path.split("/")[-2] + (" before" if (params or {}).get("previous") == "true" else "")
            return httpx2.Response(200, text=self.logs[key]) if key in self.logs else answer(400, {})
        return self._do(method, path, params or {}, content, content_type)

    def _about_the_cluster(self, path: str, content: Any) -> Content | None:
        """What belongs to no namespace; empty when it is not there, None when it is something else."""
        if path == "/version":
            return {"gitVersion": "v1.34.4"}
        if path == f"/api/v1/namespaces/{self.namespace}":
            return {"metadata": {"name": self.namespace}} if self.namespace_is_there else {}
        if path.endswith("/selfsubjectreviews"):
            return {"status": {"userInfo": {"username": "system:serviceaccount:trading:openbell"}}}
        if path.endswith("/selfsubjectrulesreviews"):
            return {"status": {"resourceRules": self.rules, "incomplete": bool(self.singly)}}
        if path.endswith("/selfsubjectaccessreviews"):
            asked = content["spec"]["resourceAttributes"]
            resource = "/".join(filter(None, (asked["resource"], asked["subresource"])))
            return {"status": {"allowed": (asked["verb"], resource) in self.singly}}
        group = path.removeprefix("/apis/").removeprefix("/api/")
        if path.count("/") <= 3 and path.startswith("/api"):
            return {"resources": [{"kind": kind} for kind in self.served[group]]} if group in self.served else {}
        return None

    def _do(
        self, method: str, path: str, params: Mapping[str, str], content: Any, content_type: str
    ) -> httpx2.Response:
        known = self.objects.get(path)
        if method == "POST":
            self.created.append(content)
            return answer(201, content)
        if method == "PATCH" and content_type == APPLY:
            self.applied.append((path, params["force"] == "true"))
            generation = (known or {}).get("metadata", {}).get("generation", 0)
            generation += known is None or known.get("spec") != content.get("spec")
            notes = (known or {}).get("metadata", {}).get("annotations", {}) | content["metadata"].get(
                "annotations", {}
            )
            metadata = {**content["metadata"], "generation": generation, "annotations": notes}
            known = self.objects[path] = {**(known or {}), **content, "metadata": metadata}
            self.on_write(path, known)
            return answer(200, known)
        if known is None:
            last = path.partition("/namespaces/")[2].partition("/")[2]
            if method == "GET" and last and "/" not in last:
                return answer(200, {"kind": "List", "items": self._select(path, params)})
            return answer(404, {"kind": "Status", "reason": "NotFound", "message": f"{last} not found"})
        if method == "PATCH":
            merge(known, content)
        if method == "DELETE":
            del self.objects[path]
        return answer(200, known)

    def _select(self, path: str, params: Mapping[str, str]) -> list[Content]:
        items = [one for key, one in self.objects.items() if key.rpartition("/")[0] == path]
        for term in filter(None, params.get("labelSelector", "").split(",")):
            name, equals, value = term.partition("=")
            labels = [one["metadata"].get("labels", {}) for one in items]
            pairs = zip(items, labels, strict=True)
            items = [one for one, has in pairs if (has.get(name) == value if equals else name in has)]
        for term in filter(None, params.get("fieldSelector", "").split(",")):
            name, _, value = term.partition("=")
            items = [one for one in items if one.get(name) == value]
        return items


class MemoryHelm(Helm):
    """Releases whose pods are there at once, and ready unless `broken` says in which state their containers are."""

    def __init__(self, api: MemoryApi) -> None:
        super().__init__("", NAMESPACE)
        self.api = api
        self.calls: list[tuple[str, str]] = []
        self.values: dict[str, Content] = {}
        self.broken: Content | None = None
        self.failures: dict[str, AdapterError] = {}
        self.manifests: list[Content] = []
        self.afterwards: Callable[[], None] = lambda: None
        self._made = 0

    async def version(self) -> str:
        return "v4.3.1"

    async def upgrade(self, name: str, chart: Path, files: Sequence[Path], values: Mapping[str, Any]) -> None:
        self._called("upgrade", name)
        self.values[name] = msgspec.json.decode(msgspec.json.encode(values))
        slot = values["openbell"]["slot"]
        for service, settings in values["services"].items():
            self._scale(
                f"{name}-{service}", {SLOT: slot, SERVICE: service}, settings["replicas"], values["annotations"]
            )
        self.afterwards()

    async def uninstall(self, name: str) -> None:
        self._called("uninstall", name)
        for path in [path for path in self.api.objects if path.rpartition("/")[2].startswith(f"{name}-")]:
            del self.api.objects[path]

    async def render(
        self, name: str, chart: Path, files: Sequence[Path], values: Mapping[str, Any], *, only: str | None = None
    ) -> str:
        self._called("render", f"{name} {only}")
        self.values[name] = msgspec.json.decode(msgspec.json.encode(values))
        return yaml.safe_dump_all(self.manifests)

    def _called(self, operation: str, name: str) -> None:
        self.calls.append((operation, name))
        if operation in self.failures:
            raise self.failures[operation]

    def _scale(self, name: str, labels: Mapping[str, str], replicas: int, notes: Mapping[str, str]) -> None:
        existing = [one for one in self.api.names("v1/pods") if one.startswith(f"{name}-")]
        for _ in range(replicas - len(existing)):
            self._made += 1
            made = pod(f"{name}-{self._made}", labels, ready=self.broken is None, made=self._made, state=self.broken)
            self.api.put(f"v1/pods/{made['metadata']['name']}", made)
        for one in existing[: max(0, len(existing) - replicas)]:
            del self.api.objects[self.api._path(f"v1/pods/{one}")]
        ready = 0 if self.broken is not None else replicas
        self.api.put(f"apps/v1/deployments/{name}", deployment(name, labels, replicas, notes, ready=ready))


def answer(status: int, content: Any) -> httpx2.Response:
    """An answer with a JSON body, or with this text."""
    if isinstance(content, str):
        return httpx2.Response(status, text=content)
    return httpx2.Response(status, content=json.dumps(content).encode())


def merge(known: Content, changes: Content) -> None:
    """Change some fields of an object, as a JSON merge patch does."""
    for name, value in changes.items():
        if isinstance(value, dict):
            merge(known.setdefault(name, {}), value)
        else:
            known[name] = value


def pod(
    name: str, labels: Mapping[str, str], *, ready: bool = True, made: int = 1, state: Content | None = None
) -> Content:
    """A pod that serves."""
    return {
        "metadata": {
            "name": name,
            "labels": {SERVING: "true", **labels},
            "creationTimestamp": f"2026-11-24T21:{made // 60:02}:{made % 60:02}Z",
        },
        "spec": {"containers": [{"name": "main", "ports": [{"name": "http", "containerPort": 8080}]}]},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
            "containerStatuses": [
                {"name": "main", "ready": ready, "started": ready, "restartCount": 0, "state": state or {"running": {}}}
            ],
        },
    }


def deployment(
    name: str, labels: Mapping[str, str], replicas: int, notes: Mapping[str, str], *, ready: int | None = None
) -> Content:
    """A Deployment that is as it shall be, or has only so many ready."""
    ready = replicas if ready is None else ready
    return {
        "metadata": {
            "name": name,
            "uid": f"uid-{name}",
            "labels": dict(labels),
            "annotations": dict(notes),
            "generation": 1,
        },
        "spec": {"replicas": replicas},
        "status": {"observedGeneration": 1, "replicas": replicas, "updatedReplicas": replicas, "readyReplicas": ready},
    }


def service(name: str, labels: Mapping[str, str], port: int) -> Content:
    """A Service with a port."""
    return {"metadata": {"name": name, "labels": dict(labels)}, "spec": {"ports": [{"name": "main", "port": port}]}}


def held(api: MemoryApi, slot: str) -> dict[str, int]:
    """How many pods of each service there are in a slot."""
    found: dict[str, int] = {}
    for name in api.names("v1/pods"):
        labels = api.get(f"v1/pods/{name}")["metadata"]["labels"]
        if labels[SLOT] == slot:
            found[labels[SERVICE]] = found.get(labels[SERVICE], 0) + 1
    return found
