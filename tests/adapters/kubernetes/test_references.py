"""What pods of a release refer to and nothing in it brings."""

from typing import Any

from openbell.adapters.kubernetes.references import Reference, references


def workload(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    pod = {"template": {"spec": spec}}
    return {
        "kind": kind,
        "metadata": {"name": "x"},
        "spec": {"jobTemplate": {"spec": pod}} if kind == "CronJob" else pod,
    }


def container(**fields: Any) -> dict[str, Any]:
    return {"containers": [{"name": "main", **fields}]}


def test_every_way_to_name_a_secret_or_a_configmap_is_found() -> None:
    spec = container(
        env=[
            {"name": "A", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "a"}}},
            {"name": "B", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "b"}}},
            {"name": "C", "value": "secret"},
        ],
        envFrom=[{"secretRef": {"name": "whole"}}, {"configMapRef": {"name": "settings"}}],
    )
    spec["imagePullSecrets"] = [{"name": "login"}]
    spec["volumes"] = [
        {"name": "v", "secret": {"secretName": "certificate", "items": [{"key": "tls.key", "path": "k"}]}},
        {"name": "p", "projected": {"sources": [{"configMap": {"name": "authority"}}]}},
        {"name": "e", "emptyDir": {}},
    ]
    spec["initContainers"] = [{"name": "first", "envFrom": [{"secretRef": {"name": "first"}}]}]
    assert references([workload("Deployment", spec)]) == (
        Reference("ConfigMap", "authority"),
        Reference("ConfigMap", "settings"),
        Reference("Secret", "certificate", ("tls.key",)),
        Reference("Secret", "first"),
        Reference("Secret", "keys", ("a", "b")),
        Reference("Secret", "login"),
        Reference("Secret", "whole"),
    )


def test_what_the_release_brings_or_can_do_without_is_left_out() -> None:
    own = {"kind": "ConfigMap", "metadata": {"name": "own"}}
    spec = container(envFrom=[{"configMapRef": {"name": "own"}}, {"secretRef": {"name": "may", "optional": True}}])
    assert references([own, workload("Deployment", spec)]) == ()


def test_pods_are_found_in_whatever_makes_them() -> None:
    spec = container(envFrom=[{"secretRef": {"name": "s"}}])
    for kind in ("Deployment", "Job", "CronJob", "StatefulSet"):
        assert references([workload(kind, spec)]) == (Reference("Secret", "s"),)
    assert references([{"kind": "Pod", "metadata": {"name": "x"}, "spec": spec}]) == (Reference("Secret", "s"),)


def test_what_is_no_pod_names_nothing() -> None:
    other = {"kind": "Certificate", "metadata": {"name": "x"}, "spec": {"secret": {"name": "made-by-it"}}}
    assert references([other]) == ()
