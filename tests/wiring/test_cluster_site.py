"""An environment in a cluster in memory: what it must have, where it answers, and what its releases consist of."""

import contextlib
import hashlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import msgspec
import pytest
import yaml

from openbell.adapters.kubernetes.chart import DIGEST, VERSION
from openbell.adapters.kubernetes.permissions import GATEWAY_API
from openbell.adapters.kubernetes.platform import SERVICE, SLOT
from openbell.core.project import Cluster, Environment, Project, ProjectInfo, Service
from openbell.core.release import Artifact, Release
from openbell.ports import AdapterError
from openbell.wiring.cluster_site import ClusterSite
from openbell.wiring.releases import IMAGES
from openbell.wiring.site import open_site
from openbell.wiring.state import StateFolder
from tests.adapters.kubernetes.memory import NAMESPACE, Content, MemoryApi, MemoryHelm, deployment, pod, service

CLUSTER = Cluster(
    namespace=NAMESPACE,
    chart="deploy/chart",
    values=("deploy/eks.yaml",),
    settings={"a": 1},
    gateway="gateways/openbell",
)
SERVICES = {
    "api": Service(protocol="http", run="x"),
    "websocket": Service(protocol="websocket", run="x"),
    "fix-gateway": Service(protocol="fix", run="x"),
    "worker": Service(protocol="leader", run="x"),
}
GATEWAY = "/apis/gateway.networking.k8s.io/v1/namespaces/gateways/gateways/openbell"
NO_IMAGES = "none"
IMAGE = "registry.example/engine@sha256:" + "a" * 64


def project(cluster: Cluster = CLUSTER, services: Mapping[str, Service] = SERVICES) -> Project:
    return Project(
        project=ProjectInfo(name="shop"),
        services=dict(services),
        environments={"production": Environment(cluster=cluster, env={"LOG": "info"})},
    )


class Measured:
    """A source of metrics that says what hinders it."""

    url = "http://prometheus"

    def __init__(self, why: str | None = None) -> None:
        self.why = why

    async def hindrance(self) -> str | None:
        return self.why


class World:
    """The site, and the cluster in which it is."""

    def __init__(self, folder: Path, cluster: Cluster = CLUSTER) -> None:
        self.state = StateFolder(folder)
        self.api = MemoryApi()
        self.helm = MemoryHelm(self.api)
        self.site = ClusterSite(project(cluster), "production", self.state)
        self.site._api, self.site._helm = self.api, self.helm
        self.measured = self.site.__dict__["metrics"] = Measured()
        self.api.objects[GATEWAY] = gateway()

    @property
    def gateway(self) -> Content:
        return self.api.objects[GATEWAY]

    def build(self, *, images: str | None = None, chart: str = "deploy/chart", values: str = "deploy/eks.yaml") -> str:
        """Have a release, with no images at all when they are `NO_IMAGES`; returns its digest."""
        named = msgspec.json.encode(dict.fromkeys(SERVICES, IMAGE)).decode() if images is None else images
        listed = Artifact(IMAGES, hashlib.sha256(named.encode()).hexdigest(), len(named))
        release = Release(self.site.project, "c0ffee", () if images == NO_IMAGES else (listed,))
        folder = self.state.release(release.digest)
        if images != NO_IMAGES:
            (folder / "artifacts").mkdir(parents=True, exist_ok=True)
            (folder / "artifacts" / IMAGES).write_text(named)
        for path, text in {
            "manifest.json": msgspec.json.encode(release, order="deterministic").decode(),
            f"config/{chart}/Chart.yaml": "name: engine",
            f"config/{values}": "b: 2",
        }.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        return release.digest

    def place(self, slot: str, services: Mapping[str, Service] = SERVICES) -> None:
        """Have a release in a slot."""
        for number, name in enumerate(services):
            labels = {SLOT: slot, SERVICE: name}
            notes = {DIGEST: "sha256:1", VERSION: "1.0.0"}
            at = f"shop-{slot}-{name}"
            self.api.put(f"apps/v1/deployments/{at}", deployment(at, labels, 1, notes))
            self.api.put(f"v1/services/{at}", service(at, labels, 8000 + number))
            self.api.put(f"v1/pods/{at}-1", pod(f"{at}-1", labels))


def gateway() -> Content:
    """A gateway that works, as a controller leaves it."""
    ports = {"api": 80, "websocket": 8080, "fix-gateway": 9878}
    good = [{"type": kind, "status": "True"} for kind in ("Accepted", "Programmed", "ResolvedRefs")]
    good.append({"type": "Conflicted", "status": "False"})
    return {
        "metadata": {"name": "openbell", "namespace": "gateways", "generation": 1},
        "spec": {
            "gatewayClassName": "traefik",
            "listeners": [{"name": name, "port": port, "protocol": "HTTP"} for name, port in ports.items()],
        },
        "status": {
            "addresses": [{"type": "IPAddress", "value": "192.0.2.10"}],
            "conditions": [{"type": "Accepted", "status": "True"}, {"type": "Programmed", "status": "True"}],
            "listeners": [{"name": name, "attachedRoutes": 1, "conditions": [*good]} for name in ports],
        },
    }


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr("openbell.adapters.kubernetes.api.BACKOFF_S", 0.0)
    return World(tmp_path)


