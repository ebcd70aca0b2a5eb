"""The demo: a scratch clone of a project, releases as real commits, orders that flow, and the report of it all.

The commits come from the project's `demo/` folder: one patch for each tag (`v1.1.0.patch` ...), applied by git on top
of the project as it is. This module prepares and accounts; the story is told by `openbell.cli.demo` with the commands
that a user would type.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import msgspec

from openbell.files import write_whole
from openbell.ports import AdapterError
from openbell.wiring.deployment_jobs import prepare_programs
from openbell.wiring.project import OpenProject
from openbell.wiring.site import open_site

FIRST_TAG = "v1.0.0"
ENGINEER = ("Ada Engineer", "engineer@trading-engine.example")
FIRST_COMMIT_AT_S = 1_768_730_400
"""Commits of the demo have fixed times, so that the same content is the same commit whenever the demo is run."""

FLOW_STOP_TIMEOUT_S = 60.0


class OrderCounts(msgspec.Struct, frozen=True):
    """What became of the orders."""

    sent: int
    acknowledged: int
    lost: int
    doubled: int


class HttpCounts(msgspec.Struct, frozen=True):
    """Requests over REST; `failed` leaves out those that versions which were taken back answered themselves."""

    requests: int
    failed: int
    failed_by_faulty_versions: int


class FixCounts(msgspec.Struct, frozen=True):
    """FIX sessions over all handovers."""

    sessions: int
    reconnects: int
    sequence_gaps: int
    resets: int


class WebsocketCounts(msgspec.Struct, frozen=True):
    """Events on WebSocket streams over all handovers."""

    events: int
    missed: int
    doubled: int


class DemoReport(msgspec.Struct, frozen=True):
    """`build/demo/report.json`; described in docs/schema/demo-report.json."""

    orders: OrderCounts
    http: HttpCounts
    fix: FixCounts
    websocket: WebsocketCounts
    rollouts: tuple[dict[str, Any], ...]
    duration_s: float

    @property
    def problems(self) -> list[str]:
        """What must be zero and is not."""
        counted = {
            "orders lost": self.orders.lost,
            "orders doubled": self.orders.doubled,
            "requests failed that no faulty version answered": self.http.failed,
            "FIX sequence gaps": self.fix.sequence_gaps,
            "FIX resets": self.fix.resets,
            "events missed": self.websocket.missed,
            "events doubled": self.websocket.doubled,
        }
        return [f"{count} {what}" for what, count in counted.items() if count]


def tags_of(source: Path) -> list[str]:
    """Tags of the demo in their order: the project as it is, then one for each patch."""
    return [FIRST_TAG, *sorted(patch.stem for patch in (source / "demo").glob("v*.patch"))]


def clone(source: Path, target: Path) -> None:
    """Make a git repository of a project's files with one commit and the first tag; replaces what was there."""
    if not (source / "openbell.toml").is_file():
        message = f"{source} has no openbell.toml; name the project with --project"
        raise AdapterError("openbell", "demo", message, effect="not_applied")
    shutil.rmtree(target, ignore_errors=True)
    for name in _files(source):
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / name, copy)
    _git(target, "init", "--quiet", "--initial-branch=main")
    for key, value in (("user.name", ENGINEER[0]), ("user.email", ENGINEER[1]), ("commit.gpgsign", "false")):
        _git(target, "config", key, value)
    _git(target, "add", "--all")
    _git(target, "commit", "--quiet", "--message", "feat: the trading engine", number=0)
    _git(target, "branch", "develop")
    _git(target, "tag", FIRST_TAG)


def commit_next(source: Path, target: Path, tag: str, number: int) -> str:
    """Apply a tag's patch as a commit, tag it, and return its subject. Raises `AdapterError` when it does not apply."""
    _git(target, "am", "--quiet", "--3way", str((source / "demo" / f"{tag}.patch").absolute()), number=number)
    _git(target, "branch", "--force", "develop")
    _git(target, "tag", tag)
    return _git(target, "log", "-1", "--format=%h %s")


def forget_last_time(state: Path) -> None:
    """Remove what an earlier demo recorded; results of jobs and prepared releases stay, they are by content."""
    for name in ("journal.sqlite", "journal.sqlite-wal", "journal.sqlite-shm"):
        (state / name).unlink(missing_ok=True)
    for folder in ("runs", "rollouts"):
        shutil.rmtree(state / folder, ignore_errors=True)


