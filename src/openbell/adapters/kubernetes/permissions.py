"""The permissions that suffice for one environment: a Role of its namespace, and nothing in any other.

What is always needed is a table here; for the objects of a release it is their kinds, as the chart renders them. Helm
keeps its records in Secrets of the namespace, so that whoever deploys can read the Secrets there.

Source: https://kubernetes.io/docs/reference/access-authn-authz/rbac/
"""

from collections.abc import Iterable, Mapping
from typing import Any

READ = ("get", "list")
WRITE = ("get", "list", "create", "update", "patch", "delete")
GATEWAY_API = "gateway.networking.k8s.io"

ALWAYS: tuple[tuple[str, str, tuple[str, ...], str], ...] = (
    ("", "pods", ("get", "list", "patch"), "see them, and take one out of its Service before it drains"),
    ("", "pods/log", ("get",), "say why one does not start"),
    ("", "pods/proxy", ("get", "create"), "ask a service to hand over what lives in it"),
    ("", "pods/portforward", ("get", "create"), "smoke-test a slot that has no traffic yet"),
    ("", "services", READ, "find a slot's ports"),
    ("", "events", ("get", "list", "create"), "read why something fails, and say what was done"),
    ("", "secrets", WRITE, "Helm's records of its releases"),
    ("apps", "deployments", READ, "see what is placed"),
    ("batch", "jobs", ("get", "list", "create", "patch"), "migrations"),
    (GATEWAY_API, "gateways", ("get",), "see that the gateway serves"),
    (GATEWAY_API, "httproutes", ("get", "create", "patch", "delete"), "traffic"),
    (GATEWAY_API, "tcproutes", ("get", "create", "patch", "delete"), "new FIX sessions"),
)
"""API group, resource, verbs, and what for."""


def plural(kind: str) -> str:
    """The resource of a kind, as its path names it: Job is jobs, NetworkPolicy is networkpolicies."""
    name = kind.lower()
    return f"{name[:-1]}ies" if name.endswith("y") else f"{name}s"


def role(name: str, namespace: str, objects: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Compose the Role for releases that consist of these objects."""
    verbs: dict[tuple[str, str], set[str]] = {(group, resource): set(some) for group, resource, some, _ in ALWAYS}
    for one in objects:
        group = one["apiVersion"].rpartition("/")[0]
        verbs.setdefault((group, plural(one["kind"])), set()).update(WRITE)
    rules = [
        {"apiGroups": [group], "resources": [resource], "verbs": [verb for verb in WRITE if verb in some]}
        for (group, resource), some in sorted(verbs.items())
    ]
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": name, "namespace": namespace},
        "rules": rules,
    }


def access_for(name: str, namespace: str, objects: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Compose a ServiceAccount, its Role and what binds them."""
    metadata = {"name": name, "namespace": namespace}
    subject = {"kind": "ServiceAccount", "name": name, "namespace": namespace}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        role(name, namespace, objects),
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "subjects": [subject],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        },
    ]
