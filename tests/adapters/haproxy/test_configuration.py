"""The configuration file and the map, as functions."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbell.adapters.haproxy import binary
from openbell.adapters.haproxy.configuration import BUCKETS, Place, Topology, map_entries, render, structure
from openbell.machine import Server, ServiceCheck

SERVICES = {
    "api": ServiceCheck("http", "/healthz"),
    "websocket": ServiceCheck("websocket", "/healthz"),
    "fix-gateway": ServiceCheck("fix", "/health"),
    "worker": ServiceCheck("leader", "/healthz"),
}


def port_of(name: str) -> int:
    slot, _, service = name.rpartition("/")
    return 21000 + 10 * list(SERVICES).index(service) + ["", "blue", "green"].index(slot)


PLACE = Place("/tmp/openbell-never-opened.sock", "routes.map", 2, port_of)


def topology(*servers: Server, paused: set[str] | None = None) -> Topology:
    checks = {"blue": dict(SERVICES), "green": dict(SERVICES)}
    return Topology(checks, {server.name: server for server in servers}, paused or set())


def test_haproxy_accepts_the_configuration(tmp_path: Path) -> None:
    servers = (
        Server("blue-api-1", "api", "blue", 21101, 21101),
        Server("green-fix-gateway-1", "fix-gateway", "green", 21102, 21103),
        Server("blue-worker-1", "worker", "blue", 21104, 21104),
    )
    (tmp_path / "haproxy.cfg").write_text(render(topology(*servers, paused={"blue-worker-1"}), PLACE))
    (tmp_path / "routes.map").write_text("api:0 api_blue\n")
    command = [binary(), "-c", "-f", "haproxy.cfg"]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    assert "WARNING" not in found.stdout + found.stderr


def test_servers_are_checked_where_they_speak_http() -> None:
    servers = (
        Server("green-fix-gateway-1", "fix-gateway", "green", 21102, 21103),
        Server("blue-api-1", "api", "blue", 21101, 21101),
    )
    text = render(topology(*servers, paused={"blue-api-1"}), PLACE)
    assert "server green-fix-gateway-1 127.0.0.1:21102 check inter 500ms fall 3 rise 1 port 21103\n" in text
    assert "server blue-api-1 127.0.0.1:21101 check inter 500ms fall 3 rise 1 disabled\n" in text
    assert "backend fix-gateway_green\n  mode tcp\n  balance leastconn\n  option httpchk GET /health\n" in text


def test_a_leader_has_backends_for_its_checks_and_no_frontend() -> None:
    text = render(topology(), PLACE)
    assert "backend worker_blue" in text
    assert "frontend worker" not in text


def test_only_customers_requests_are_logged() -> None:
    frontends = {part.split("\n")[0]: part for part in render(topology(), PLACE).split("\n\n") if "frontend" in part}
    assert {name for name, part in frontends.items() if "log global" in part} == {
        "frontend api", "frontend websocket", "frontend fix-gateway",
    }  # fmt: skip
    assert "option logasap" in frontends["frontend websocket"]
    assert "option logasap" not in frontends["frontend api"]


def test_servers_are_no_reason_to_reload_and_services_are() -> None:
    empty = topology()
    assert structure(topology(Server("blue-api-1", "api", "blue", 1, 1)), PLACE) == structure(empty, PLACE)
    fewer = Topology({"blue": {"api": SERVICES["api"]}})
    assert structure(fewer, PLACE) != structure(empty, PLACE)


@given(green=st.integers(0, 100), sessions=st.sampled_from(["blue", "green"]))
def test_the_map_has_exactly_the_weights(green: int, sessions: str) -> None:
    entries = map_entries(topology(), {"blue": 100 - green, "green": green}, sessions)
    for service in ("api", "websocket"):
        values = [entries[f"{service}:{bucket}"] for bucket in range(BUCKETS)]
        assert values.count(f"{service}_green") == green
        assert values.count(f"{service}_blue") == 100 - green
    assert {entries[f"fix-gateway:{bucket}"] for bucket in range(BUCKETS)} == {f"fix-gateway_{sessions}"}
    assert len(entries) == 3 * BUCKETS


@pytest.mark.parametrize("owner", ["blue", "green"])
def test_a_slot_without_a_service_yields_to_the_one_that_has_it(owner: str) -> None:
    other = "green" if owner == "blue" else "blue"
    checks = {owner: {"api": SERVICES["api"], "new": SERVICES["api"]}, other: {"api": SERVICES["api"]}}
    entries = map_entries(Topology(checks), {"blue": 50, "green": 50}, "blue")
    assert {entries[f"new:{bucket}"] for bucket in range(BUCKETS)} == {f"new_{owner}"}
    assert {entries[f"api:{bucket}"] for bucket in range(BUCKETS)} == {"api_blue", "api_green"}
