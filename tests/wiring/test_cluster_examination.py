"""What `openbell doctor` and `up` say of a cluster in memory that lacks one thing: one line, with its remedy."""

from pathlib import Path
from typing import Any

import pytest

from openbell.adapters.kubernetes.permissions import ALWAYS
from openbell.cli.doctor import render
from openbell.ports import AdapterError
from openbell.wiring.doctor import Diagnosis, examine
from openbell.wiring.site import Check
from tests.adapters.kubernetes.memory import NAMESPACE, Content
from tests.wiring.test_cluster_site import GATEWAY, World

BUDGET = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "x"}}
WORKLOAD = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "api"},
    "spec": {
        "template": {
            "spec": {
                "imagePullSecrets": [{"name": "login"}],
                "containers": [
                    {
                        "envFrom": [
                            {"configMapRef": {"name": "own"}},
                            {"secretRef": {"name": "may", "optional": True}},
                        ],
                        "env": [{"valueFrom": {"secretKeyRef": {"name": "database", "key": "password"}}}],
                    }
                ],
                "volumes": [{"configMap": {"name": "ca", "items": [{"key": "ca.pem", "path": "ca.pem"}]}}],
            }
        }
    },
}
OWN = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "own"}}
REMEDY = "An administrator gives it: openbell render rbac production | kubectl apply -f -"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr("shutil.which", lambda name, path=None: f"/usr/bin/{name}")
    monkeypatch.setattr("openbell.adapters.kubernetes.api.BACKOFF_S", 0.0)
    made = World(tmp_path)
    made.helm.manifests = [WORKLOAD, OWN, BUDGET]
    made.api.put("v1/secrets/database", {"metadata": {"name": "database"}, "data": {"password": "eA=="}})
    made.api.put("v1/secrets/login", {"metadata": {"name": "login"}})
    made.api.put("v1/configmaps/ca", {"metadata": {"name": "ca"}, "data": {"ca.pem": "x"}})
    return made


async def look(world: World) -> list[Check]:
    return await world.site.examine(world.state.root)


async def bad(world: World) -> list[Check]:
    return [one for one in await look(world) if not one.ok]


async def only(world: World) -> Check:
    (found,) = await bad(world)
    assert found.needed
    return found


def allow(world: World, rules: list[tuple[str, str, tuple[str, ...]]]) -> None:
    world.api.rules = [
        {"apiGroups": [group], "resources": [resource], "verbs": [*verbs]} for group, resource, verbs in rules
    ]


def shipped(world: World) -> list[tuple[str, str, tuple[str, ...]]]:
    """The rules of the shipped Role for what the world's chart consists of."""
    objects = (("apps", "deployments"), ("", "configmaps"), ("policy", "poddisruptionbudgets"))
    found = {(one.group, one.resource): one.verbs for one in ALWAYS}
    for key in objects:
        found[key] = (*found.get(key, ()), "get", "create", "patch", "delete")
    return [(*key, verbs) for key, verbs in found.items()]


async def test_where_all_is_well_each_thing_is_one_line(world: World) -> None:
    found = {one.name: one.found for one in await look(world)}
    assert found == {
        "helm": "v4.3.1 (/usr/bin/helm)",
        "kubectl": "/usr/bin/kubectl",
        "cluster": "Kubernetes v1.34.4, as system:serviceaccount:trading:openbell",
        "permissions": f"all that are needed, on 14 kinds of resources in the namespace {NAMESPACE}",
        "chart": "objects of 3 kinds, all known to the cluster",
        "secrets": "ca, database, login",
        "gateway api": "HTTPRoute v1, TCPRoute v1",
        "gateway": "gateways/openbell (class traefik) listens for api, websocket, fix-gateway",
        "metrics": "http://prometheus",
    }


async def test_the_shipped_role_suffices_and_each_verb_of_it_is_missed(world: World) -> None:
    rules = shipped(world)
    allow(world, rules)
    assert await bad(world) == []
    for group, resource, verbs in rules:
        for verb in set(verbs):
            left = [(g, r, tuple(v for v in vs if (g, r, v) != (group, resource, verb))) for g, r, vs in rules]
            allow(world, left)
            found = await only(world)
            whole = f"{resource}{f'.{group}' if group else ''}"
            assert found.found.startswith(f"may not {verb} {whole} in the namespace {NAMESPACE} ("), found
            assert found.remedy == REMEDY


async def test_without_any_permission_it_is_said_once(world: World) -> None:
    world.api.rules = []
    found = await only(world)
    assert found.found == f"nothing that a rollout does is allowed in the namespace {NAMESPACE}"
    assert found.remedy == REMEDY


