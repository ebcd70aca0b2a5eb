"""The product on a cluster: kills, outages, other people, with orders flowing from outside; the ends are the same."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from openbell.adapters.sqlite import read_now
from openbell.core.rollout_state import Rollout
from openbell.hosts.local import stream_of
from openbell.wiring.demo import Flow
from openbell.wiring.project import open_project
from tests.cluster import live
from tests.e2e.product import Product
from tests.e2e.test_kills import check_audit, newest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.e2e,
    pytest.mark.kubernetes,
    pytest.mark.long,
    pytest.mark.asyncio(loop_scope="module"),
]

STEPS = ("Begun", "CommandSucceeded", "CommandFailed", "Ended")
KILLS_MAX = 60
TRAFFIC_S = 300.0
"""Longer than pods that share two cores with everything else may take to be placed and found healthy."""
OUTAGES: list[str] = []
"""Tests that have taken the customers' only way in away for a moment."""
NOBODY = "none"
NAMESPACE = "trading-engine-production"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def traded(clustered: Product) -> AsyncIterator[Product]:
    """Production on the cluster with orders flowing through all tests; in the end every one of them is looked up."""
    # Pods share two cores with the tests: what takes a second alone may take a minute.
    policy = clustered.folder / "policy.toml"
    policy.write_text(policy.read_text().replace("undecided_s = 30", "undecided_s = 60\nhealthy_timeout_s = 120"))
    with pytest.MonkeyPatch.context() as patch:
        for name in ("OPENBELL_STATE", "OPENBELL_POLICY"):
            patch.setenv(name, clustered.env[name])
        first = await asyncio.to_thread(clustered.json, "deploy", "production", "v1.0.0")
        flow = Flow(open_project(clustered.root), "production", first["release"], clustered.folder / "flow.json")
        await flow.start(rate=40, fix_sessions=2, streams=2)
    try:
        await flow.wait_flowing(timeout_s=60.0)
        yield clustered
    finally:
        found = await flow.stop()
    if OUTAGES:
        found["http"]["failed_by_version"].pop(NOBODY, None)  # What nobody could answer, for the gateway was gone.
    check_audit(found)


@pytest.fixture
def tag(traded: Product) -> str:
    """The release that does not serve: each test brings the other one in."""
    serves = {slot["version"] for slot in traded.json("status", "production")["slots"] if slot["weight_pct"] == 100}
    return "v1.0.0" if serves == {"v1.1.0"} else "v1.1.0"


@pytest.mark.parametrize("strategy", ["blue-green", "rolling"])
async def test_a_kill_at_each_step_changes_nothing_about_the_end(
    traded: Product, tag: str, strategy: str, tmp_path: Path
) -> None:
    policy = tmp_path / "strategy.toml"
    policy.write_text(f'[environments.production]\nstrategy = "{strategy}"\n')
    before = await newest(traded)
    kills = 0
    while (state := await newest(traded)) is None or is_same(state, before) or not is_ended(state):
        assert kills < KILLS_MAX
        command = ("deploy", "production", tag) if is_same(state, before) else ("resume",)
        kills += await killed_after_one_step(traded, (*command, "--policy", str(policy)))
    assert (state.outcome, state.plan.strategy, state.plan.candidate.version) == ("promoted", strategy, tag), (
        state.reason
    )
    assert kills >= 8
    assert 100 in (await asyncio.to_thread(traded.weights)).values()


def is_same(one: Rollout | None, other: Rollout | None) -> bool:
    """Whether two states are of one rollout."""
    return one is not None and other is not None and one.plan.id == other.plan.id


def is_ended(state: Rollout) -> bool:
    """Whether a rollout has ended, and owes nobody anything."""
    return state.direction == "ended" and not state.outstanding


async def killed_after_one_step(product: Product, command: tuple[str, ...]) -> int:
    """Run a command until one more step is in the journal, and kill it then; returns 1 if it was killed."""
    before = len(steps(product))
    process = product.start(*command)
    while process.poll() is None and len(steps(product)) == before:  # noqa: ASYNC110 - another process writes them
        await asyncio.sleep(0.02)
    struck = process.poll() is None
    if struck:
        os.kill(process.pid, signal.SIGKILL)
    _, errors = await asyncio.to_thread(process.communicate)
    assert "Traceback" not in errors, errors
    return int(struck)


def steps(product: Product) -> list[str]:
    """The kinds of the events of all rollouts that are no ticks."""
    journal = product.folder / "state" / "journal.sqlite"
    return [
        record.kind
        for number in range(1, 40)
        for record in read_now(journal, stream_of(f"r-{number}"))
        if record.kind in STEPS
    ]


async def hold_at_5(product: Product, tag: str, *options: str) -> "subprocess.Popen[str]":
    """Begin a rollout, and return when the candidate has its 5 percent."""
    process = product.start("deploy", "production", tag, *options)
    deadline = time.monotonic() + TRAFFIC_S
    while process.poll() is None and time.monotonic() < deadline:
        state = await newest(product)
        if state is not None and state.plan.candidate.version == tag and state.weight_pct == 5:
            return process
        await asyncio.sleep(0.1)
    process.terminate()
    output, errors = await asyncio.to_thread(process.communicate)
    pytest.fail(f"the candidate got no traffic within {TRAFFIC_S:g} s\n{errors}{output}")


async def ends(
    process: "subprocess.Popen[str]", product: Product, *, outcomes: tuple[str, ...] = ("promoted",)
) -> tuple[int, str]:
    """Wait until a rollout's command has ended, and go on with what it has left; returns exit code and outcome."""
    output, errors = await asyncio.to_thread(process.communicate)
    assert "Traceback" not in errors, errors + output
    for _ in range(5):
        state = await newest(product)
        if state is not None and state.direction == "ended" and not state.outstanding:
            break
        await asyncio.to_thread(product.run, "resume", expect=None)
    state = await newest(product)
    assert state is not None
    assert state.outcome in outcomes, f"{state.outcome}: {state.reason}\n{errors}"
    return process.returncode, str(state.outcome)