class Flow:
    """Orders over REST, WebSocket and FIX into an environment, by the release's own generator."""

    def __init__(self, place: OpenProject, environment: str, digest: str, report: Path) -> None:
        self._site = open_site(place.project, environment, place.state)
        self._digest, self._release = digest, place.state.release(digest)
        self._log = report.with_suffix(".log")
        self.report = report
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, *, rate: int, fix_sessions: int, streams: int) -> None:
        """Start the orders; they flow until `stop`."""
        await prepare_programs(self._release, self._digest)
        try:
            async with self._site.reach() as at:
                await self._start(at, rate=rate, fix_sessions=fix_sessions, streams=streams)
        finally:
            await self._site.close()

    async def _start(self, at: dict[str, str], *, rate: int, fix_sessions: int, streams: int) -> None:
        self.report.unlink(missing_ok=True)
        program = str(self._release / "runtime" / "bin" / "trading-engine")
        command = [
            program, "flow", "--api", at["api_url"], "--websocket", at["websocket_url"],
            "--fix", at["fix-gateway_address"], "--rate", str(rate), "--fix-sessions", str(fix_sessions),
            "--streams", str(streams), "--report", str(self.report),
        ]  # fmt: skip
        env = {**os.environ, **self._site.backing_services()}
        with self._log.open("wb") as log:
            # A group of its own: a Ctrl-C ends the demo, which then ends the orders.
            self._process = await asyncio.create_subprocess_exec(
                *command, env=env, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )

    async def wait_flowing(self, *, timeout_s: float = 20.0) -> None:
        """Wait until orders are acknowledged. Raises `AdapterError` when none is, with what the generator said."""
        live = self.report.with_name(self.report.name + ".live")
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, msgspec.DecodeError, KeyError):
                if msgspec.json.decode(live.read_bytes())["orders"]["acknowledged"] > 0:
                    return
            if self._process is None or self._process.returncode is not None:
                break
            await asyncio.sleep(0.1)
        raise AdapterError("openbell", "demo", f"no order was acknowledged: {self._last_words()}", effect="unknown")

    async def stop(self) -> dict[str, Any]:
        """Stop sending, let the generator reconcile with the database, and return what it found."""
        if self._process is None:
            return {}
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.wait(), FLOW_STOP_TIMEOUT_S)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        try:
            found: dict[str, Any] = msgspec.json.decode(self.report.read_bytes())
        except (OSError, msgspec.DecodeError) as error:
            message = f"the order flow left no report: {self._last_words()}"
            raise AdapterError("openbell", "demo", message, effect="unknown") from error
        return found

    def _last_words(self) -> str:
        return self._log.read_text(errors="replace").strip()[-500:] or "it said nothing"


def account(flow: dict[str, Any], rollouts: list[dict[str, Any]], *, duration_s: float) -> DemoReport:
    """Put the report together; failures that versions taken back answered themselves are counted apart."""
    faulty = {one["version"].removeprefix("v") for one in rollouts if one["outcome"] == "rolled-back"}
    by_version: dict[str, int] = flow["http"]["failed_by_version"]
    own = sum(count for version, count in by_version.items() if version in faulty)
    http = flow["http"]
    keep = ("environment", "strategy", "release", "outcome", "reason", "duration_s", "switch_ms", "detected_s")
    return DemoReport(
        orders=OrderCounts(**{key: flow["orders"][key] for key in ("sent", "acknowledged", "lost", "doubled")}),
        http=HttpCounts(http["requests"], http["failed"] - own, own),
        fix=FixCounts(**{key: flow["fix"][key] for key in ("sessions", "reconnects", "sequence_gaps", "resets")}),
        websocket=WebsocketCounts(**{key: flow["websocket"][key] for key in ("events", "missed", "doubled")}),
        rollouts=tuple({key: one[key] for key in (*keep, "version")} for one in rollouts),
        duration_s=round(duration_s, 1),
    )


def write_report(path: Path, report: DemoReport) -> None:
    """Write the report where the demo keeps it."""
    write_whole(path, msgspec.json.format(msgspec.json.encode(report), indent=2), mode=0o644)


def _files(source: Path) -> list[str]:
    """Name the project's files: what git tracks or would track, else everything that is not hidden."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "."]
    listed = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    names = listed.stdout.splitlines() if listed.returncode == 0 else []
    if not names:
        names = [
            str(p.relative_to(source)) for p in source.rglob("*") if not p.relative_to(source).parts[0].startswith(".")
        ]
    return [name for name in names if (source / name).is_file()]


def _git(folder: Path, *arguments: str, number: int = 0) -> str:
    at = f"{FIRST_COMMIT_AT_S + 3600 * number} +0000"
    dates = {"GIT_COMMITTER_DATE": at} if arguments[0] == "am" else {"GIT_AUTHOR_DATE": at, "GIT_COMMITTER_DATE": at}
    env = {**os.environ, **dates, "LC_ALL": "C", "GIT_CONFIG_GLOBAL": os.devnull}
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env=env, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise AdapterError("git", arguments[0], said, effect="not_applied")
    return done.stdout.strip()