async def test_a_rule_for_some_names_is_none_for_all(world: World) -> None:
    world.api.rules = [{**world.api.rules[0], "resourceNames": ["one"]}]
    assert (await only(world)).name == "permissions"


async def test_where_the_list_of_rules_is_not_all_there_is_each_verb_is_asked_for(world: World) -> None:
    rules = shipped(world)
    allow(world, [rule for rule in rules if rule[1] not in ("pods/log", "tcproutes")])
    world.api.singly = {("get", "pods/log"), *(("patch", "tcproutes"), ("get", "tcproutes"))}
    found = await only(world)
    assert found.found.startswith("may not create, delete tcproutes.gateway.networking.k8s.io in")


async def test_a_budget_that_lets_no_pod_go_is_told_and_hinders_no_rollout(world: World) -> None:
    """Whoever drains a node would wait for ever; a rollout scales pods down, which no budget holds up."""
    counts = {
        "tight": {"disruptionsAllowed": 0, "currentHealthy": 2, "expectedPods": 2},
        "loose": {"disruptionsAllowed": 1, "currentHealthy": 2, "expectedPods": 2},
        "starting": {"disruptionsAllowed": 0, "currentHealthy": 1, "expectedPods": 2},
        "empty": {"disruptionsAllowed": 0, "currentHealthy": 0, "expectedPods": 0},
    }
    for name, status in counts.items():
        world.api.put(f"policy/v1/poddisruptionbudgets/{name}", {"metadata": {"name": name}, "status": status})
    (found,) = await bad(world)
    assert found.found.startswith("the PodDisruptionBudget tight lets no pod go, though all are healthy (2 of 2): ")
    assert (found.name, found.needed) == ("eviction", False)
    assert await world.site.up(releases=[world.build()]) == []
    world.api.refusals["GET", "/poddisruptionbudgets"] = (403, "forbidden")
    assert await bad(world) == []


async def test_up_names_what_is_missing_before_anything_is_touched(world: World) -> None:
    digest = world.build()
    seen = "poddisruptionbudgets"
    allow(world, [(group, one, ("list",) if one == seen else verbs) for group, one, verbs in shipped(world)])
    assert await world.site.up() == [], "nothing is placed that would need it"
    with pytest.raises(AdapterError) as caught:
        await world.site.up(releases=[digest])
    where = f"in the namespace {NAMESPACE} (see whether nodes could be drained, and install what the chart consists of)"
    assert caught.value.message == (f"may not get, create, patch, delete poddisruptionbudgets.policy {where}. {REMEDY}")
    assert caught.value.effect == "not_applied"
    reviews = ("selfsubjectreviews", "selfsubjectrulesreviews")
    assert {path.rpartition("/")[2] for method, path, _ in world.api.asked if method != "GET"} == {*reviews}
    assert all(operation == "render" for operation, _ in world.helm.calls)


async def test_a_release_that_is_not_here_is_told_before_all_else(world: World) -> None:
    with pytest.raises(AdapterError, match="is not whole on this machine"):
        await world.site.up(releases=["sha256:" + "0" * 64])


async def test_a_namespace_that_is_not_there_is_all_that_is_said(world: World) -> None:
    world.api.namespace_is_there, world.api.rules = False, []
    found = await only(world)
    assert (found.name, found.found) == ("namespace", f"there is no namespace {NAMESPACE}")
    assert f"kubectl create namespace {NAMESPACE}" in found.remedy


async def test_who_may_not_look_at_the_namespace_takes_it_as_it_is(world: World) -> None:
    world.api.refusals["GET", f"/namespaces/{NAMESPACE}"] = (403, "forbidden")
    assert await bad(world) == []


@pytest.mark.parametrize(
    ("said", "words"), [("v3.12.3+gabc", "is v3.12.3+gabc, and 3.13 is the oldest"), ("what?", "is what?")]
)
async def test_a_helm_that_is_too_old_is_told(
    world: World, monkeypatch: pytest.MonkeyPatch, said: str, words: str
) -> None:
    async def version() -> str:
        return said

    monkeypatch.setattr(world.helm, "version", version)
    found = await only(world)
    assert words in found.found
    assert "helm.sh" in found.remedy


async def test_a_cluster_that_does_not_answer_is_all_that_is_said(world: World) -> None:
    world.api.refusals["GET", "/version"] = (401, "Unauthorized")
    found = await only(world)
    assert found.name == "cluster"
    assert "the API server does not know us" in found.found