# --- what a release consists of


def test_a_release_has_its_chart_its_values_and_its_images(world: World) -> None:
    digest = world.build()
    chart = world.site._chart_of(digest)
    config = world.state.release(digest) / "config"
    assert (chart.folder, chart.values) == (config / "deploy/chart", (config / "deploy/eks.yaml",))
    assert chart.images == dict.fromkeys(SERVICES, IMAGE)
    assert chart.settings == {"a": 1}
    assert chart.project == world.site.project


def test_a_release_that_is_not_here_is_told_with_what_makes_it(world: World) -> None:
    with pytest.raises(AdapterError, match="is not whole on this machine: .*Build it again: openbell run") as caught:  # noqa: RUF043
        world.site._chart_of("sha256:" + "0" * 64)
    assert (caught.value.retryable, caught.value.effect) == (False, "not_applied")


def test_a_manifest_that_cannot_be_read_is_told(world: World) -> None:
    digest = world.build()
    for content in (b"", b"{", b"[]", b'{"commit": "\xff"}'):
        (world.state.release(digest) / "manifest.json").write_bytes(content)
        with pytest.raises(AdapterError, match="is not whole on this machine"):
            world.site._chart_of(digest)


def test_a_chart_or_values_that_were_not_there_at_the_time_are_named(world: World) -> None:
    with pytest.raises(AdapterError, match="has no chart deploy/chart; was it built before it was named"):
        world.site._chart_of(world.build(chart="chart"))
    digest = world.build()
    (world.state.release(digest) / "config" / "deploy" / "eks.yaml").unlink()
    with pytest.raises(AdapterError, match=r"has no values file deploy/eks\.yaml; was it built before it was named"):
        world.site._chart_of(digest)


async def test_a_release_without_images_names_the_services(world: World) -> None:
    digest = world.build(images=NO_IMAGES)
    assert world.site._chart_of(digest).images == {}
    with pytest.raises(AdapterError, match="no image by digest for api, fix-gateway, websocket, worker"):
        world.site.platform._chart(digest, "place")


@pytest.mark.parametrize("images", ["", "[]", '{"api": 3}', "nonsense"])
def test_images_that_are_none_are_told(world: World, images: str) -> None:
    with pytest.raises(AdapterError, match='images.json is not {"SERVICE": "REPOSITORY@sha256:DIGEST"}'):  # noqa: RUF043
        world.site._chart_of(world.build(images=images))


@pytest.mark.parametrize("path", ["manifest.json", f"artifacts/{IMAGES}"])
def test_a_release_that_was_changed_is_placed_nowhere(world: World, path: str) -> None:
    digest = world.build()
    file = world.state.release(digest) / path
    file.write_text(file.read_text().replace("api", "apj", 1))
    with pytest.raises(AdapterError, match="was changed after it was built"):
        world.site._chart_of(digest)


def test_images_that_a_release_was_not_built_with_are_placed_nowhere(world: World) -> None:
    digest = world.build(images=NO_IMAGES)
    (world.state.release(digest) / "artifacts").mkdir()
    (world.state.release(digest) / "artifacts" / IMAGES).write_text("{}")
    with pytest.raises(AdapterError, match="was changed after it was built"):
        world.site._chart_of(digest)


# --- what the cluster must have


async def test_where_all_is_well_nothing_is_said(world: World) -> None:
    said: list[str] = []
    assert await world.site.up(said.append) == []
    assert said == [f"production: looking at the namespace {NAMESPACE}"]
    assert {path.rpartition("/")[2] for method, path, _ in world.api.asked if method != "GET"} == {
        "selfsubjectreviews", "selfsubjectrulesreviews",
    }, "looking changes nothing"  # fmt: skip


async def test_all_that_is_missing_is_named_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _name: None)
    world.measured.why = "http://prometheus: nobody there"
    world.gateway["spec"]["listeners"].pop()
    with pytest.raises(AdapterError) as caught:
        await world.site.up()
    lines = caught.value.message.splitlines()
    assert [line.split()[0] for line in lines] == ["helm", "kubectl", "the", "http://prometheus:"]
    assert "helm is not on PATH. Install it" in lines[0]
    assert "has no listener called fix-gateway; it has api, websocket" in lines[2]
    assert "metrics_url" in lines[3]
    assert caught.value.effect == "not_applied"


