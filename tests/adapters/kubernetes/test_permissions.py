"""Which permissions are needed for which objects, and which rules of a Role allow them."""

import pytest

from openbell.adapters.kubernetes.permissions import (
    ALWAYS,
    Permission,
    Rendered,
    Rule,
    access_for,
    needed,
    plural,
    unmet,
)

PATCH_PODS = Permission("", "pods", ("get", "patch"), "see")
LOGS = Permission("", "pods/log", ("get",), "say")


@pytest.mark.parametrize(
    ("kind", "resource"),
    [
        ("Job", "jobs"),
        ("NetworkPolicy", "networkpolicies"),
        ("Gateway", "gateways"),
        ("Ingress", "ingresses"),
        ("Endpoints", "endpoints"),
        ("HTTPRoute", "httproutes"),
    ],
)
def test_resources_are_named_as_their_paths_are(kind: str, resource: str) -> None:
    assert plural(kind) == resource


@pytest.mark.parametrize(
    ("rule", "missing"),
    [
        (Rule(verbs=("*",), api_groups=("*",), resources=("*",)), []),
        (Rule(verbs=("get", "patch"), api_groups=("",), resources=("pods",)), ["get pods/log"]),
        (Rule(verbs=("get",), api_groups=("",), resources=("pods", "*/log")), ["patch pods"]),
        (Rule(verbs=("*",), api_groups=("apps",), resources=("*",)), ["get, patch pods", "get pods/log"]),
        (
            Rule(verbs=("*",), api_groups=("",), resources=("*",), resource_names=("one",)),
            ["get, patch pods", "get pods/log"],
        ),
    ],
)
def test_what_a_rule_allows_is_what_kubernetes_takes_it_for(rule: Rule, missing: list[str]) -> None:
    assert [one.words for one in unmet([PATCH_PODS, LOGS], [rule])] == missing


def test_objects_of_migrations_are_there_for_a_while_and_their_jobs_are_ours() -> None:
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "x"}}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x"}}
    before = {(one.group, one.resource): one.verbs for one in ALWAYS}
    brief = {(one.group, one.resource): one.verbs for one in needed(Rendered([], [account, job]))}
    assert brief == {**before, ("", "serviceaccounts"): ("create", "patch", "delete")}
    installed = {(one.group, one.resource): one.verbs for one in needed(Rendered([account, job], []))}
    assert installed["", "serviceaccounts"] == installed["batch", "jobs"] == ("get", "create", "patch", "delete")


def test_a_gateway_of_another_namespace_may_be_read_there_and_nothing_else() -> None:
    account, role, binding, seen, seeing = access_for("openbell-p", "shop", Rendered(), gateway="edge")
    assert {one["metadata"]["namespace"] for one in (account, role, binding)} == {"shop"}
    assert (seen["metadata"], seen["rules"]) == (
        {"name": "openbell-p-of-shop", "namespace": "edge"},
        [{"apiGroups": ["gateway.networking.k8s.io"], "resources": ["gateways"], "verbs": ["get"]}],
    )
    assert seeing["roleRef"]["name"] == seen["metadata"]["name"]
    assert seeing["subjects"] == binding["subjects"] == [
        {"kind": "ServiceAccount", "name": "openbell-p", "namespace": "shop"}
    ]  # fmt: skip
    assert len(access_for("openbell-p", "shop", Rendered(), gateway="shop")) == 3
