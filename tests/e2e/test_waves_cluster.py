"""One environment, two namespaces of a cluster as its targets: what fails in one is taken back from both."""

import json
import os
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import live
from tests.conformance.cluster_world import BASE_IMAGE, CHART, make_image
from tests.e2e.product import Product
from tests.e2e.test_waves import ONE, git, versions

pytestmark = [pytest.mark.slow, pytest.mark.e2e, pytest.mark.kubernetes]

SERVICES = ("api", "worker")
PROJECT = """
[project]
name = "tiny"
[jobs.images]
stage = "build"
run = "cp images.json {out}/"
outputs = ["images.json"]
[services.api]
protocol = "http"
run = "in the image"
[services.worker]
protocol = "leader"
run = "in the image"
[environments.production]
strategy = "rolling"
replicas = 1
[environments.production.rollout]
healthy_timeout_s = 60
[environments.production.waves]
order = [["eu"], ["us"]]
hold_s = 1
[environments.production.cluster]
"""


class TwoNamespaces(Product):
    """A project whose production is two namespaces, by target."""

    namespaces: dict[str, str]


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoNamespaces]:
    """The project with v1.0.0 and v1.1.0 built and v1.0.0 in both targets."""
    live.require("buildah")
    folder = tmp_path_factory.mktemp("waves")
    (folder / "one.toml").write_text(ONE)
    made = TwoNamespaces(folder, str(folder / "one.toml"))
    image = make_image(os.environ.get("BASE_IMAGE", BASE_IMAGE))
    with (
        live.namespace("waves-eu") as eu,
        live.namespace("waves-us") as us,
        live.gateway(eu, {"api": "HTTP"}),
        live.gateway(us, {"api": "HTTP"}),
    ):
        made.namespaces = {"eu": eu, "us": us}
        write_project(made, image)
        made.run("deploy", "production", "v1.0.0")
        yield made


def write_project(product: TwoNamespaces, image: str) -> None:
    """Write the repository and build its releases, which differ in a word of the chart."""
    known = tomllib.loads(Path(os.environ["OPENBELL_CLUSTER_POLICY"]).read_text())
    url = known["environments"]["staging"]["cluster"]["metrics_url"]
    targets = [
        f'[environments.production.targets.{target}]\nnamespace = "{namespace}"\n'
        for target, namespace in product.namespaces.items()
    ]
    shutil.copytree(CHART, product.root / "chart")
    (product.root / "images.json").write_text(json.dumps(dict.fromkeys(SERVICES, image)))
    (product.root / "openbell.toml").write_text("".join([PROJECT, f'metrics_url = "{url}"\n', *targets]))
    git(product, "init", "--quiet", "--initial-branch=main")
    for version in ("v1.0.0", "v1.1.0"):
        with (product.root / "chart" / "values.yaml").open("a") as values:
            values.write(f"# {version}\n")
        git(product, "add", "--all")
        git(product, "commit", "--quiet", "--message", f"feat: {version}")
        git(product, "tag", version)
        product.run("run", "--trigger", "tag", "--ref", version, "--no-deploy")


def labels(product: TwoNamespaces, target: str) -> set[str]:
    """The environment that the pods of a target say that they belong to."""
    found = live.kubectl("get", "pods", "--namespace", product.namespaces[target], "--output", "json").stdout
    return {pod["metadata"]["labels"]["openbell.dev/environment"] for pod in json.loads(found)["items"]}


def test_two_namespaces_are_two_targets(product: TwoNamespaces) -> None:
    assert versions(product) == ["v1.0.0", "v1.0.0"]
    assert [labels(product, target) for target in ("eu", "us")] == [{"production-eu"}, {"production-us"}]
    role = product.run("render", "rbac", "production/eu").stdout
    assert "name: openbell-production-eu" in role
    assert f"namespace: {product.namespaces['eu']}" in role


def test_what_has_no_room_in_one_is_taken_back_from_both(product: TwoNamespaces) -> None:
    namespace = product.namespaces["us"]
    quota = {"hard": {"count/pods": str(len(SERVICES))}}
    metadata = {"name": "full", "namespace": namespace}
    live.apply({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": quota})
    wait = ["--for=jsonpath={.status.used}", "--timeout=30s"]
    live.kubectl("wait", "--namespace", namespace, "resourcequota/full", *wait)
    try:
        found = product.json("deploy", "production", "v1.1.0", expect=1)
    finally:
        live.kubectl("delete", "--namespace", namespace, "resourcequota/full")
    assert found["outcome"] == "rolled-back"
    assert found["reason"].startswith("us: ")
    assert "quota" in found["reason"]
    assert [(one["environment"], one["outcome"]) for one in found["targets"]] == [
        ("production/eu", "promoted"), ("production/us", "rolled-back"), ("production/eu", "promoted"),
    ]  # fmt: skip
    assert versions(product) == ["v1.0.0", "v1.0.0"]


def test_with_room_it_goes_through(product: TwoNamespaces) -> None:
    found = product.json("deploy", "production", "v1.1.0")
    assert (found["outcome"], len(found["targets"])) == ("promoted", 2)
    assert versions(product) == ["v1.1.0", "v1.1.0"]
