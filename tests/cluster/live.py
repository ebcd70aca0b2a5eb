"""The cluster that tests may use, if one is there: what `python -m tests.cluster up` says in the environment.

Each test file takes a namespace and ports of its own, and leaves neither behind. Ports are held by locks on files, so
that processes which test at the same time never name the same one, and one that is killed holds none. Whoever ends
parts of the cluster waits until nobody else has a namespace, and has it `alone`; so what has a namespace ends with its
file.
"""

import contextlib
import fcntl
import functools
import json
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

PROGRAMS = ("kubectl", "helm")
VARIABLES = ("KUBECONFIG", "OPENBELL_CLUSTER_POLICY", "OPENBELL_CLUSTER_PORTS", "OPENBELL_CLUSTER_COUNTERS")
GATEWAY_CLASS = "traefik"
TIMEOUT_S = 60


def require(*programs: str) -> None:
    """Skip the test with the reason, unless there are a cluster, what talks to it, and these programs."""
    reason = hindrance(*programs)
    if reason:
        pytest.skip(reason)


def hindrance(*programs: str) -> str:
    """Say why there can be no test with a cluster; empty when there can."""
    unset = [name for name in VARIABLES if not os.environ.get(name)]
    if unset:
        return f"no cluster: {', '.join(unset)} not set (CONTRIBUTING.md says how to start one)"
    absent = [name for name in (*PROGRAMS, *programs) if shutil.which(name) is None]
    return f"no cluster: {', '.join(absent)} not on PATH" if absent else _unready()


@functools.cache
def _unready() -> str:
    asked = kubectl("get", "--raw", "/readyz", "--request-timeout=10s", check=False)
    return "" if asked.returncode == 0 else f"no cluster: {asked.stderr.strip()}"


def kubectl(*arguments: str, stdin: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run kubectl; the manifest that it may read is `stdin`."""
    done = subprocess.run(
        ["kubectl", *arguments], input=stdin, text=True, capture_output=True, check=False, timeout=2 * TIMEOUT_S
    )
    assert done.returncode == 0 or not check, f"kubectl {' '.join(arguments)}: {done.stderr}"
    return done


def apply(*objects: Mapping[str, object]) -> None:
    """Apply objects as somebody who is not openbell."""
    manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    kubectl("apply", "--server-side", "--filename", "-", stdin=manifest)


@contextlib.contextmanager
def namespace(name: str, **labels: str) -> Iterator[str]:
    """Have a namespace `t-NAME-...`, and end it with all that is in it."""
    whole = f"t-{name}-{secrets.token_hex(3)}"
    with _locked("cluster", fcntl.LOCK_SH):
        apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": whole, "labels": labels}})
        try:
            yield whole
        finally:
            kubectl("delete", "namespace", whole, "--wait=false", "--ignore-not-found", check=False)


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Have the cluster for oneself, to end parts of it; never with a namespace of this process, which is waited for."""
    with _locked("cluster", fcntl.LOCK_EX):
        yield


@contextlib.contextmanager
def _locked(name: str, how: int) -> Iterator[None]:
    """Hold a lock; raises `BlockingIOError` where it was not to be waited for and somebody else has it."""
    folder = Path(tempfile.gettempdir()) / "openbell-cluster"
    folder.mkdir(exist_ok=True)
    with (folder / name).open("w") as file:
        fcntl.flock(file, how)
        yield


@contextlib.contextmanager
def ports(count: int) -> Iterator[list[int]]:
    """Have so many ports that the gateway listens on and that no other Gateway names."""
    spare = [int(word) for word in os.environ["OPENBELL_CLUSTER_PORTS"].split()]
    with contextlib.ExitStack() as stack:
        taken: list[int] = []
        for port in spare:
            with contextlib.suppress(BlockingIOError):
                stack.enter_context(_locked(str(port), fcntl.LOCK_EX | fcntl.LOCK_NB))
                taken.append(port)
            if len(taken) == count:
                break
        assert len(taken) == count, f"all {len(spare)} spare ports of the gateway are taken"
        yield taken


@contextlib.contextmanager
def gateway(where: str, listeners: Mapping[str, str], *, name: str = "openbell") -> Iterator[dict[str, int]]:
    """Have a Gateway in a namespace with a listener for each service: `{"api": "HTTP", "fix-gateway": "TCP"}`."""
    with ports(len(listeners)) as free:
        of = dict(zip(listeners, free, strict=True))
        entries = [{"name": each, "port": of[each], "protocol": kind} for each, kind in listeners.items()]
        apply(
            {
                "apiVersion": "gateway.networking.k8s.io/v1",
                "kind": "Gateway",
                "metadata": {"name": name, "namespace": where},
                "spec": {"gatewayClassName": GATEWAY_CLASS, "listeners": entries},
            }
        )
        try:
            wait = ["--for=condition=Programmed", f"--timeout={TIMEOUT_S}s"]
            kubectl("wait", "--namespace", where, f"gateway/{name}", *wait)
            yield of
        finally:
            kubectl("delete", "--namespace", where, f"gateway/{name}", "--ignore-not-found", check=False)


def counters_port() -> int:
    """Where the gateway's counters are, for a Prometheus of one's own."""
    return int(os.environ["OPENBELL_CLUSTER_COUNTERS"])
