"""Start and end a Kubernetes with all that the trading engine needs, on this machine.

    python -m tests.cluster up FOLDER       prints the name of a file of variables to source
    python -m tests.cluster down FOLDER

The control plane and the node come from the kit that OPENBELL_KIT names, or from the cluster that KUBECONFIG names
already. Beside it: a registry of images on localhost:5000, PostgreSQL, Valkey, Traefik as the gateway, Prometheus;
a namespace, a Gateway and Secrets for each of the environments `staging` and `production`; and the gateway listens on
ports that nobody's Gateway names yet, for tests that bring their own (tests/cluster/live.py).
"""

import argparse
import asyncio
import os
import secrets
import shutil
import socket
import subprocess
import sys
from pathlib import Path

from openbell.adapters.postgres import USER as DATABASE_USER
from tests.cluster import parts
from tests.cluster.parts import BRIDGE, MissingError, free_ports

PROJECT = "trading-engine"
ENVIRONMENTS = ("staging", "production")
BASE_IMAGE = "localhost/trading-engine-base"
LISTENERS = ("api", "websocket", "fix-gateway")
API_PORT, REGISTRY_PORT = 6443, 5000
SPARE_PORTS = 24
"""How many ports tests may name in Gateways of their own; several run at the same time."""
HERE = Path(__file__).parent


def main() -> int:
    """Do what the command line asks for."""
    arguments = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    arguments.add_argument("what", choices=("up", "down"))
    arguments.add_argument("folder", type=Path)
    asked = arguments.parse_args()
    folder: Path = asked.folder.absolute()
    try:
        if asked.what == "up":
            print(up(folder))
        else:
            down(folder)
    except (MissingError, subprocess.CalledProcessError) as error:
        said = (error.stderr or "") if isinstance(error, subprocess.CalledProcessError) else ""
        print(f"tests.cluster: {error}\n{said}".rstrip(), file=sys.stderr)
        if asked.what == "up":
            down(folder)
        return 2
    return 0


def up(folder: Path) -> Path:
    """Start everything; returns the file of variables that lead to it."""
    kit = _kit()
    binaries = _run([str(kit / "unpack")]).splitlines()[-1].strip()
    os.environ["PATH"] = os.pathsep.join([binaries, str(Path(sys.executable).parent), os.environ["PATH"]])
    down(folder)
    _refuse_second()
    parts_folder = folder / "parts"
    parts_folder.mkdir(parents=True, mode=0o700)
    (folder / "kit").write_text(str(kit))
    kubeconfig = Path(_run([str(kit / "kube-up"), "--node", str(folder / "kubernetes")]).splitlines()[-1])
    os.environ["KUBECONFIG"] = str(kubeconfig)
    _define_gateway_api(kit)
    _make_base_image()
    env = asyncio.run(_start_parts(parts_folder, kubeconfig))
    variables = {"KUBECONFIG": str(kubeconfig), "PATH": f"{binaries}:$PATH", **env}
    file = folder / "env"
    file.touch(mode=0o600)
    file.write_text("".join(f'export {name}="{value}"\n' for name, value in variables.items()))
    return file


def down(folder: Path) -> None:
    """End everything that `up` started in the folder, and remove it."""
    if (folder / "parts").exists():
        parts.end_all(folder / "parts")
    if (folder / "kubernetes").exists():
        # The kit that started it, wherever this is called from: without it the node would live on unknown.
        kit = Path((folder / "kit").read_text()) if (folder / "kit").exists() else _kit()
        subprocess.run([str(kit / "kube-down"), str(folder / "kubernetes")], check=False)
    shutil.rmtree(folder, ignore_errors=True)


def _kit() -> Path:
    kit = Path(os.environ.get("OPENBELL_KIT") or HERE.parents[2] / "shared" / "kit")
    if not (kit / "kube-up").exists():
        raise MissingError("there is no kit with a cluster here; name its folder in OPENBELL_KIT")
    return kit


def _refuse_second() -> None:
    """Raise `MissingError` where another cluster runs: two nodes of one machine would end each other's pods."""
    for port in (API_PORT, REGISTRY_PORT):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                raise MissingError(f"somebody listens on port {port} already: a machine has one cluster at a time")


def _make_base_image() -> None:
    """Make the image that the engine's is built on, unless it is there: none can be pulled here."""
    if shutil.which("buildah") is None:
        raise MissingError("buildah is not installed. On Debian and Ubuntu: apt-get install buildah")
    if subprocess.run(["buildah", "inspect", BASE_IMAGE], capture_output=True, check=False).returncode:
        make = HERE.parents[1] / "engine" / "images" / "base-image"
        _run([str(make), "--python", _movable_python(), BASE_IMAGE])