async def test_an_api_server_that_is_gone_for_30_s(parts: "Parts", traded: Product, tag: str) -> None:
    process = await hold_at_5(traded, tag)
    await parts.restart("kubernetes/log/apiserver", down_s=30.0)
    # A gateway that takes longer than three attempts to find the API server again has the release taken back.
    await ends(process, traded, outcomes=("promoted", "rolled-back"))


async def test_etcd_is_restarted(parts: "Parts", traded: Product, tag: str) -> None:
    process = await hold_at_5(traded, tag)
    await parts.restart("kubernetes/log/etcd", down_s=1.0)
    assert (await ends(process, traded))[1] == "promoted"


async def test_pods_are_evicted(traded: Product, tag: str) -> None:
    process = await hold_at_5(traded, tag)
    weights = await asyncio.to_thread(traded.weights)
    stable = max(weights, key=weights.__getitem__)
    selector = f"openbell.dev/slot={stable},openbell.dev/serving"
    pods = json.loads(kubectl("get", "pods", "--selector", selector, "--output", "json"))["items"]
    services = {pod["metadata"]["labels"]["app.kubernetes.io/component"]: pod["metadata"]["name"] for pod in pods}
    for name in services.values():
        evict(name)
    assert (await ends(process, traded))[1] == "promoted"


async def test_without_prometheus_nothing_is_promoted(
    parts: "Parts", traded: Product, tag: str, tmp_path: Path
) -> None:
    policy = tmp_path / "impatient.toml"
    policy.write_text("[environments.production.rollout]\nundecided_s = 5\nhold_s = 5\n")
    process = await hold_at_5(traded, tag, "--policy", str(policy))

    async def waits() -> None:
        output, errors = await asyncio.to_thread(process.communicate)
        assert process.returncode == 3, errors + output
        assert "the judge is undecided" in errors

    await parts.without("parts/prometheus", waits)
    assert (await ends(traded.start("resume"), traded))[1] == "promoted"


async def test_an_edit_by_hand_is_named_and_taken_over(traded: Product, tag: str) -> None:
    process = await hold_at_5(traded, tag)
    rules = json.loads(kubectl("get", "httproute", "trading-engine-api", "--output", "json"))["spec"]["rules"]
    shared = next(number for number, rule in enumerate(rules) if len(rule.get("backendRefs", ())) > 1)
    patch = [{"op": "replace", "path": f"/spec/rules/{shared}/backendRefs/1/weight", "value": 60}]
    command = ("patch", "httproute", "trading-engine-api", "--type=json", "--patch", json.dumps(patch))
    kubectl(*command, "--field-manager=operator-two")
    output, errors = await asyncio.to_thread(process.communicate)
    assert process.returncode == 0, errors + output
    assert "is taken over again" in errors
    assert "changed by operator-two" in await asyncio.to_thread(lambda: traded.run("why").stdout)


async def test_the_gateway_is_restarted(parts: "Parts", traded: Product, tag: str) -> None:
    OUTAGES.append("gateway")
    process = await hold_at_5(traded, tag)
    await parts.restart("parts/traefik", down_s=0.5)
    await ends(process, traded)


class Parts:
    """The processes of the cluster that the tests started, by the files that hold their ids."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def restart(self, name: str, *, down_s: float) -> None:
        """End a process, and start it again as it was after a while."""

        async def wait() -> None:
            await asyncio.sleep(down_s)

        await self.without(name, wait)

    async def without(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do something while a process is gone; afterwards it is started as it was."""
        file = self.folder / f"{name}.pid"
        pid = int(file.read_text())
        process = Path(f"/proc/{pid}")
        command = process.joinpath("cmdline").read_bytes().decode().split("\0")[:-1]
        folder = process.joinpath("cwd").resolve()
        env = dict(
            pair.split("=", 1) for pair in process.joinpath("environ").read_bytes().decode().split("\0") if "=" in pair
        )
        os.kill(pid, signal.SIGKILL)
        try:
            await work()
        finally:
            with (self.folder / f"{name}.log").open("ab") as log:
                again = subprocess.Popen(  # noqa: ASYNC220
                    command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                    start_new_session=True,
                )  # fmt: skip
            file.write_text(str(again.pid))
            again.returncode = 0  # It goes on after the tests; nobody here waits for it.
        for _ in range(600):
            with contextlib.suppress(subprocess.CalledProcessError):
                kubectl("get", "--raw", "/readyz")
                return
            await asyncio.sleep(0.2)


@pytest.fixture
def parts() -> Iterator[Parts]:
    """The parts of the cluster, when nobody else tests there; skipped where it is somebody else's."""
    folder = os.environ.get("OPENBELL_CLUSTER_FOLDER")
    if folder is None:
        pytest.skip("the cluster was not started by python -m tests.cluster, so its parts are not ours to restart")
    with live.alone():
        yield Parts(Path(folder))


def kubectl(*arguments: str) -> str:
    """Run kubectl in production's namespace."""
    command = ["kubectl", "--namespace", NAMESPACE, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def evict(pod: str) -> None:
    """Ask for a pod's eviction, as a node drain does."""
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": NAMESPACE}}
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}/eviction"
    subprocess.run(
        ["kubectl", "create", "--raw", path, "--filename", "-"],
        input=json.dumps(eviction), text=True, check=True, capture_output=True,
    )  # fmt: skip
