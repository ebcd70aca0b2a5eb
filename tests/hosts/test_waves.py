"""The host of waves: the journal first, then the targets; a crash after any event changes nothing about the end."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from openbell.adapters.sqlite import SqliteJournal
from openbell.core.events import AbortRequested
from openbell.core.waves import (
    AbortTarget,
    AnyWavesEvent,
    Arrival,
    BeginTarget,
    Return,
    ReturnTarget,
    Waves,
    WavesBegun,
    WavesPlan,
)
from openbell.hosts.waves import WavesHost, load_waves, waves_stream
from openbell.ports import AdapterError
from tests.fakes.clock import FakeClock

WAVES = (("eu",), ("us", "asia"))


class FakeTargets:
    """Targets with a release each; each command is carried out once, however often it is asked for."""

    def __init__(self, clock: FakeClock, **bad: Arrival) -> None:
        self.clock = clock
        self.bad = bad
        self.releases = {target: "old" for wave in WAVES for target in wave}
        self.ended: dict[str, tuple[Arrival, str]] = {}
        self.back: dict[str, tuple[Return, str]] = {}
        self.aborted: dict[str, str] = {}
        self.waits: set[str] = set()
        self.begun: dict[str, float] = {}
        self.log: list[str] = []
        self.told: list[str] = []
        self.broken: AdapterError | None = None

    async def begin(self, command: BeginTarget, approved: Callable[[], None]) -> tuple[Arrival, str] | None:
        target = command.target
        self.begun.setdefault(target, self.clock.now_s())
        if self.broken:
            raise self.broken
        if command.id not in self.ended:
            self.log.append(f"begin {target}")
            await self.clock.sleep(1.0 if target != "asia" else 2.0)
            if target in self.waits and target not in self.aborted:
                return None
            if command.asks:
                approved()
                await self.clock.sleep(1.0)
            outcome = "rolled-back" if target in self.aborted else self.bad.get(target, "promoted")
            self.ended[command.id] = (outcome, self.aborted.get(target, f"{target} {outcome}"))
            if outcome in ("promoted", "failed"):
                self.releases[target] = "new"
        return self.ended[command.id]

    async def send_back(self, command: ReturnTarget) -> tuple[Return, str] | None:
        if command.id not in self.back:
            self.log.append(f"return {command.target}")
            await self.clock.sleep(1.0)
            self.releases[command.target] = "old"
            self.back[command.id] = ("returned", "")
        return self.back[command.id]

    async def abort(self, command: AbortTarget) -> bool:
        if command.target not in self.begun:
            return False
        self.aborted[command.target] = command.reason
        return True

    async def notify(self, subject: str, text: str, *, urgent: bool, key: str) -> None:
        self.told.append(subject)


def begun(**changes: object) -> WavesBegun:
    plan = WavesPlan(id="w-1", environment="production", digest="sha256:new", version="v2", waves=WAVES, hold_s=60.0)
    return WavesBegun(at_s=1000.0, plan=msgspec.structs.replace(plan, **changes), by="ada")


async def drive(
    path: Path, targets: FakeTargets, first: WavesBegun | None, seen: list[AnyWavesEvent] | None = None
) -> Waves:
    def observe(_before: Waves | None, event: AnyWavesEvent, _after: Waves) -> None:
        if seen is not None:
            seen.append(event)

    async with SqliteJournal(path) as journal:
        host = WavesHost(journal, targets, targets, targets.clock, owner="host:1:1.00", observer=observe)
        return await host.drive("w-1", first)


async def ask_abort(path: Path) -> None:
    async with SqliteJournal(path) as journal:
        event = AbortRequested(at_s=1.0, by="grace", reason="drill")
        await journal.append("requests/w-1", "AbortRequested", msgspec.json.encode(event), at_s=1.0)


async def test_waves_go_in_order_with_a_hold_between_them(tmp_path: Path) -> None:
    targets, seen = FakeTargets(FakeClock(step_s=0.05)), list[AnyWavesEvent]()
    state = await drive(tmp_path / "j", targets, begun(), seen)
    assert (state.outcome, state.outstanding) == ("promoted", ())
    assert targets.log == ["begin eu", "begin us", "begin asia"]
    through_at_s = next(event.at_s for event in seen if type(event).__name__ == "TargetEnded")
    assert targets.begun["us"] >= through_at_s + 60.0
    assert abs(targets.begun["us"] - targets.begun["asia"]) < 1.0
    assert targets.told == ["v2 is in production"]


async def test_a_failure_returns_what_was_done(tmp_path: Path) -> None:
    targets = FakeTargets(FakeClock(step_s=0.05), us="rolled-back")
    state = await drive(tmp_path / "j", targets, begun())
    assert (state.outcome, state.reason) == ("rolled-back", "us: us rolled-back")
    assert targets.log == ["begin eu", "begin us", "begin asia", "return asia", "return eu"]
    assert set(targets.releases.values()) == {"old"}


async def test_an_approval_is_asked_for_once(tmp_path: Path) -> None:
    targets = FakeTargets(FakeClock(step_s=0.05))
    seen = list[AnyWavesEvent]()
    state = await drive(tmp_path / "j", targets, begun(asks=True, waves=(("eu", "us", "asia"),)), seen)
    assert state.outcome == "promoted"
    assert [type(event).__name__ for event in seen].count("TargetApproved") == 1
    assert targets.begun["us"] >= targets.begun["eu"] + 1.0


async def test_it_stops_when_only_a_person_can_go_on(tmp_path: Path) -> None:
    targets = FakeTargets(FakeClock(step_s=0.05))
    targets.waits = {"us"}
    state = await drive(tmp_path / "j", targets, begun())
    assert (state.phase, state.with_status("under-way")) == ("forward", ("us",))
    targets.waits = set()
    assert (await drive(tmp_path / "j", targets, None)).outcome == "promoted"


async def test_an_abort_takes_back_what_is_under_way_and_returns_the_rest(tmp_path: Path) -> None:
    targets = FakeTargets(FakeClock(step_s=0.05))
    targets.waits = {"us", "asia"}
    await drive(tmp_path / "j", targets, begun())
    await ask_abort(tmp_path / "j")
    state = await drive(tmp_path / "j", targets, None)
    assert (state.outcome, state.reason) == ("rolled-back", "aborted by grace: drill")
    assert set(targets.releases.values()) == {"old"}


async def test_an_abort_during_a_hold(tmp_path: Path) -> None:
    targets = FakeTargets(FakeClock(step_s=0.05))
    # Virtual time goes on while the disk is written to: the hold must outlast that, however slow the disk.
    run = asyncio.create_task(drive(tmp_path / "j", targets, begun(hold_s=1e6)))
    while "eu" not in targets.releases or targets.releases["eu"] != "new":  # noqa: ASYNC110 - virtual time
        await asyncio.sleep(0)
    await ask_abort(tmp_path / "j")
    state = await run
    assert (state.outcome, targets.log) == ("rolled-back", ["begin eu", "return eu"])


async def test_a_target_that_cannot_go_on_ends_the_drive_and_the_run_is_resumed(tmp_path: Path) -> None:
    targets = FakeTargets(FakeClock(step_s=0.05))
    targets.broken = AdapterError("journal", "lease", "driven by elsewhere", effect="not_applied")
    with pytest.raises(AdapterError, match="driven by elsewhere"):
        await drive(tmp_path / "j", targets, begun())
    targets.broken = None
    assert (await drive(tmp_path / "j", targets, None)).outcome == "promoted"


async def test_a_run_is_begun_once_and_only_then_resumed(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="there is no run w-1"):
        await drive(tmp_path / "j", FakeTargets(FakeClock(step_s=0.05)), None)
    await drive(tmp_path / "j", FakeTargets(FakeClock(step_s=0.05)), begun())
    with pytest.raises(AdapterError, match="was begun before"):
        await drive(tmp_path / "j", FakeTargets(FakeClock(step_s=0.05)), begun())


class PowerCut(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("bad", [{}, {"us": "rolled-back"}, {"asia": "failed"}, {"eu": "refused"}])
async def test_a_crash_after_any_event_changes_nothing_about_the_end(tmp_path: Path, bad: dict[str, Arrival]) -> None:
    expected = await drive(tmp_path / "undisturbed", FakeTargets(FakeClock(step_s=0.05), **bad), begun())
    for limit in range(1, 40):
        path, targets = tmp_path / str(limit), FakeTargets(FakeClock(step_s=0.05), **bad)
        seen = 0

        def cut(_before: Waves | None, _event: AnyWavesEvent, _after: Waves, limit: int = limit) -> None:
            nonlocal seen
            seen += 1
            if seen == limit:
                raise PowerCut

        async with SqliteJournal(path) as journal:
            host = WavesHost(journal, targets, targets, targets.clock, owner="host:1:1.00", observer=cut)
            try:
                await host.drive("w-1", begun())
                break
            except PowerCut:
                pass
        state = await drive(path, targets, None)
        assert (state.outcome, state.status) == (expected.outcome, expected.status), f"crash after event {limit}"
        assert set(targets.releases.values()) == ({"old"} if bad else {"new"})
        async with SqliteJournal(path) as journal:
            assert (await load_waves(journal, "w-1"))[0] == state
    assert limit > 4


async def test_two_drivers_do_not_write_one_run(tmp_path: Path) -> None:
    targets = FakeTargets(FakeClock(step_s=0.05))
    targets.waits = {"eu"}
    await drive(tmp_path / "j", targets, begun())
    targets.waits = set()
    async with SqliteJournal(tmp_path / "j") as journal:

        def meddle(_before: Waves | None, _event: AnyWavesEvent, _after: Waves) -> None:
            host._sequence -= 1

        host = WavesHost(journal, targets, targets, targets.clock, owner="host:1:1.00", observer=meddle)
        with pytest.raises(AdapterError, match="was written by another openbell"):
            await host.drive("w-1", None)
        assert (await journal.read(waves_stream("w-1")))[-1].kind == "Resumed"


async def test_what_cannot_be_read_again_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="WavesBegun cannot be written so that it can be read again"):
        await drive(tmp_path / "j", FakeTargets(FakeClock(step_s=0.05)), begun(hold_s=float("inf")))
    async with SqliteJournal(tmp_path / "j") as journal:
        assert await journal.streams("waves/") == []
