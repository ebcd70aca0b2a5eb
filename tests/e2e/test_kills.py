"""`kill -9` of openbell at random moments of rollouts, then `openbell resume`: the same ends, and no order is lost."""

import asyncio
import itertools
import os
import random
import signal
import subprocess
from typing import Any

import pytest

from openbell.adapters.sqlite import SqliteJournal
from openbell.core.rollout_state import Rollout
from openbell.wiring import rollouts
from openbell.wiring.demo import Flow
from openbell.wiring.project import open_project
from tests.e2e.product import Product

KILLS = 20
KILLS_PER_ROLLOUT = 6
SEED = int(os.environ.get("OPENBELL_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
STORY = (("v1.1.0", "promoted"), ("v1.2.0", "rolled-back"), ("v1.0.0", "promoted"), ("v1.3.0", "rolled-back"))


@pytest.mark.slow
@pytest.mark.e2e
async def test_twenty_kills(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(SEED)  # noqa: S311 - moments, no secrets
    for name in ("OPENBELL_STATE", "TRADING_ENGINE_API_KEYS"):
        monkeypatch.setenv(name, product.env[name])
    first = await asyncio.to_thread(product.json, "deploy", "production", "v1.0.0")
    flow = Flow(open_project(product.root), "production", first["release"], product.folder / "flow.json")
    await flow.start(rate=60, fix_sessions=2, streams=2)
    kills = 0
    try:
        await flow.wait_flowing()
        for tag, outcome in itertools.cycle(STORY):
            kills += await deploy_through_kills(product, tag, min(KILLS_PER_ROLLOUT, KILLS - kills), rng)
            ended = await newest(product)
            assert ended is not None
            said = f"{tag} {ended.outcome} {ended.reason}; again with OPENBELL_TEST_SEED={SEED}"
            assert (ended.plan.candidate.version, ended.outcome) == (tag, outcome), said
            if kills == KILLS:
                break
    finally:
        found = await flow.stop()
    check_audit(found)


async def deploy_through_kills(product: Product, tag: str, kills: int, rng: random.Random) -> int:
    """Deploy with up to so many kills on the way, then resume to the end; returns how many struck."""
    struck = 0
    while struck < kills and not await is_over(product, tag):
        command = ("resume",) if await is_begun(product, tag) else ("deploy", "production", tag)
        process = product.start(*command)
        try:
            await asyncio.to_thread(process.communicate, timeout=rng.uniform(0.3, 2.5))
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            await asyncio.to_thread(process.communicate)
            struck += 1
    for _ in range(10):
        if await is_over(product, tag):
            break
        command = ("resume",) if await is_begun(product, tag) else ("deploy", "production", tag)
        await asyncio.to_thread(product.run, *command, expect=None)
    return struck


async def newest(product: Product) -> Rollout | None:
    """The newest rollout of production, read from the journal."""
    async with SqliteJournal(product.folder / "state" / "journal.sqlite") as journal:
        return await rollouts.latest(journal, "production")


async def is_begun(product: Product, tag: str) -> bool:
    """Whether the newest rollout brings this version."""
    state = await newest(product)
    return state is not None and state.plan.candidate.version == tag


async def is_over(product: Product, tag: str) -> bool:
    """Whether the newest rollout brings this version, and has ended."""
    state = await newest(product)
    return await is_begun(product, tag) and state is not None and state.direction == "ended" and not state.outstanding


def check_audit(found: dict[str, Any]) -> None:
    """Nothing lost, nothing doubled, nothing missed; the faulty versions' own errors are theirs."""
    assert found["orders"]["acknowledged"] > 500
    assert {key: found["orders"][key] for key in ("lost", "doubled")} == {"lost": 0, "doubled": 0}
    assert {key: found["fix"][key] for key in ("sequence_gaps", "resets")} == {"sequence_gaps": 0, "resets": 0}
    assert {key: found["websocket"][key] for key in ("missed", "doubled")} == {"missed": 0, "doubled": 0}
    failed = {version: count for version, count in found["http"]["failed_by_version"].items() if version != "1.2.0"}
    assert not any(failed.values()), failed