def condition(content: Content, kind: str, status: str, message: str = "") -> None:
    content["conditions"] = [one for one in content["conditions"] if one["type"] != kind]
    content["conditions"].append({"type": kind, "status": status, "reason": "Why", "message": message})


async def test_a_gateway_that_is_not_there_is_told(world: World) -> None:
    del world.api.objects[GATEWAY]
    with pytest.raises(
        AdapterError, match=r"there is no Gateway gateways/openbell .*create it, or name another: gateway ="
    ):
        await world.site.up()


async def test_a_gateway_that_serves_nothing_is_told(world: World) -> None:
    condition(world.gateway["status"], "Programmed", "False", "no such class")
    with pytest.raises(AdapterError, match=r"openbell \(class traefik\) serves nothing yet: no such class"):
        await world.site.up()
    world.gateway["status"] = {}
    with pytest.raises(AdapterError, match="serves nothing yet: no controller has looked at it"):
        await world.site.up()


@pytest.mark.parametrize(
    ("kind", "status", "message", "said"),
    [
        ("Conflicted", "True", "port 80 is taken", "port 80 is taken"),
        ("ResolvedRefs", "False", "secret not found", "secret not found"),
        ("Programmed", "Unknown", "", "Why"),
    ],
)
async def test_a_listener_that_does_not_work_is_told(
    world: World, kind: str, status: str, message: str, said: str
) -> None:
    condition(world.gateway["status"]["listeners"][0], kind, status, message)
    with pytest.raises(AdapterError, match=f"the listener api of the Gateway openbell does not work: {said}"):
        await world.site.up()


async def test_conditions_that_nobody_knows_and_listeners_of_others_do_no_harm(world: World) -> None:
    for status in ("True", "False", "Unknown"):
        condition(world.gateway["status"]["listeners"][0], "OverlappingTLSConfig", status)
        assert await world.site.up() == []
    other = {"name": "other", "conditions": [{"type": "Conflicted", "status": "True"}]}
    world.gateway["status"]["listeners"].append(other)
    assert await world.site.up() == []


async def test_a_gateway_without_listeners_has_none(world: World) -> None:
    world.gateway["spec"]["listeners"] = []
    with pytest.raises(AdapterError, match="no listener called api, websocket, fix-gateway; it has none"):
        await world.site.up()


# --- where it answers


async def test_customers_reach_it_where_its_gateway_answers(world: World) -> None:
    async with world.site.reach() as found:
        assert found == {
            "api_url": "http://192.0.2.10:80",
            "websocket_url": "ws://192.0.2.10:8080",
            "fix-gateway_address": "192.0.2.10:9878",
        }


@pytest.mark.parametrize(("address", "host"), [("trade.example", "trade.example"), ("2001:db8::1", "[2001:db8::1]")])
async def test_an_address_of_the_configuration_comes_first(tmp_path: Path, address: str, host: str) -> None:
    world = World(tmp_path, msgspec.structs.replace(CLUSTER, address=address))
    async with world.site.reach() as found:
        assert found["api_url"] == f"http://{host}:80"
        assert found["fix-gateway_address"] == f"{host}:9878"


async def test_a_gateway_that_does_not_say_where_it_answers(world: World) -> None:
    world.gateway["status"]["addresses"] = []
    with pytest.raises(AdapterError, match="does not say where it answers; name it: address ="):
        async with world.site.reach():
            pytest.fail("nobody knows where")


async def test_a_service_without_a_listener_cannot_be_reached(world: World) -> None:
    world.gateway["spec"]["listeners"].pop(0)
    with pytest.raises(AdapterError, match="has no listener called api"):
        async with world.site.reach():
            pytest.fail("nobody knows where")


