"""The engine on the cluster of the tests: its image, a database and Secrets of one's own, a project to deliver it."""

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from tests.cluster import live
from tests.cluster.parts import REGISTRY

ENGINE = Path(__file__).parents[2] / "engine"
BASE_IMAGE = "localhost/trading-engine-base"
REPOSITORY = f"{REGISTRY}/trading-engine"
LENT_BY = "trading-engine-staging"
"""Whose Secrets and Valkey the tests use."""
SMALL = {"preStopSleepSeconds": 0, "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}}}
PROJECT = """
order = ["worker", "fix-gateway", "websocket", "api"]
[project]
name = "engine"
[jobs.image]
stage = "build"
run = "cp images.json {out}/"
outputs = ["images.json"]
[jobs.smoke]
stage = "smoke"
run = "python3 -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1])' {api_url}/readyz"
[release]
expand = "trading-engine migrate expand"
[services.api]
protocol = "http"
run = "trading-engine api --port {port}"
[services.websocket]
protocol = "websocket"
run = "trading-engine websocket --port {port}"
[services.fix-gateway]
protocol = "fix"
run = "trading-engine fix-gateway --port {port} --http-port {http_port}"
[services.worker]
protocol = "leader"
run = "trading-engine worker --port {port}"
[environments.production]
strategy = "blue-green"
replicas = 1
smoke = "smoke"
[environments.production.rollout]
weight_pct = 50
hold_s = 1
watch_s = 1
tick_s = 0.5
healthy_timeout_s = 60
[environments.production.rollback_on]
requests_min = 5
window_s = 10
"""


def make_engine_image() -> str:
    """Build the engine's image as the job `image` of its openbell.toml does; returns its name by digest."""
    env = {**os.environ, "BUILDAH_ISOLATION": "chroot"}
    options = ["--quiet", "--layers", "--build-arg", f"BASE_IMAGE={BASE_IMAGE}", "--timestamp", "0"]
    built = _run(["buildah", "build", *options, str(ENGINE)], env=env).strip()
    with tempfile.NamedTemporaryFile() as digest:
        push = ["buildah", "push", "--quiet", "--tls-verify=false", "--digestfile", digest.name]
        _run([*push, built, f"docker://{REPOSITORY}"])
        return f"{REPOSITORY}@{Path(digest.name).read_text().strip()}"


@contextlib.contextmanager
def neighbours(namespace: str) -> Iterator[dict[str, Any]]:
    """Have the Secrets and a database of one's own for a namespace; yields the chart's settings that lead to them."""
    policy = tomllib.loads(Path(os.environ["OPENBELL_CLUSTER_POLICY"]).read_text())
    settings = policy["environments"]["staging"]["cluster"]["settings"]
    for name in ("database", "valkey", "api-keys"):
        lent = json.loads(live.kubectl("get", "secret", name, "--namespace", LENT_BY, "--output", "json").stdout)
        metadata = {"name": name, "namespace": namespace}
        live.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": lent["data"]})
    name = namespace.replace("-", "_")
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        try:
            yield {**settings, "database": {**settings["database"], "name": name}}
        finally:
            connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def write_project(root: Path, namespace: str, settings: Mapping[str, Any], image: str) -> Path:
    """Write a repository with the releases v1.0.0 and v1.1.0 of the engine's chart; returns its folder."""
    policy = tomllib.loads(Path(os.environ["OPENBELL_CLUSTER_POLICY"]).read_text())
    url = policy["environments"]["staging"]["cluster"]["metrics_url"]
    services = list(tomllib.loads(PROJECT)["services"])
    chosen = {**settings, "services": dict.fromkeys(services, SMALL)}
    shutil.copytree(ENGINE / "chart", root / "chart")
    (root / "images.json").write_text(json.dumps(dict.fromkeys(services, image)))
    (root / "settings.json").write_text(json.dumps(chosen))
    cluster = f'namespace = "{namespace}"\nmetrics_url = "{url}"\nvalues = ["settings.json"]\n'
    (root / "openbell.toml").write_text(f"{PROJECT}[environments.production.cluster]\n{cluster}")
    (root / ".gitignore").write_text(".openbell\n")
    _git(root, "init", "--quiet", "--initial-branch=main")
    for version in ("1.0.0", "1.1.0"):
        chart = root / "chart" / "Chart.yaml"
        chart.write_text(chart.read_text().replace('appVersion: "1.0.0"', f'appVersion: "{version}"'))
        _git(root, "add", "--all")
        _git(root, "commit", "--quiet", "--allow-empty", "--message", f"feat: {version}")
        _git(root, "tag", f"v{version}")
    return root


def _git(root: Path, *arguments: str) -> None:
    who = ["-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false"]
    _run(["git", "-C", str(root), *who, *arguments])


def _run(command: list[str], *, env: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout
