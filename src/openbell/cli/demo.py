"""`openbell demo`: the whole story on this machine, told with the commands that a user would type.

Each command runs as a process of its own and shows its own progress; what it prints as JSON is kept for the report.
"""

import asyncio
import os
import secrets
import shlex
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter

from openbell.adapters.toml import ConfigurationError
from openbell.cli.interruption import end, run_interruptible
from openbell.cli.terminal import DONE, FAILED, INTERRUPTED, USAGE, WAITS, complain, paint, print_json, say
from openbell.core.narrative import duration
from openbell.ports import AdapterError
from openbell.wiring import demo as story
from openbell.wiring.project import FILE_NAME, OpenProject, open_project
from openbell.wiring.site import open_site

APPROVER = "release.manager@trading-engine.example"
POLICY = "policy.demo.toml"
EXPECTED = {"v1.0.0": "promoted", "v1.1.0": "promoted", "v1.2.0": "rolled-back", "v1.3.0": "rolled-back"}


def demo(
    *,
    project: str = "engine",
    folder: str = "build/demo",
    policy: list[str] | None = None,
    rate: int = 100,
    keep: bool = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Tell the whole story: four releases, orders flowing all the time, two bad ones taken back by themselves.

    Works in a scratch clone of the project; afterwards its environments are stopped and the report is in the folder.

    Parameters
    ----------
    project
        The project that is delivered: a folder with openbell.toml, and with patches of later releases in demo/.
    folder
        Where the clone, its state and report.json are kept.
    policy
        A file laid over the demo's policy, such as one that makes its environments namespaces of a cluster; may be
        repeated.
    rate
        Orders, cancels and queries per second.
    keep
        Leave the environments running at the end.
    json
        Print the report on standard output.
    """
    if not (Path(project) / FILE_NAME).is_file():
        return complain(
            f"there is no {Path(project) / FILE_NAME} here. The demo delivers the trading engine of openbell's "
            "repository: clone that, and type make demo in it; or name another project with --project"
        )
    try:
        told = _Demo(Path(project), Path(folder).absolute(), policy or [], rate=rate)
        return run_interruptible(told.tell(keep=keep, json=json))
    except ConfigurationError as error:
        return complain(str(error), code=USAGE)
    except AdapterError as error:
        return complain(f"{error.system}: {error.message}", code=FAILED)
    except KeyboardInterrupt:
        return complain("Interrupted.", code=INTERRUPTED)


class UnexpectedError(Exception):
    """The story went another way than it must."""


class _Demo:
    def __init__(self, source: Path, folder: Path, policies: list[str], *, rate: int) -> None:
        self.source, self.folder, self.rate = source, folder, rate
        self.clone = folder / "project"
        self.env = {
            **os.environ,
            "OPENBELL_STATE": str(folder / "state"),
            "OPENBELL_POLICY": os.pathsep.join(
                str(Path(one).absolute()) for one in [str(self.clone / POLICY), *policies]
            ),
            # The customer comes first: orders flow under the first key, smoke tests under the one named so.
            "TRADING_ENGINE_API_KEYS": os.environ.get("TRADING_ENGINE_API_KEYS")
            or f"{secrets.token_hex(12)}:customer,{secrets.token_hex(12)}:smoke",
        }
        self.rollouts: list[dict[str, Any]] = []
        self.began_s = time.monotonic()
        self.chapter = 0

    async def tell(self, *, keep: bool, json: bool) -> int:
        """Tell the story, write the report, and stop what was started, whatever happens."""
        os.environ.update({key: self.env[key] for key in ("OPENBELL_STATE", "OPENBELL_POLICY")})
        os.environ["TRADING_ENGINE_API_KEYS"] = self.env["TRADING_ENGINE_API_KEYS"]
        flow: story.Flow | None = None
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            await self._clean()
            story.clone(self.source, self.clone)
            digest = await self._first_release()
            self._say("Orders begin to flow into production: REST, WebSocket and FIX.")
            flow = story.Flow(open_project(self.clone), "production", digest, self.folder / "flow.json")
            await flow.start(rate=self.rate, fix_sessions=2, streams=3)
            await flow.wait_flowing()
            for number, tag in enumerate(story.tags_of(self.source)[1:], start=1):
                await self._next_release(tag, number)
            self._say("Orders stop, and every one of them is looked up in the database.")
            report = story.account(await flow.stop(), self.rollouts, duration_s=time.monotonic() - self.began_s)
            flow = None
            return self._finish(report, json=json)
        except UnexpectedError as error:
            return complain(f"the demo did not go as it must: {error}", code=FAILED)
        finally:
            if flow is not None:
                await _quietly_stop(flow)
            if not keep:
                await self._stop()

    async def _clean(self) -> None:
        """Stop and forget what an earlier demo left."""
        if (self.clone / FILE_NAME).is_file():
            place = open_project(self.clone)
            for name in place.project.environments:
                await open_site(place.project, name, place.state).down(purge=True)
        story.forget_last_time(self.folder / "state")

    async def _first_release(self) -> str:
        """Bring v1.0.0 from a push to develop through staging to production; returns its digest."""
        self._title("v1.0.0: a push to develop is tested, built, and goes to staging")
        self.checkout("develop")
        run = await self._openbell("run", "--trigger", "push", "--ref", "develop")
        await self._remember(run)
        await self._openbell("down", "staging")
        self._title("v1.0.0: its tag brings the same release to production, once a release manager approves")
        await self._to_production("v1.0.0")
        return str(run["release"])

    async def _next_release(self, tag: str, number: int) -> None:
        what = {"v1.1.0": "is better", "v1.2.0": "returns errors", "v1.3.0": "is slow"}.get(tag, "is next")
        self._title(f"{tag} {what}: production, blue-green, while orders flow")
        self._say(f"commit {story.commit_next(self.source, self.clone, tag, number)}")
        await self._to_production(tag)

    async def _to_production(self, tag: str) -> None:
        run = await self._openbell("run", "--trigger", "tag", "--ref", tag, expect=(WAITS,))
        rollout = run["deployments"][0]["rollout"]
        arguments = ("approve", rollout, "--by", APPROVER, "--resume")
        ended = await self._openbell(*arguments, expect=(DONE, FAILED))
        self.rollouts.append(ended)
        if ended["outcome"] != EXPECTED.get(tag, "promoted"):
            raise UnexpectedError(f"{tag} was {ended['outcome']}: {ended['reason']}")

    async def _remember(self, run: dict[str, Any]) -> None:
        for deployment in run["deployments"]:
            self.rollouts.append(await self._openbell("watch", deployment["rollout"], shown=False))

    def checkout(self, branch: str) -> None:
        """Say what is pushed; the runs read commits, so that no working tree is needed."""
        self._say(f"branch {branch}")

    async def _openbell(self, *arguments: str, expect: tuple[int, ...] = (DONE,), shown: bool = True) -> dict[str, Any]:
        """Run an openbell command in the clone; returns its JSON document."""
        wants_json = arguments[0] != "down"
        command = [*arguments, "--json"] if wants_json else [*arguments]
        if shown:
            self._say(paint(f"$ openbell {shlex.join(arguments)}", "bold", sys.stderr))
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "from openbell.cli.main import main; main()",
            *command,
            cwd=self.clone,
            env=self.env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=None if shown else asyncio.subprocess.DEVNULL,
        )
        try:
            output, _ = await process.communicate()
        except asyncio.CancelledError:
            await end(process)
            raise
        if process.returncode not in expect:
            raise UnexpectedError(f"openbell {shlex.join(arguments)} ended with exit code {process.returncode}")
        document: dict[str, Any] = msgspec.json.decode(output) if wants_json else {}
        return document

    def _finish(self, report: story.DemoReport, *, json: bool) -> int:
        path = self.folder / "report.json"
        story.write_report(path, report)
        say()
        for line in _table(report):
            say(line)
        say(f"Report: {path}")
        bad = [one["id"] for one in self.rollouts if one["outcome"] == "rolled-back"]
        for rollout in bad[:1]:
            state = self.env["OPENBELL_STATE"]
            say(f"Why it was taken back: cd {self.clone} && OPENBELL_STATE={state} openbell why {rollout}")
        if json:
            print_json(report)
        if report.problems:
            return complain(f"✗ {', '.join(report.problems)}", code=FAILED)
        say(paint(f"✓ Nothing was lost, in {duration(report.duration_s)}.", "green", sys.stderr))
        return DONE

    async def _stop(self) -> None:
        if not (self.clone / FILE_NAME).is_file():
            return  # It went wrong before there was anything to stop.
        place: OpenProject = open_project(self.clone)
        for name in place.project.environments:
            await open_site(place.project, name, place.state).down()

    def _title(self, text: str) -> None:
        self.chapter += 1
        say()
        say(paint(f"{self.chapter}  {text}   [{duration(time.monotonic() - self.began_s)}]", "bold", sys.stderr))

    def _say(self, text: str) -> None:
        say(f"   {text}")


async def _quietly_stop(flow: story.Flow) -> None:
    try:
        await flow.stop()
    except AdapterError as error:
        say(error.message)


def _table(report: story.DemoReport) -> list[str]:
    form = "{:<12} {:<8} {:<11} {:<12} {:>7} {:>8} {:>9}  {}"
    lines = [form.format("environment", "release", "strategy", "outcome", "took", "switch", "detected", "reason")]
    for one in report.rollouts:
        switch = f"{one['switch_ms']:.2f} ms" if one["switch_ms"] is not None else "-"
        detected = f"{one['detected_s']:.1f} s" if one["detected_s"] is not None else "-"
        took, names = (
            duration(one["duration_s"]),
            (one[key] for key in ("environment", "version", "strategy", "outcome")),
        )
        lines.append(form.format(*names, took, switch, detected, one["reason"]))
    orders, http, fix, streams = report.orders, report.http, report.fix, report.websocket
    sent = f"{orders.acknowledged:,} of {orders.sent:,} acknowledged"
    faulty = f"{http.failed_by_faulty_versions} more by the versions that were taken back"
    gaps = f"{fix.sequence_gaps} gaps"
    return [
        *lines,
        "",
        f"orders      {sent}, {orders.lost} lost, {orders.doubled} doubled",
        f"REST        {http.requests:,} requests, {http.failed} failed, {faulty}",
        f"FIX         {fix.sessions} sessions, {fix.reconnects} reconnects, {gaps}, {fix.resets} resets",
        f"WebSocket   {streams.events:,} events, {streams.missed} missed, {streams.doubled} doubled",
    ]
