"""The world on a real cluster: the tiny service in pods, Gateway API routes, and a Prometheus of its own."""

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import msgspec

from openbell.core.project import Cluster, Environment, Project, ReleaseInfo
from openbell.ports import SLOTS, MetricSource, Platform, ReleaseRef, Router
from openbell.wiring.cluster_site import ClusterSite
from openbell.wiring.state import StateFolder
from tests.cluster import live, parts
from tests.fakes.releases import PROGRAM, project, write_release

CHART = PROGRAM.with_name("chart")
LISTENERS = {"api": "HTTP", "fix-gateway": "TCP"}
COMMANDS = "commands.json"
BASE_IMAGE = "localhost/trading-engine-base"


class ClusterWorld:
    """An environment in a namespace of its own."""

    timeout_s = 90.0
    refused_s_max = 30.0
    switch_ms_max = 5000.0  # It takes a quarter of a second where nothing else runs.
    refusals = frozenset({404, 500})  # Gateways differ in what they answer for a rule that leads nowhere.
    api_instance = "tiny-green-api-[a-z0-9]+-[a-z0-9]+: "
    migration_failed = "the Job expand failed"

    def __init__(self, folder: Path, namespace: str, image: str, prometheus: "OwnPrometheus") -> None:
        self.state = StateFolder(folder)
        self.namespace = namespace
        self._image = image
        self._prometheus = prometheus
        cluster = Cluster(namespace=namespace, metrics_url=prometheus.url, values=(COMMANDS,))
        self._environment = Environment(replicas=2, cluster=cluster)
        self.site = ClusterSite(self._project(), "production", self.state)
        self.platform: Platform = self.site.platform
        self.router: Router = self.site.router
        self.metrics: MetricSource = self.site.metrics
        self._requested_at_s = 0.0

    def _project(self, **env: str) -> Project:
        return msgspec.structs.replace(project(**env), environments={"production": self._environment})

    def release(self, version: str, *, migration: ReleaseInfo | None = None, **env: str) -> ReleaseRef:
        content = self._project(**env)
        images = dict.fromkeys(content.services, self._image)
        made = write_release(self.state, version, content, release=migration, images=images)
        folder, commands = self.state.release(made.digest), migration or ReleaseInfo()
        shutil.copytree(CHART, folder / "config" / "chart", dirs_exist_ok=True)
        found = {"commands": {"expand": commands.expand or "", "contract": commands.contract or ""}}
        (folder / "config" / COMMANDS).write_text(json.dumps(found))
        return made

    async def request(self, count: int) -> list[tuple[int, str]]:
        found = []
        async with self.site.reach() as addresses, httpx.AsyncClient(trust_env=False) as http:
            for _ in range(count):
                answer = await http.get(addresses["api_url"])
                found.append((answer.status_code, answer.json()["slot"]))
        self._requested_at_s = time.time()
        return found

    async def ask(self, path: str) -> int:
        async with self.site.reach() as addresses, httpx.AsyncClient(trust_env=False) as http:
            return (await http.get(addresses["api_url"] + path)).status_code

    async def wait_counted(self) -> None:
        await self._prometheus.wait_scraped(self._requested_at_s)

    async def disturb(self) -> None:
        rules = json.loads(live.kubectl("get", *self._route, "--output", "json").stdout)["spec"]["rules"]
        backends = rules[-1]["backendRefs"]
        patch = [
            {"op": "replace", "path": f"/spec/rules/{len(rules) - 1}/backendRefs/{number}/weight", "value": 50}
            for number in range(len(backends))
        ]
        live.kubectl("patch", *self._route, "--type=json", "--patch", json.dumps(patch))

    @property
    def _route(self) -> list[str]:
        return ["httproute/tiny-api", "--namespace", self.namespace]

    async def reset(self) -> None:
        for slot in await self.site.holdings():
            await self.platform.retire(slot, 0, key="reset")
        await self.wait_counted()
        for slot in SLOTS:
            await self.metrics.sample(slot)

    async def break_metrics(self) -> None:
        await self._prometheus.stop()

    async def mend_metrics(self) -> None:
        await self._prometheus.start()


class OwnPrometheus:
    """A Prometheus that reads the gateway's counters, and that may be stopped without anybody else noticing."""

    def __init__(self, folder: Path) -> None:
        port = parts.free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._command = parts.prometheus_command(folder, live.counters_port(), port)
        self._log = folder / "prometheus.log"
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log
            )
        await self.wait_scraped(time.time())

    async def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            await process.wait()

    async def wait_scraped(self, at_s: float) -> None:
        """Wait until the counters were read after a time; raises `TimeoutError` with the log when they are not."""
        deadline = time.monotonic() + live.TIMEOUT_S
        while await self._scraped_at_s() <= at_s:
            if time.monotonic() > deadline:
                raise TimeoutError(self._log.read_text()[-2000:])
            await asyncio.sleep(0.1)

    async def _scraped_at_s(self) -> float:
        try:
            async with httpx.AsyncClient(trust_env=False) as http:
                query = {"query": "timestamp(traefik_config_reloads_total)"}
                answer = await http.get(f"{self.url}/api/v1/query", params=query)
                return max((float(one["value"][1]) for one in answer.json()["data"]["result"]), default=0.0)
        except (httpx.HTTPError, ValueError, KeyError):
            return 0.0


@contextlib.asynccontextmanager
async def cluster_world(folder: Path) -> AsyncIterator[ClusterWorld]:
    """Have the world, and leave nothing of it; the tests are skipped with the reason where it cannot be."""
    live.require("buildah", "prometheus")
    image = make_image(os.environ.get("BASE_IMAGE", BASE_IMAGE))
    with live.namespace("conformance") as namespace, live.gateway(namespace, LISTENERS):
        prometheus = OwnPrometheus(folder)
        world = ClusterWorld(folder, namespace, image, prometheus)
        try:
            await prometheus.start()
            await world.site.up()
            yield world
        finally:
            await world.site._api.close()
            await prometheus.stop()


def make_image(base: str) -> str:
    """Make the tiny service's image and push it to the cluster's registry; returns its name by digest."""
    command = [str(PROGRAM.with_name("image")), base, f"{parts.REGISTRY}/openbell-tiny"]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()