def _movable_python() -> str:
    """Find a Python that the engine runs on and that can be moved into an image: on PATH, or among those of pyenv."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    on_path = filter(None, map(shutil.which, ("python3.12", "python3.13", "python3")))
    for program in [*on_path, *map(str, sorted(pyenv.glob("3.1[2-9]*/bin/python3")))]:
        check = "import ensurepip, sys; sys.exit(sys.version_info < (3, 12))"
        if subprocess.run([program, "-I", "-c", check], capture_output=True, check=False).returncode == 0:
            return program
    raise MissingError(
        "there is no Python >= 3.12 with ensurepip for images; one of pyenv or `uv python install` will do"
    )


def _define_gateway_api(kit: Path) -> None:
    """Bring in the Gateway API, and what this version of the gateway looks for beside the standard channel."""
    for file in (*sorted((kit / "crds").glob("gateway-api-*.yaml")), HERE / "backendtlspolicy.yaml"):
        _run(["kubectl", "apply", "--server-side", "--filename", str(file)])
    for name, older in (("tcproutes", ("v1alpha2",)), ("tlsroutes", ("v1alpha2", "v1alpha3"))):
        for index in range(1, len(older) + 1):
            patch = f'[{{"op": "replace", "path": "/spec/versions/{index}/served", "value": true}}]'
            _run(["kubectl", "patch", "crd", f"{name}.gateway.networking.k8s.io", "--type=json", "--patch", patch])


async def _start_parts(folder: Path, kubeconfig: Path) -> dict[str, str]:
    password, keys = secrets.token_urlsafe(18), f"{secrets.token_hex(12)}:customer,{secrets.token_hex(12)}:smoke"
    parts.start_registry(folder)
    database_port = await parts.start_postgres(folder, password, ENVIRONMENTS)
    named = len(ENVIRONMENTS) * len(LISTENERS)
    counters, *gateway_ports = free_ports(1 + named + SPARE_PORTS)
    parts.start_traefik(folder, kubeconfig, gateway_ports, counters)
    left, spare = iter(gateway_ports), gateway_ports[named:]
    ports = {name: {listener: next(left) for listener in LISTENERS} for name in ENVIRONMENTS}
    prometheus = parts.start_prometheus(folder, counters)
    policy = []
    for name in ENVIRONMENTS:
        valkey_port = await parts.start_valkey(folder, f"valkey-{name}", password)
        _apply(_namespace(name, password, keys, ports[name]))
        policy.append(_policy(name, database_port, valkey_port, prometheus))
    _apply(_GATEWAY_CLASS)
    for name in ENVIRONMENTS:
        where = ["--namespace", f"{PROJECT}-{name}"]
        _run(["kubectl", "wait", *where, "gateway/openbell", "--for=condition=Programmed", "--timeout=60s"])
    policy.append(_IMAGE_POLICY)
    (folder.parent / "policy.toml").write_text("\n".join(policy))
    return {
        "OPENBELL_CLUSTER_FOLDER": str(folder.parent),
        "OPENBELL_CLUSTER_POLICY": str(folder.parent / "policy.toml"),
        "OPENBELL_CLUSTER_PORTS": " ".join(map(str, spare)),
        "OPENBELL_CLUSTER_COUNTERS": str(counters),
        "DATABASE_URL": f"postgresql://{DATABASE_USER}:{password}@127.0.0.1:{database_port}/production",
        "TRADING_ENGINE_API_KEYS": keys,
    }


_GATEWAY_CLASS = """
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: traefik}
spec: {controllerName: traefik.io/gateway-controller}
"""


_IMAGE_POLICY = f"""
[jobs.image]
on = []
[jobs.image.env]
BASE_IMAGE = "{BASE_IMAGE}"
REGISTRY = "{parts.REGISTRY}"
"""


def _namespace(name: str, password: str, keys: str, ports: dict[str, int]) -> str:
    namespace = f"{PROJECT}-{name}"
    listeners = "".join(
        f"\n    - {{name: {listener}, port: {port}, protocol: {'TCP' if listener == 'fix-gateway' else 'HTTP'}}}"
        for listener, port in ports.items()
    )
    return f"""
apiVersion: v1
kind: Namespace
metadata: {{name: {namespace}}}
---
apiVersion: v1
kind: Secret
metadata: {{name: database, namespace: {namespace}}}
stringData: {{username: {DATABASE_USER}, password: "{password}"}}
---
apiVersion: v1
kind: Secret
metadata: {{name: valkey, namespace: {namespace}}}
stringData: {{password: "{password}"}}
---
apiVersion: v1
kind: Secret
metadata: {{name: api-keys, namespace: {namespace}}}
stringData: {{api-keys: "{keys}"}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: openbell, namespace: {namespace}}}
spec:
  gatewayClassName: traefik
  listeners:{listeners}
"""


def _policy(name: str, database_port: int, valkey_port: int, prometheus_port: int) -> str:
    at = f"environments.{name}.cluster"
    small = "\n".join(
        f'[{at}.settings.services.{service}.resources.requests]\ncpu = "10m"\nmemory = "64Mi"'
        for service in (*LISTENERS, "worker")
    )
    return f"""
[{at}]
namespace = "{PROJECT}-{name}"
metrics_url = "http://127.0.0.1:{prometheus_port}"
[{at}.settings.database]
host = "{BRIDGE}"
port = {database_port}
name = "{name}"
sslMode = "disable"
existingSecret = "database"
[{at}.settings.valkey]
host = "{BRIDGE}"
port = {valkey_port}
existingSecret = "valkey"
[{at}.settings.apiKeys]
existingSecret = "api-keys"
{small}
"""


def _apply(manifest: str) -> None:
    subprocess.run(
        ["kubectl", "apply", "--server-side", "--filename", "-"],
        input=manifest, text=True, check=True, capture_output=True,
    )  # fmt: skip


def _run(command: list[str]) -> str:
    return subprocess.run(command, check=True, text=True, capture_output=True).stdout


if __name__ == "__main__":
    sys.exit(main())
