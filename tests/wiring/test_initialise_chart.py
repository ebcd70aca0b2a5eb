"""The chart that `openbell init --chart` writes: it keeps the contract, and Helm and Kubernetes take it."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from openbell.adapters.kubernetes.chart import DIGEST, VERSION, Chart
from openbell.adapters.kubernetes.helm import Helm
from openbell.adapters.kubernetes.permissions import Rendered
from openbell.adapters.kubernetes.platform import OPERATIONS_PORT, SERVICE, SERVING, SLOT, Kubernetes
from openbell.core.project import Cluster, Environment, Project, ProjectInfo, ReleaseInfo, Service
from openbell.ports import ReleaseRef
from openbell.wiring.cluster_site import ClusterSite
from openbell.wiring.initialise import InitError
from openbell.wiring.initialise_chart import initialise_chart
from openbell.wiring.state import StateFolder
from tests.adapters.kubernetes.memory import MemoryApi
from tests.cluster import live
from tests.conformance.cluster_world import BASE_IMAGE, make_image
from tests.fakes.releases import write_release

IMAGE = f"registry.example/shop@sha256:{'a' * 64}"
PROJECT = Project(
    project=ProjectInfo(name="shop"),
    services={
        "api": Service(protocol="http", run="shop api --port {port} --name {slot}/{instance}", health="/up"),
        "push": Service(protocol="websocket", run="{release}/bin/push {port}", ready="/ready"),
        "fix-gateway": Service(protocol="fix", run="shop fix --port={port} --http {http_port}"),
        "worker": Service(protocol="leader", run="shop 'work hard' {{port}}", drain_timeout_s=12.5),
    },
    release=ReleaseInfo(expand="shop migrate expand", contract="cd /srv && shop migrate contract"),
    environments={"production": Environment(cluster=Cluster(chart="deploy/shop"), env={"LOG": "info"})},
)
ENGINE = Path(__file__).parents[2] / "engine"
needs_helm = pytest.mark.skipif(shutil.which("helm") is None, reason="helm is not installed")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return initialise_chart(tmp_path, PROJECT).folder


def run(*command: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


async def render(folder: Path, project: Project = PROJECT) -> Rendered:
    """Render it as a platform does, with the values that openbell sets."""
    chart = Chart(project, folder, (), dict.fromkeys(project.services, IMAGE), {"secrets": ["database"]})
    platform = Kubernetes(
        MemoryApi(), Helm("", "trading"), project="shop", environment="production", chart_of=lambda _digest: chart
    )
    return await platform.render(chart)


def of_kind(rendered: Rendered, kind: str) -> dict[str, Any]:
    return {one["metadata"]["name"]: one for one in rendered.installed if one["kind"] == kind}


def test_values_follow_from_the_configuration(folder: Path) -> None:
    values = yaml.safe_load((folder / "values.yaml").read_text())
    services = values["services"]
    assert {name: one["protocol"] for name, one in services.items()} == {
        name: one.protocol for name, one in PROJECT.services.items()
    }
    assert {name: one["command"] for name, one in services.items()} == {
        "api": ["shop", "api", "--port", "8080", "--name", "$(OPENBELL_SLOT)/$(OPENBELL_INSTANCE)"],
        "push": [],
        "fix-gateway": ["shop", "fix", "--port=9878", "--http", "8080"],
        "worker": ["shop", "work hard", "{port}"],
    }
    assert (services["api"]["health"], services["push"]["ready"], services["worker"]["drainSeconds"]) == (
        "/up", "/ready", 13,
    )  # fmt: skip
    assert values["migrations"]["commands"] == {
        "expand": ["shop", "migrate", "expand"],
        "contract": ["/bin/sh", "-c", "cd /srv && shop migrate contract"],
    }


def test_it_goes_where_the_environment_looks_for_it_and_says_what_it_cannot_know(tmp_path: Path) -> None:
    done = initialise_chart(tmp_path, PROJECT)
    assert done.folder == tmp_path / "deploy" / "shop"
    assert done.services == ("api", "push", "fix-gateway", "worker")
    assert [note.split()[0] for note in done.notes] == ["push", "Migrations"]
    assert sorted(str(path.relative_to(done.folder)) for path in done.folder.rglob("*") if path.is_file()) == [
        "Chart.yaml",
        "templates/_labels.tpl",
        "templates/migration.yaml",
        "templates/services.yaml",
        "values.schema.json",
        "values.yaml",
    ]


def test_what_is_there_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "deploy" / "shop").mkdir(parents=True)
    with pytest.raises(InitError, match=r"deploy/shop is there already. Remove it"):
        initialise_chart(tmp_path, PROJECT)
    assert not list((tmp_path / "deploy" / "shop").iterdir())


def test_without_services_there_is_nothing_to_write(tmp_path: Path) -> None:
    with pytest.raises(InitError, match=r"add \[services.NAME\]"):
        initialise_chart(tmp_path, Project(project=ProjectInfo(name="library")))
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: object, **_options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("openbell.wiring.initialise_chart.write_whole", full)
    with pytest.raises(InitError, match="No space left on device"):
        initialise_chart(tmp_path, PROJECT)
    assert not (tmp_path / "deploy" / "shop").exists()


@needs_helm
async def test_it_keeps_the_contract(folder: Path) -> None:
    rendered = await render(folder)
    deployments, services = of_kind(rendered, "Deployment"), of_kind(rendered, "Service")
    assert sorted(deployments) == [f"shop-blue-{name}" for name in ("api", "fix-gateway", "push", "worker")]
    assert sorted(services) == [f"shop-blue-{name}" for name in ("api", "fix-gateway", "push")]
    for name, one in deployments.items():
        template = one["spec"]["template"]
        (container,) = template["spec"]["containers"]
        for labels in (one["metadata"]["labels"], template["metadata"]["labels"]):
            assert (labels[SLOT], labels[SERVICE]) == ("blue", name.removeprefix("shop-blue-"))
        assert template["metadata"]["labels"][SERVING] == "true"
        assert SERVING not in one["spec"]["selector"]["matchLabels"]
        for notes in (one["metadata"]["annotations"], template["metadata"]["annotations"]):
            assert notes.keys() >= {DIGEST, VERSION}
        assert container["image"] == IMAGE
        assert OPERATIONS_PORT in {port["name"] for port in container["ports"]}
        env = {variable["name"]: variable.get("value") for variable in container["env"]}
        assert (env["LOG"], env["OPENBELL_SLOT"], env["OPENBELL_ENVIRONMENT"]) == ("info", "blue", "production")
        assert container["envFrom"] == [{"secretRef": {"name": "database"}}]
    for name, one in services.items():
        selector = one["spec"]["selector"]
        assert selector[SERVING] == "true"
        assert selector.items() <= deployments[name]["spec"]["template"]["metadata"]["labels"].items()
    assert [port["name"] for port in services["shop-blue-fix-gateway"]["spec"]["ports"]] == ["fix"]
    assert [one["kind"] for one in rendered.migrations] == ["NetworkPolicy", "Job"] * 2


@needs_helm
@pytest.mark.slow
def test_helm_and_the_schemas_of_kubernetes_take_it(folder: Path, tmp_path: Path) -> None:
    values = tmp_path / "given.yaml"
    values.write_text(yaml.safe_dump(given()))
    run("helm", "lint", "--strict", "--quiet", folder, "--values", values)
    rendered = tmp_path / "rendered.yaml"
    rendered.write_text(
        run("helm", "template", "shop-blue", folder, "--values", values, "--set", "migrations.expand=true")
    )
    if shutil.which("kubeconform") is None:
        pytest.skip("linted; kubeconform is not installed")
    pytest.importorskip("kubernetes_validate")
    run(sys.executable, ENGINE / "checks" / "kubernetes_schemas.py", tmp_path / "schemas")
    schemas = f"{tmp_path}/schemas/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json"
    said = run("kubeconform", "-strict", "-summary", "-schema-location", schemas, rendered)
    assert re.search(r"Invalid: 0, Errors: 0", said)
    if shutil.which("checkov") is not None:
        run(
            "checkov", "--config-file", ENGINE / "checks/checkov.yaml", "--file", rendered, "--quiet", "--skip-download"
        )


def given() -> dict[str, Any]:
    """What openbell sets."""
    image = {"repository": "registry.example/shop", "digest": "sha256:" + "a" * 64}
    return {
        "openbell": {"environment": "production", "slot": "blue", "release": "0123456789ab"},
        "image": image,
        "services": {name: {"image": image} for name in PROJECT.services},
    }


WRONG = [
    ("services.matcher.replicas=1", "matcher"),
    ("services.api.replicas=-1", "/services/api/replicas"),
    ("services.api.image.tag=latest", "tag"),
    ("image.digest=latest", "/image/digest"),
    ("ports.http=80", "/ports/http"),
    ("openbell.slot=", "/openbell/slot"),
    ("unknown=1", "unknown"),
]


@needs_helm
@pytest.mark.parametrize(("setting", "named"), WRONG)
def test_values_that_cannot_be_meant_are_refused(folder: Path, tmp_path: Path, setting: str, named: str) -> None:
    values = tmp_path / "given.yaml"
    values.write_text(yaml.safe_dump(given()))
    command = ["helm", "template", "shop-blue", str(folder), "--values", str(values), "--set", setting]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert named in refused.stderr


@pytest.mark.slow
@pytest.mark.kubernetes
async def test_on_a_cluster_its_pods_serve_migrate_and_are_handed_over(tmp_path: Path) -> None:
    live.require("buildah")
    run_it = "python3 -I -S /service.py --host 0.0.0.0 --port {port}"
    services = {
        "api": Service(protocol="http", run=run_it),
        "fix-gateway": Service(protocol="fix", run=f"{run_it} --http-port {{http_port}}"),
        "worker": Service(protocol="leader", run=run_it),
    }
    image = make_image(BASE_IMAGE)
    with live.namespace("init-chart") as namespace, live.gateway(namespace, {"api": "HTTP", "fix-gateway": "TCP"}):
        environments = {"production": Environment(cluster=Cluster(namespace=namespace))}
        release = ReleaseInfo(expand="python3 -c pass")
        project = Project(project=PROJECT.project, services=services, release=release, environments=environments)
        state = StateFolder(tmp_path)
        digest = write_release(state, "1.0.0", project, images=dict.fromkeys(services, image)).digest
        folder = state.release(digest)
        initialise_chart(folder / "config", project)
        site = ClusterSite(project, "production", state)
        await site.platform.migrate("expand", digest, key="k")
        for slot in ("blue", "green"):
            await site.platform.place(slot, ReleaseRef(digest, "1.0.0"), 1, timeout_s=90.0, key="k")
        await site.router.route({"blue": 100}, "blue", key="k")
        async with site.reach() as addresses, httpx.AsyncClient(trust_env=False) as http:
            assert (await http.get(addresses["api_url"])).json()["slot"] == "blue"
        assert [one.remaining for one in await site.platform.drain("blue", "green", 0, key="k")] == [0, 0, 0]
        await site.down()
        assert await site.holdings() == {}
        await site.close()