async def test_a_chart_that_cannot_be_rendered_is_told_and_the_rest_is_looked_at(world: World) -> None:
    world.helm.failures["render"] = AdapterError("helm", "template", "values don't meet the schema")
    world.gateway["spec"]["listeners"].pop()
    assert [one.name for one in await bad(world)] == ["chart", "gateway"]


async def test_kinds_that_the_cluster_does_not_know_are_named(world: World) -> None:
    monitor = {"apiVersion": "monitoring.coreos.com/v1", "kind": "ServiceMonitor", "metadata": {"name": "x"}}
    world.helm.manifests = [*world.helm.manifests, monitor]
    found = await only(world)
    assert found.found == "the cluster does not know ServiceMonitor (monitoring.coreos.com/v1)"
    assert "leave it out by the chart's values" in found.remedy


@pytest.mark.parametrize(
    ("path", "content", "said"),
    [
        ("v1/secrets/database", None, "there is no Secret database"),
        ("v1/secrets/database", {"metadata": {}, "data": {}}, "the Secret database has no key password"),
        ("v1/secrets/login", None, "there is no Secret login"),
        ("v1/configmaps/ca", {"metadata": {}, "binaryData": {}}, "the ConfigMap ca has no key ca.pem"),
    ],
)
async def test_what_pods_refer_to_must_be_there(world: World, path: str, content: Content | None, said: str) -> None:
    if content is None:
        del world.api.objects[world.api._path(path)]
    else:
        world.api.put(path, content)
    found = await only(world)
    assert (found.name, found.found) == ("secrets", said)
    assert NAMESPACE in found.remedy


async def test_secrets_that_may_not_be_read_are_said_once(world: World) -> None:
    allow(world, [rule for rule in shipped(world) if rule[1] != "secrets"])
    world.api.refusals["GET", "/secrets/database"] = (403, "forbidden")
    found = await only(world)
    assert "may not get, list, create, update, delete secrets in" in found.found


async def test_a_gateway_api_without_tcproutes_is_told(world: World) -> None:
    world.api.served["gateway.networking.k8s.io/v1"].remove("TCPRoute")
    found = await only(world)
    assert "serves no TCPRoute of gateway.networking.k8s.io in version v1 or v1alpha2" in found.found
    assert "gateway-api.sigs.k8s.io" in found.remedy


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "there is no GatewayClass traefik"),
        ({"metadata": {}}, "the GatewayClass traefik is not accepted: no controller has looked at it"),
        (
            {"metadata": {}, "status": {"conditions": [{"type": "Accepted", "status": "False", "message": "bad"}]}},
            "the GatewayClass traefik is not accepted: bad",
        ),
    ],
)
async def test_a_gateway_that_nobody_serves_is_told_with_its_class(
    world: World, content: dict[str, Any] | None, said: str
) -> None:
    world.gateway["status"] = {}
    if content is not None:
        world.api.objects["/apis/gateway.networking.k8s.io/v1/gatewayclasses/traefik"] = content
    first, second = await bad(world)
    assert "serves nothing yet: no controller has looked at it" in first.found
    assert second.found == said


async def test_a_class_that_may_not_be_seen_is_left_out(world: World) -> None:
    world.gateway["status"] = {}
    world.api.refusals["GET", "/gatewayclasses/traefik"] = (403, "forbidden")
    assert "serves nothing yet" in (await only(world)).found


async def test_a_gateway_of_another_namespace_that_may_not_be_read_is_told(world: World) -> None:
    world.api.refusals["GET", GATEWAY] = (403, "gateways is forbidden in the namespace gateways")
    assert "openbell render rbac" in (await only(world)).found


async def test_a_machine_without_parts_of_its_own_can_still_deploy_to_a_cluster(world: World) -> None:
    found = await examine(world.state, world.site.project, world.site, world.state.root)
    assert not {"postgres", "valkey", "haproxy", "supervisor", "ports"} & {check.name for check in found.checks}


async def test_a_missing_permission_reads_well_on_a_terminal(world: World) -> None:
    allow(world, [rule for rule in shipped(world) if rule[1] != "tcproutes"])
    found = await bad(world)
    lines = render(Diagnosis(False, tuple(found)))
    what = "get, create, patch, delete tcproutes.gateway.networking.k8s.io"
    assert lines[0] == f"✗ permission     may not {what} in the namespace {NAMESPACE} (send new FIX sessions to a slot)"
    assert lines[1] == f"  {'':<14} {REMEDY}"
