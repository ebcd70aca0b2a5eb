"""The commands as a delivery system runs them, as processes."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from harness.stand import HOST, KEYS, Stand, wait_until


def environment(stand: Stand) -> dict[str, str]:
    keys = ",".join(f"{key}:{account}" for key, account in KEYS.items())
    return {**os.environ, "DATABASE_URL": stand.database_url, "TRADING_ENGINE_API_KEYS": keys}


@pytest.mark.slow
async def test_smoke_and_flow(stand: Stand, tmp_path: Path) -> None:
    api, websocket, fix, _ = await asyncio.gather(stand.api(), stand.websocket(), stand.fix(), stand.worker())
    targets = ["--api", f"http://{HOST}:{api.port}", "--websocket", f"ws://{HOST}:{websocket.port}"]
    targets += ["--fix", f"{HOST}:{fix.fix_port}"]
    command = [sys.executable, "-m", "trading_engine"]
    for _ in range(2):
        smoke = await asyncio.create_subprocess_exec(
            *command, "smoke", *targets, env=environment(stand), stdout=subprocess.PIPE
        )
        output, _ = await smoke.communicate()
        assert smoke.returncode == 0, output.decode()
        assert output.decode().endswith("smoke: 14 of 14\n")

    report = tmp_path / "report.json"
    options = ["--rate", "40", "--fix-sessions", "1", "--streams", "1", "--report", str(report)]
    flow = await asyncio.create_subprocess_exec(
        *command, "flow", *targets, *options, env=environment(stand), stdout=subprocess.PIPE
    )
    live = tmp_path / "report.json.live"
    await wait_until(live.exists, "the live report")
    assert set(msgspec.json.decode(live.read_bytes())) >= {"orders", "http", "fix", "websocket"}
    flow.send_signal(signal.SIGTERM)
    output, _ = await flow.communicate()
    assert flow.returncode == 0, output.decode()
    account = msgspec.json.decode(report.read_bytes())
    assert account["audited"]
    assert (account["orders"]["lost"], account["http"]["failed"], account["fix"]["sequence_gaps"]) == (0, 0, 0)
    assert account["orders"]["acknowledged"] > 0
    version = next(iter(account["http"]["by_version"].values()))
    assert version["first_at"] < version["last_at"]


async def test_smoke_fails_when_nobody_matches(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    api = await stand.api()
    monkeypatch.setattr("trading_engine.smoke._STEP_S", 0.2)
    from trading_engine.settings import ApiKeys
    from trading_engine.smoke import _smoke

    assert await _smoke(ApiKeys(KEYS), f"http://{HOST}:{api.port}", None, None) == 1
