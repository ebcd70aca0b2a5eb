"""`up`, `down`, `status` as a person and a script see them."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from openbell.cli.environment import render
from openbell.wiring.environment_status import (
    EnvironmentStatus,
    InstanceStatus,
    PartStatus,
    RolloutStatus,
    ServiceStatus,
    SlotStatus,
)

CONFIGURATION = """\
[project]
name = "tiny"

[jobs.bundle]
stage = "build"
run = "true"

[services.api]
protocol = "http"
run = "serve --port {port}"

[environments.staging]
branch = "develop"
"""


def openbell(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", "from openbell.cli.main import main; main()", *arguments]
    env = {name: value for name, value in os.environ.items() if not name.startswith("OPENBELL_")}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "openbell.toml").write_text(CONFIGURATION)
    return tmp_path


@pytest.mark.slow
def test_up_status_and_down(folder: Path) -> None:
    try:
        up = openbell(folder, "up", "staging")
        assert (up.returncode, "staging: up in" in up.stderr) == (0, True), up.stderr
        assert up.stdout.split()[0] == "api"
        shown = openbell(folder, "status", "staging", "--json")
        found = json.loads(shown.stdout)
        assert (shown.returncode, found["environment"], found["state"], found["slots"]) == (0, "staging", "up", [])
        assert {part["name"] for part in found["parts"]} == {"postgres", "valkey", "haproxy"}
        assert up.stdout.split()[1] == found["addresses"]["api"]
        lines = openbell(folder, "status").stdout.splitlines()
        assert lines[:2] == ["staging  up", "  no release    openbell deploy staging"]
    finally:
        down = openbell(folder, "down", "staging")
    assert (down.returncode, "staging: down; its data stays" in down.stderr, down.stdout) == (0, True, "")
    purged = openbell(folder, "down", "staging", "--purge", "--json")
    assert json.loads(purged.stdout)["state"] == "down"
    assert list((folder / ".openbell" / "environments").iterdir()) == []


@pytest.mark.slow
def test_a_port_in_use_is_a_usage_error_and_starts_nothing(folder: Path) -> None:
    environment = folder / ".openbell" / "environments" / "staging"
    environment.mkdir(parents=True)
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        port = stranger.getsockname()[1]
        (environment / "ports.json").write_text(json.dumps({"api": port}))
        found = openbell(folder, "up", "staging")
        doctor = openbell(folder, "doctor", "staging", "--json")
    assert found.returncode == 2
    assert f"port {port} (api) is in use by " in found.stderr
    assert f"(process {os.getpid()})" in found.stderr
    assert "openbell up staging --new-ports" in found.stderr
    assert "Traceback" not in found.stderr
    assert not (environment / "postgres").exists()
    checks = {check["name"]: check for check in json.loads(doctor.stdout)["checks"]}
    assert doctor.returncode == 1
    assert checks[f"port {port} (api)"]["ok"] is False


@pytest.mark.parametrize("command", [["up"], ["status"], ["down"], ["doctor"]])
def test_an_unknown_environment_names_those_there_are(folder: Path, command: list[str]) -> None:
    found = openbell(folder, *command, "produktion")
    assert found.returncode == 2
    assert found.stderr == 'there is no environment "produktion"; there are: staging\n'


def test_outside_of_a_project_the_way_in_is_named(tmp_path: Path) -> None:
    found = openbell(tmp_path, "status")
    assert found.returncode == 2
    assert "openbell init" in found.stderr


def status(**changes: Any) -> EnvironmentStatus:
    def instances(service: str, healthy: bool, restarts: int) -> tuple[InstanceStatus, ...]:
        return (
            InstanceStatus(f"blue-{service}-1", 1, "running", 17, healthy=healthy, restarts=restarts,
                           failed_health_checks=2 * restarts, sessions=3),
        )  # fmt: skip

    services = (
        ServiceStatus("fix-gateway", "fix", "127.0.0.1:20003", instances("fix-gateway", True, 0)),
        ServiceStatus("api", "http", "http://127.0.0.1:20001", instances("api", False, 2)),
    )
    values: dict[str, Any] = {
        "environment": "production",
        "state": "up",
        "parts": (PartStatus("postgres", "running", 1, 0), PartStatus("haproxy", "running", 2, 1)),
        "slots": (SlotStatus("blue", "sha256:1", "1.0.0", 0.0, 95, fix_sessions=True, services=services),),
        "addresses": {"api": "http://127.0.0.1:20000"},
    }
    return EnvironmentStatus(**{**values, **changes})


def test_the_status_says_what_is_wrong_and_nothing_more() -> None:
    assert render([status()]) == [
        "production  up    haproxy restarted 1 time",
        "  1.0.0 (blue)  95 % of new requests  new FIX sessions  1 of 2 healthy  2 restarts  4 failed checks",
        "    fix-gateway      1 of 1 healthy  3 active",
        "    api              0 of 1 healthy  2 restarts  4 failed checks  3 active",
        "  api              http://127.0.0.1:20000",
    ]


def test_new_fix_sessions_are_told_only_where_there_are_some() -> None:
    slot = status().slots[0]
    api_only = msgspec.structs.replace(slot, services=slot.services[1:])
    assert "FIX" not in "".join(render([status(slots=(api_only,))]))


STEP = "step 7 of 12: hold at 5 % for 5:00 and judge"


def rollout(**changes: Any) -> RolloutStatus:
    values: dict[str, Any] = {
        "id": "r-7",
        "version": "v1.2.0",
        "outcome": "running",
        "step": STEP,
        "waits_for": None,
        "reason": "",
        "age_s": 192.0,
        "failed_checks": (),
        "next": "openbell watch r-7",
    }
    return RolloutStatus(**{**values, **changes})


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {},
            f"{STEP}, begun 3:12 ago    openbell watch r-7 (openbell resume, if none drives it any more)",
        ),
        (
            {"outcome": "waiting", "waits_for": "an approval from Ada", "next": "openbell approve r-7"},
            "waits for an approval from Ada, begun 3:12 ago    openbell approve r-7",
        ),
        ({"outcome": "promoted", "next": None, "age_s": 200_000.0}, "promoted 2 days ago"),
        (
            {"outcome": "promoted", "failed_checks": ("load: p95 too high",), "next": "openbell why r-7"},
            "promoted 3:12 ago, load: p95 too high    openbell why r-7",
        ),
        (
            {
                "outcome": "rolled-back",
                "reason": "ends again and again; its log:\nTraceback",
                "next": "openbell why r-7",
            },
            "taken back 3:12 ago: ends again and again; its log:    openbell why r-7",
        ),
    ],
)
def test_the_status_has_a_line_for_the_rollout(changes: dict[str, Any], line: str) -> None:
    up = render([status(rollout=rollout(**changes))])
    down = render([status(state="down", rollout=rollout(**changes))])
    assert up[1] == down[1] == f"  r-7 v1.2.0  {line}"


def test_a_damaged_journal_is_told_and_the_rest_is_shown(folder: Path) -> None:
    (folder / ".openbell").mkdir()
    (folder / ".openbell" / "journal.sqlite").write_bytes(b"no database at all" * 400)
    for more in ([], ["--json"]):
        found = openbell(folder, "status", *more)
        assert found.returncode == 1
        assert "journal.sqlite is damaged" in found.stderr
        assert "staging" in found.stdout
        assert "Traceback" not in found.stderr


def test_the_status_names_the_remedy() -> None:
    assert render([status(state="down", parts=())]) == [
        "production  down    start it: openbell up production, 1.0.0 comes back with it"
    ]
    killed = render([status(state="unsupervised", parts=(PartStatus("postgres", "stopped", None, 0),))])
    assert (
        killed[0]
        == "production  unsupervised    its supervisor was killed; adopt what lives on: openbell up production"
    )
    broken = render([status(parts=(PartStatus("postgres", "backoff", None, 0),), slots=(), addresses={})])
    assert broken == ["production  up    postgres backoff", "  no release    openbell deploy production"]
