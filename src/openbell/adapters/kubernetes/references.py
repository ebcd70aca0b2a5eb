"""What the objects of a release refer to and do not bring with them: Secrets and ConfigMaps of the namespace.

A pod that refers to one that is not there does not start; what is marked optional may be missing.
Source: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import msgspec

Kind = Literal["Secret", "ConfigMap"]

_BY_NAME: dict[str, Kind] = {
    "secretKeyRef": "Secret", "secretRef": "Secret", "secret": "Secret",
    "configMapKeyRef": "ConfigMap", "configMapRef": "ConfigMap", "configMap": "ConfigMap",
}  # fmt: skip
"""Fields of a pod that name an object, and of which kind."""


class Reference(msgspec.Struct, frozen=True, order=True):
    """An object that pods need, and the keys that it must have."""

    kind: Kind
    name: str
    keys: tuple[str, ...] = ()


def references(objects: Iterable[Mapping[str, Any]]) -> tuple[Reference, ...]:
    """List what pods of these objects need and none of these objects is, by kind and name."""
    objects = list(objects)
    brought = {(one["kind"], one["metadata"]["name"]) for one in objects}
    found: dict[tuple[Kind, str], set[str]] = {}
    for one in objects:
        spec = one.get("spec") if one["kind"] != "Pod" else {"template": one}
        for pod in _pods(spec):
            for kind, name, keys in _named(pod):
                if name and (kind, name) not in brought:
                    found.setdefault((kind, name), set()).update(keys)
    return tuple(sorted(Reference(kind, name, tuple(sorted(keys))) for (kind, name), keys in found.items()))


def _pods(content: Any) -> Iterator[Any]:
    """Find the pods' specs below: workloads have them in `template.spec`, a CronJob one level deeper."""
    if isinstance(content, Mapping):
        template = content.get("template")
        if isinstance(template, Mapping) and "containers" in (template.get("spec") or {}):
            yield template["spec"]
        else:
            for value in content.values():
                yield from _pods(value)


def _named(content: Any) -> Iterator[tuple[Kind, str, list[str]]]:
    if isinstance(content, list):
        for value in content:
            yield from _named(value)
    if not isinstance(content, Mapping):
        return
    for login in content.get("imagePullSecrets") or ():
        yield "Secret", login.get("name", ""), []
    for field, value in content.items():
        kind = _BY_NAME.get(field)
        if kind is None or not isinstance(value, Mapping):
            yield from _named(value)
        elif not value.get("optional"):
            keys = [value.get("key"), *(item.get("key") for item in value.get("items") or ())]
            yield kind, value.get("name") or value.get("secretName") or "", [key for key in keys if key]
