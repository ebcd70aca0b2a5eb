"""The permissions that suffice for one environment: a Role of its namespace, and nothing in any other.

What is always needed is a table here; for the objects of a release it is their kinds, as the chart renders them. Helm
keeps its records in Secrets of the namespace, so that whoever deploys can read the Secrets there. A Gateway in another
namespace may be read there, and nothing else.

Source: https://kubernetes.io/docs/reference/access-authn-authz/rbac/
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from openbell.adapters.kubernetes.objects import Read

GATEWAY_API = "gateway.networking.k8s.io"
RBAC = "rbac.authorization.k8s.io"
ORDER = ("get", "list", "create", "update", "patch", "delete")
OBJECT = ("get", "create", "patch", "delete")
"""What Helm does to the objects of a release."""
BRIEF = ("create", "patch", "delete")
"""What is done to what a migration's Job needs: it is there for as long as the Job runs."""

INSTALL = "install what the chart consists of"


class Permission(msgspec.Struct, frozen=True):
    """What somebody must be allowed to do with a resource ("pods", "pods/log"), and what for."""

    group: str
    resource: str
    verbs: tuple[str, ...]
    purpose: str

    @property
    def words(self) -> str:
        """The verbs and the resource: "get, list deployments.apps"."""
        return f"{', '.join(self.verbs)} {self.resource}{f'.{self.group}' if self.group else ''}"


class Rendered(msgspec.Struct, frozen=True):
    """The objects that a release may consist of: those that Helm installs, and those of the migrations."""

    installed: list[dict[str, Any]] = []
    migrations: list[dict[str, Any]] = []

    @property
    def all(self) -> list[dict[str, Any]]:
        """Both."""
        return [*self.installed, *self.migrations]


class Rule(Read, frozen=True, kw_only=True):
    """What somebody is allowed to do, as the API server says it; a "*" stands for everything."""

    verbs: tuple[str, ...] = ()
    api_groups: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    resource_names: tuple[str, ...] = ()


ALWAYS = (
    Permission("", "pods", ("get", "list", "patch"), "see them, and take one out of its Service before it drains"),
    Permission("", "pods/log", ("get",), "say why one does not start"),
    Permission("", "pods/proxy", ("get", "create"), "ask a service to hand over what lives in it"),
    Permission("", "pods/portforward", ("get", "create"), "smoke-test a slot that has no traffic yet"),
    Permission("", "services", ("get", "list"), "find a slot's ports"),
    Permission("", "events", ("list", "create"), "read why something fails, and say what was done"),
    Permission("", "secrets", ("get", "list", "create", "update", "delete"), "Helm's records of its releases"),
    Permission("apps", "deployments", ("list",), "see what is placed"),
    Permission("batch", "jobs", ("get", "create", "patch"), "migrations"),
    Permission("policy", "poddisruptionbudgets", ("list",), "see whether nodes could be drained"),
    Permission(GATEWAY_API, "gateways", ("get",), "see that the gateway serves"),
    Permission(GATEWAY_API, "httproutes", OBJECT, "send traffic to a slot"),
    Permission(GATEWAY_API, "tcproutes", OBJECT, "send new FIX sessions to a slot"),
)


def plural(kind: str) -> str:
    """The resource of a kind, as its path names it: Job is jobs, NetworkPolicy is networkpolicies."""
    name = kind.lower()
    if name == "endpoints":
        return name
    if name.endswith("y") and name[-2:-1] not in "aeiou":
        return f"{name[:-1]}ies"
    return f"{name}es" if name.endswith(("s", "x", "ch")) else f"{name}s"


def needed(rendered: Rendered) -> tuple[Permission, ...]:
    """List what is needed for releases that consist of these objects."""
    found = {(one.group, one.resource): one for one in ALWAYS}
    brief = [(one, BRIEF) for one in rendered.migrations if one["kind"] != "Job"]
    for one, wanted in (*((one, OBJECT) for one in rendered.installed), *brief):
        key = (one["apiVersion"].rpartition("/")[0], plural(one["kind"]))
        known = found.get(key) or Permission(*key, (), INSTALL)
        verbs = tuple(verb for verb in ORDER if verb in (*known.verbs, *wanted))
        purpose = known.purpose if INSTALL in known.purpose else f"{known.purpose}, and {INSTALL}"
        found[key] = msgspec.structs.replace(known, verbs=verbs, purpose=purpose)
    return tuple(found.values())


def unmet(wanted: Iterable[Permission], rules: Sequence[Rule]) -> tuple[Permission, ...]:
    """Return what of the wanted no rule allows, with the missing verbs only."""
    found = []
    for one in wanted:
        verbs = tuple(verb for verb in one.verbs if not any(_allows(rule, one, verb) for rule in rules))
        if verbs:
            found.append(msgspec.structs.replace(one, verbs=verbs))
    return tuple(found)


def _allows(rule: Rule, wanted: Permission, verb: str) -> bool:
    _, _, below = wanted.resource.partition("/")
    resources = {wanted.resource, "*", *((f"*/{below}",) if below else ())}
    return (
        not rule.resource_names
        and not {verb, "*"}.isdisjoint(rule.verbs)
        and not {wanted.group, "*"}.isdisjoint(rule.api_groups)
        and not resources.isdisjoint(rule.resources)
    )


def access_for(name: str, namespace: str, rendered: Rendered, *, gateway: str = "") -> list[dict[str, Any]]:
    """Compose a ServiceAccount, its Role and what binds them, for releases that consist of these objects.

    `gateway` is the namespace of the Gateway, where it is another.
    """
    account = {"kind": "ServiceAccount", "name": name, "namespace": namespace}
    made = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}}
    found = [made, *_bound(name, namespace, account, needed(rendered))]
    if gateway and gateway != namespace:
        seen = [one for one in ALWAYS if one.resource == "gateways"]
        found += _bound(f"{name}-of-{namespace}", gateway, account, seen)
    return found


def _bound(
    name: str, namespace: str, account: Mapping[str, str], permissions: Iterable[Permission]
) -> list[dict[str, Any]]:
    """Compose a Role and what gives it to an account."""
    metadata = {"name": name, "namespace": namespace}
    rules = [
        {"apiGroups": [one.group], "resources": [one.resource], "verbs": list(one.verbs)}
        for one in sorted(permissions, key=lambda one: (one.group, one.resource))
    ]
    return [
        {"apiVersion": f"{RBAC}/v1", "kind": "Role", "metadata": metadata, "rules": rules},
        {
            "apiVersion": f"{RBAC}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "subjects": [dict(account)],
            "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": name},
        },
    ]
