"""Smoke and load jobs: the release's tree and programs, the environment's addresses."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from openbell.core.pipeline import JobResult
from openbell.core.project import Job, Project
from openbell.wiring.environment_jobs import Source, run_environment_job
from tests.fakes.projects import QUICK, ScratchProject, isolate

ADDRESSES = {"api_url": "http://127.0.0.1:1", "fix-gateway_address": "127.0.0.1:2"}


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ScratchProject:
    isolate(monkeypatch, tmp_path)
    return ScratchProject(tmp_path / "p", QUICK)


async def run(
    scratch: ScratchProject, script: str, *, stop: asyncio.Event | None = None, **settings: object
) -> JobResult:
    place = scratch.open()
    job = msgspec.convert({"stage": "smoke", "run": script, **settings}, Job)
    project: Project = msgspec.structs.replace(place.project, jobs={"smoke": job})
    release = scratch.root.parent / "release"
    (release / "runtime/bin").mkdir(parents=True, exist_ok=True)
    (release / "runtime/bin/engine").write_text('#!/bin/sh\necho "engine of the release: $1"\n')
    (release / "runtime/bin/engine").chmod(0o755)
    commit = scratch.repository.git("rev-parse", "HEAD")
    source = Source(place.root, place.state, commit, release)
    async with asyncio.timeout(30):
        return await run_environment_job(
            project, "smoke", ADDRESSES, source=source, folder=scratch.root.parent / "jobs", stop=stop,
            secret={"KEY": "s3cr3t"}.get,
        )  # fmt: skip


def log(scratch: ScratchProject) -> str:
    return (scratch.root.parent / "jobs/logs/smoke.log").read_text()


async def test_addresses_programs_and_secrets(scratch: ScratchProject) -> None:
    script = 'engine {fix-gateway_address}; echo "$OPENBELL_API_URL $OPENBELL_FIX_GATEWAY_ADDRESS key $KEY"'
    result = await run(scratch, script, secrets=["KEY"])
    assert result.outcome == "success"
    assert log(scratch) == "engine of the release: 127.0.0.1:2\nhttp://127.0.0.1:1 127.0.0.1:2 key ***\n"


async def test_the_tree_is_the_releases_whatever_is_checked_out(scratch: ScratchProject) -> None:
    scratch.repository.write({"a.txt": "changed\n", "new.txt": "x"})
    await run(scratch, "cat a.txt; ls")
    assert log(scratch) == "hello\na.txt\nopenbell.toml\n"


async def test_a_failure_has_its_reason(scratch: ScratchProject) -> None:
    result = await run(scratch, "echo 13 of 14; exit 1")
    assert (result.outcome, result.reason) == ("failure", "exit code 1: 13 of 14")


async def test_time_limits_and_retries_hold(scratch: ScratchProject, tmp_path: Path) -> None:
    assert (await run(scratch, "sleep 60", timeout_s=0.1)).outcome == "timeout"
    result = await run(scratch, f"test -f {tmp_path}/tried || {{ touch {tmp_path}/tried; exit 1; }}", retries=1)
    assert (result.outcome, result.attempts) == ("success", 2)


async def test_a_missing_secret_is_a_failure_with_its_name(scratch: ScratchProject) -> None:
    result = await run(scratch, "true", secrets=["OTHER"])
    assert result.outcome == "failure"
    assert "secret OTHER is not set" in result.reason


async def test_it_is_never_reused_and_can_be_stopped(scratch: ScratchProject, tmp_path: Path) -> None:
    for _ in range(2):
        await run(scratch, f"echo x >> {tmp_path}/count")
    assert (tmp_path / "count").read_text() == "x\nx\n"
    stop = asyncio.Event()
    stop.set()
    assert (await run(scratch, "sleep 60", stop=stop)).outcome == "skipped"