async def test_a_slot_is_reached_by_ports_of_this_machine(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    @contextlib.asynccontextmanager
    async def forward(
        context: str, namespace: str, services: Mapping[str, tuple[str, int]]
    ) -> AsyncIterator[dict[str, int]]:
        asked.append((context, namespace, dict(services)))
        yield {name: 40000 + number for number, name in enumerate(services)}

    monkeypatch.setattr("openbell.wiring.cluster_site.forwarded", forward)
    world.place("green")
    async with world.site.reach("green") as found:
        assert found["api_url"] == "http://127.0.0.1:40000"
        assert found["fix-gateway_address"] == "127.0.0.1:40002"
    ((_, namespace, services),) = asked
    assert namespace == NAMESPACE
    assert services["fix-gateway"] == ("shop-green-fix-gateway", 8002)


async def test_an_empty_slot_cannot_be_reached(world: World) -> None:
    with pytest.raises(AdapterError, match="slot green has no Service of api, websocket, fix-gateway; is a release"):
        async with world.site.reach("green"):
            pytest.fail("nobody is there")


# --- how it is


async def test_it_is_seen_as_it_is(world: World) -> None:
    world.place("blue")
    status = await world.site.look()
    assert (status.environment, status.state) == ("production", "up")
    assert [(part.name, part.state) for part in status.parts] == [("gateway", "running")]
    assert status.addresses["api_url"] == "http://192.0.2.10:80"
    (slot,) = status.slots
    assert (slot.slot, slot.version, slot.release, slot.weight_pct, slot.fix_sessions) == (
        "blue", "1.0.0", "sha256:1", 0, False,
    )  # fmt: skip
    assert [(one.service, one.protocol) for one in slot.services] == sorted(
        (name, one.protocol) for name, one in SERVICES.items()
    )
    (instance,) = slot.services[0].instances
    assert (instance.name, instance.port, instance.state, instance.healthy) == (
        "shop-blue-api-1",
        8080,
        "running",
        True,
    )
    held = await world.site.holdings()
    assert {name: (one.digest, one.version, one.instances) for name, one in held.items()} == {
        "blue": ("sha256:1", "1.0.0", 4)
    }


async def test_services_that_the_configuration_does_not_have_any_more_are_seen(world: World) -> None:
    world.place("blue", {**SERVICES, "old": Service(protocol="http", run="x")})
    (slot,) = (await world.site.look()).slots
    assert [one.protocol for one in slot.services if one.service == "old"] == [""]


async def test_what_is_wrong_with_the_gateway_is_seen(world: World) -> None:
    condition(world.gateway["status"], "Programmed", "False", "no such class")
    status = await world.site.look()
    assert "serves nothing yet: no such class" in status.parts[0].state
    assert status.addresses == {}


async def test_without_a_gateway_it_is_down(world: World) -> None:
    del world.api.objects[GATEWAY]
    status = await world.site.look()
    assert status.state == "down"
    assert status.reason.startswith("there is no Gateway")


async def test_a_cluster_that_cannot_be_asked_is_not_said_to_be_down(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise AdapterError("kubernetes", "get", "the API server does not answer", retryable=True)

    monkeypatch.setattr(world.site.router, "weights", refuse)
    status = await world.site.look()
    assert (status.state, status.reason) == ("unreachable", "the API server does not answer")


async def test_going_down_takes_releases_and_routes_and_keeps_the_rest(world: World) -> None:
    folder = world.state.environment("production")
    folder.mkdir(parents=True)
    world.place("blue")
    said: list[str] = []
    await world.site.down(said.append)
    assert said == ["production: removing shop-blue", "production: removing shop-green"]
    assert await world.site.holdings() == {}
    deleted = [path.rpartition("/")[2] for method, path, _ in world.api.asked if method == "DELETE"]
    assert sorted(deleted) == ["shop-api", "shop-fix-gateway", "shop-websocket"]
    assert folder.exists()
    await world.site.down(purge=True)
    assert not folder.exists()


# --- secrets and permissions


def test_a_secret_is_the_callers_or_the_environments(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = world.state.environment("production")
    folder.mkdir(parents=True)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    assert world.site.secret("DATABASE_URL") is None
    assert world.site.backing_services() == {}
    (folder / "secrets.toml").write_text('DATABASE_URL = "postgresql://file"\nPIN = 1234\n')
    assert world.site.secret("PIN") == "1234"
    assert world.site.backing_services() == {"DATABASE_URL": "postgresql://file"}
    monkeypatch.setenv("DATABASE_URL", "postgresql://caller")
    assert world.site.backing_services() == {"DATABASE_URL": "postgresql://caller"}


async def test_the_permissions_that_suffice_are_those_of_the_chart(world: World, tmp_path: Path) -> None:
    kind = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "x"}}
    world.helm.manifests = [kind]
    account, role, binding, *of_gateway = yaml.safe_load_all(await world.site.render_permissions(tmp_path))
    assert {one["metadata"]["name"] for one in (account, role, binding)} == {"openbell-production"}
    assert {one["metadata"]["namespace"] for one in (account, role, binding)} == {NAMESPACE}
    assert {one["metadata"]["namespace"] for one in of_gateway} == {"gateways"}
    assert of_gateway[0]["rules"] == [{"apiGroups": [GATEWAY_API], "resources": ["gateways"], "verbs": ["get"]}]
    assert of_gateway[1]["subjects"] == binding["subjects"]
    rules = {(rule["apiGroups"][0], rule["resources"][0]): rule["verbs"] for rule in role["rules"]}
    assert "delete" in rules["policy", "poddisruptionbudgets"]
    assert rules["", "pods/proxy"] == ["get", "create"]
    assert not any("*" in (*key, *verbs) for key, verbs in rules.items())


def test_what_an_environment_is_made_of_is_its_configurations_choice(tmp_path: Path) -> None:
    site = open_site(project(Cluster()), "production", StateFolder(tmp_path))
    assert isinstance(site, ClusterSite)
    assert site._api.namespace == "shop-production"
