"""The local host: the journal first, then the commands; a crash at any event changes nothing about the end."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from openbell.adapters.sqlite import SqliteJournal
from openbell.core.analysis.limits import LATENCY_EDGES_MS, Sample, ServiceHealth, SideHealth
from openbell.core.events import AbortRequested, Approved, Begun, Plan, Side
from openbell.core.project import Approval, Environment, RolloutPolicy
from openbell.core.rollout_state import Rollout, stable_after
from openbell.core.strategy import Hold, compile_steps
from openbell.hosts.local import LocalHost, World, load, request, stream_of
from openbell.ports import AdapterError, DrainReport, ReleaseRef, RouteChange
from tests.fakes.clock import FakeClock
from tests.fakes.journal_of_an_older_openbell import BEGUN


class FakeWorld:
    """Slots, weights and what was done, in memory; `errors_pct` is how bad the candidate is."""

    def __init__(self, *, errors_pct: int = 0) -> None:
        self.errors_pct = errors_pct
        self.slots = {"blue": 2, "green": 0}
        self.weights_now = {"blue": 100, "green": 0}
        self.done: list[str] = []
        self.told: list[str] = []
        self.broken: Callable[[str], AdapterError | None] = lambda operation: None

    def _do(self, operation: str) -> None:
        error = self.broken(operation)
        if error:
            raise error
        self.done.append(operation)

    async def place(self, slot: str, release: ReleaseRef, replicas: int, *, timeout_s: float, key: str) -> None:
        self._do(f"place {slot} {replicas}")
        self.slots[slot] = max(self.slots[slot], replicas)

    async def retire(self, slot: str, replicas: int, *, key: str) -> None:
        self._do(f"retire {slot} {replicas}")
        assert replicas or not self.weights_now[slot]
        self.slots[slot] = min(self.slots[slot], replicas)

    async def drain(self, slot: str, to: str, keep: int, *, key: str) -> list[DrainReport]:
        self._do(f"drain {slot} {to}")
        return [DrainReport("api", 3, 0)]

    async def migrate(self, phase: str, digest: str, *, key: str) -> None:
        self._do(f"migrate {phase}")

    async def observe(self, slot: str) -> SideHealth:
        return SideHealth(True, (ServiceHealth("api", self.slots[slot], self.slots[slot]),))

    async def route(self, weights: dict[str, int], sessions: str, *, key: str) -> RouteChange:
        self._do(f"route green {weights['green']}")
        self.weights_now = dict(weights)
        return RouteChange(0.9, 5000.0)

    async def weights(self) -> dict[str, int]:
        return self.weights_now

    async def drift(self) -> str:
        return ""

    async def sample(self, slot: str) -> Sample:
        requests = 10 * self.weights_now[slot]
        errors = requests * self.errors_pct // 100 if slot == "green" else 0
        counts = tuple(requests if edge == 5 else 0 for edge in range(len(LATENCY_EDGES_MS) + 1))
        return Sample(True, requests, errors, counts, 1.0 if requests else None, 2.0)

    async def notify(self, subject: str, text: str, *, urgent: bool, key: str) -> None:
        self.told.append(subject)

    async def smoke(self, job: str, slot: str) -> str:
        self._do(f"{job} {slot}")
        return "14 of 14"


def world_of(fake: FakeWorld, clock: FakeClock) -> World:
    return World(platform=fake, router=fake, metrics=fake, notifier=fake, smoke=fake.smoke, clock=clock)


def begun(*, approval: bool = False) -> Begun:
    environment = Environment(
        strategy="blue-green",
        replicas=2,
        approval=Approval() if approval else None,
        rollout=RolloutPolicy(hold_s=3, watch_s=3),
    )
    steps = compile_steps(environment, smoke="smoke", expand=True, contract=True, stable_replicas=2)
    plan = Plan(
        id="r-1",
        environment="production",
        strategy="blue-green",
        candidate=Side("green", "sha256:new", "v2", 2),
        stable=Side("blue", "sha256:old", "v1", 2),
        steps=steps,
        author="ada",
        approvers=("grace",),
        tick_s=0.5,
    )
    return Begun(at_s=1000.0, plan=plan, by="ada")


async def drive(
    path: Path, fake: FakeWorld, first: Begun | None, *, stop: bool = False, owner: str = "host:1:1.00"
) -> Rollout:
    clock = FakeClock()
    async with SqliteJournal(path) as journal:
        return await LocalHost(journal, world_of(fake, clock), owner=owner).drive("r-1", first, stop_when_waiting=stop)


async def test_a_good_release_is_promoted(tmp_path: Path) -> None:
    fake = FakeWorld()
    state = await drive(tmp_path / "j", fake, begun())
    assert state.outcome == "promoted"
    assert fake.done == [
        "retire green 0", "migrate expand", "place green 2", "smoke green", "route green 5", "route green 100",
        "drain blue green", "retire blue 1", "migrate contract",
    ]  # fmt: skip


async def test_a_bad_release_is_taken_back(tmp_path: Path) -> None:
    fake = FakeWorld(errors_pct=31)
    state = await drive(tmp_path / "j", fake, begun())
    assert state.outcome == "rolled-back"
    assert state.detected_s is not None
    assert fake.done[-3:] == ["route green 0", "drain green blue", "retire green 0"]
    assert fake.told == ["v2 is taken back from production", "v2 was taken back in production"]


async def test_it_stops_when_it_waits_for_a_person_and_goes_on_when_resumed(tmp_path: Path) -> None:
    fake, path = FakeWorld(), tmp_path / "j"
    state = await drive(path, fake, begun(approval=True), stop=True)
    assert state.waiting_for == "an approval from grace"
    async with SqliteJournal(path) as journal:
        await request(journal, "r-1", Approved(at_s=1.0, by="ada", digest="sha256:new"))
        await request(journal, "r-1", Approved(at_s=2.0, by="grace", digest="sha256:new"))
    assert (await drive(path, fake, None)).outcome == "promoted"


async def test_an_abort_from_another_process_takes_the_candidate_back(tmp_path: Path) -> None:
    fake, path = FakeWorld(), tmp_path / "j"
    async with SqliteJournal(path) as journal:
        await request(journal, "r-1", AbortRequested(at_s=1.0, by="grace", reason="drill"))
    state = await drive(path, fake, begun())
    assert (state.outcome, state.reason) == ("rolled-back", "aborted by grace: drill")


async def test_one_driver_per_environment(tmp_path: Path) -> None:
    path = tmp_path / "j"
    async with SqliteJournal(path) as journal:
        await journal.acquire("environment/production", "elsewhere:1:1.00", ttl_s=1e9, now_s=0.0)
    with pytest.raises(AdapterError, match=r"driven by elsewhere.*openbell watch"):
        await drive(path, FakeWorld(), begun())


async def test_a_driver_that_lost_its_lease_stops(tmp_path: Path) -> None:
    path, fake = tmp_path / "j", FakeWorld()
    async with SqliteJournal(path) as journal:
        real = journal.acquire

        async def lose(name: str, owner: str, *, ttl_s: float, now_s: float) -> str | None:
            return await real(name, owner, ttl_s=ttl_s, now_s=now_s) if now_s < 1001 else "elsewhere"

        journal.acquire = lose  # type: ignore[method-assign]
        host = LocalHost(journal, world_of(fake, FakeClock()), owner="host:1:1.00")
        with pytest.raises(AdapterError, match="driven by elsewhere"):
            await host.drive("r-1", begun(approval=True))


class PowerCut(BaseException):
    """The process is gone."""


def cut_after(limit: int) -> Callable[[SqliteJournal], None]:
    def wrap(journal: SqliteJournal) -> None:
        real: Callable[..., Awaitable[int]] = journal.append
        count = 0

        async def append(stream: str, kind: str, payload: bytes, *, at_s: float, expect: int | None = None) -> int:
            nonlocal count
            sequence = await real(stream, kind, payload, at_s=at_s, expect=expect)
            if stream == stream_of("r-1"):
                count += 1
                if count == limit:
                    raise PowerCut
            return sequence

        journal.append = append  # type: ignore[method-assign]

    return wrap


@pytest.mark.parametrize("errors_pct", [0, 31])
async def test_a_crash_after_any_event_changes_nothing_about_the_end(tmp_path: Path, errors_pct: int) -> None:
    expected = await drive(tmp_path / "undisturbed", FakeWorld(errors_pct=errors_pct), begun())
    for limit in range(1, 40):
        path, fake = tmp_path / str(limit), FakeWorld(errors_pct=errors_pct)
        crashed = False
        async with SqliteJournal(path) as journal:
            cut_after(limit)(journal)
            host = LocalHost(journal, world_of(fake, FakeClock()), owner="host:1:1.00")
            try:
                await host.drive("r-1", begun())
            except PowerCut:
                crashed = True
        if not crashed:
            break
        state = await drive(path, fake, None, owner="host:1:1.00")
        assert state.outcome == expected.outcome, f"crash after event {limit}"
        assert fake.weights_now == ({"green": 100, "blue": 0} if errors_pct == 0 else {"green": 0, "blue": 100})
        async with SqliteJournal(path) as journal:
            assert (await load(journal, "r-1"))[0] == state
    assert limit > 15


async def test_a_journal_that_cannot_be_written_stops_the_drive_before_anything_is_done(tmp_path: Path) -> None:
    fake = FakeWorld()
    async with SqliteJournal(tmp_path / "j") as journal:

        async def full(*_: object, **__: object) -> int:
            raise AdapterError("journal", "append", "the disk is full", effect="not_applied")

        journal.append = full  # type: ignore[method-assign]
        with pytest.raises(AdapterError, match="disk is full"):
            await LocalHost(journal, world_of(fake, FakeClock()), owner="host:1:1.00").drive("r-1", begun())
    assert fake.done == []


@pytest.mark.parametrize("limit", range(1, 16))
async def test_an_abort_left_for_the_next_driver_comes_before_what_was_outstanding(tmp_path: Path, limit: int) -> None:
    path, fake = tmp_path / "j", FakeWorld()
    async with SqliteJournal(path) as journal:
        cut_after(limit)(journal)
        with pytest.raises(PowerCut):
            await LocalHost(journal, world_of(fake, FakeClock()), owner="host:1:1.00").drive("r-1", begun())
        await request(journal, "r-1", AbortRequested(at_s=1.0, by="grace", reason="drill"))
    before = len(fake.done)
    state = await drive(path, fake, None)
    assert state.outcome == "rolled-back"
    assert not {"route green 5", "route green 100"} & set(fake.done[before:])


async def test_a_journal_of_an_older_openbell_is_read(tmp_path: Path) -> None:
    async with SqliteJournal(tmp_path / "j") as journal:
        await journal.append(stream_of("r-1"), "Begun", BEGUN, at_s=1.0)
        state, _ = await load(journal, "r-1")
    assert state is not None
    assert state.plan.watch_for.error_rate_pct_max == 0.1


async def test_the_end_is_written_and_outlives_a_change_of_the_rules(tmp_path: Path) -> None:
    """Without the rest of its events a rollout would still be under way; its end says that it is not."""
    path = tmp_path / "j"
    ended = await drive(path, FakeWorld(), begun())
    async with SqliteJournal(path) as journal:
        records = await journal.read(stream_of("r-1"))
        assert [r.kind for r in records].count("Ended") == 1
        for record in records:
            if record.kind in ("Begun", "Ended"):
                await journal.append(stream_of("r-2"), record.kind, record.payload, at_s=record.at_s)
        state, _ = await load(journal, "r-2")
    assert state is not None
    assert (state.direction, state.outcome, state.outstanding) == ("ended", "promoted", ())
    assert stable_after(state) == stable_after(ended)


async def test_what_cannot_be_read_again_is_not_written(tmp_path: Path) -> None:
    endless = msgspec.structs.replace(begun().plan, steps=(Hold(duration_s=float("inf")),))
    first = msgspec.structs.replace(begun(), plan=endless)
    with pytest.raises(AdapterError, match="Begun cannot be written so that it can be read again"):
        await drive(tmp_path / "j", FakeWorld(), first)
    async with SqliteJournal(tmp_path / "j") as journal:
        assert await journal.streams("rollout/") == []


@pytest.mark.parametrize(
    "payload", [b'{"event":"Ticked","at_s":null}', b"{", b'{"event":"Unheard","at_s":1.0}', b"\xff"]
)
async def test_an_event_that_cannot_be_read_is_named(tmp_path: Path, payload: bytes) -> None:
    async with SqliteJournal(tmp_path / "j") as journal:
        await journal.append(stream_of("r-1"), "Begun", BEGUN, at_s=1.0)
        await journal.append(stream_of("r-1"), "Ticked", payload, at_s=1.0)
        with pytest.raises(
            AdapterError, match=r"event 2 of rollout/r-1 \(Ticked\) cannot be read.* restore the journal"
        ):
            await load(journal, "r-1")


async def test_a_rollout_is_not_begun_twice(tmp_path: Path) -> None:
    await drive(tmp_path / "j", FakeWorld(), begun())
    with pytest.raises(AdapterError, match="was begun before"):
        await drive(tmp_path / "j", FakeWorld(), begun())
