"""Runs over targets in memory: what is looked at before anything is touched, what counts as through, what goes back."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from openbell.adapters.sqlite import SqliteJournal
from openbell.adapters.toml import Configuration, assemble, parse
from openbell.core import waves as core
from openbell.core.events import Begun
from openbell.core.pipeline import JobResult
from openbell.core.places import place_name
from openbell.core.waves import Waves, WavesBegun, WavesPlan
from openbell.ports import AdapterError, Held, ReleaseRef
from openbell.wiring import rollout_plans, rollouts, site, waves
from openbell.wiring.project import OpenProject
from openbell.wiring.releases import KIND_BUILT, STREAM, ReleaseBuilt
from openbell.wiring.rollouts import AlreadyThereError, RefusedError
from openbell.wiring.site import Progress, silent
from openbell.wiring.state import StateFolder
from tests.fakes.world import FakeWorld

TEXT = """
[project]
name = "shop"
[jobs.bundle]
stage = "build"
run = "true"
[jobs.load]
stage = "load"
run = "true"
[services.api]
protocol = "http"
run = "true"
[environments.staging]
after = ["load"]
[environments.production]
strategy = "rolling"
replicas = 1
[environments.production.rollout]
tick_s = 0.1
[environments.production.waves]
order = [["eu"], ["us", "asia"]]
hold_s = 0
[environments.production.targets.eu]
[environments.production.targets.us]
[environments.production.targets.asia]
"""
TARGETS = ("eu", "us", "asia")


class FakeSite:
    """A target in memory."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.world = FakeWorld()
        self.platform = self.router = self.metrics = self.world
        self.problems: list[str] = []
        self.broken: Callable[[], None] = lambda: None
        self.ups = 0

    async def up(self, progress: Progress = silent, **_: object) -> list[str]:
        self.ups += 1
        self.broken()
        return self.problems

    async def holdings(self) -> dict[str, Held]:
        return {slot: Held(one.release.digest, one.release.version, 1) for slot, one in self.world._slots.items()}

    @contextlib.asynccontextmanager
    async def reach(self, slot: str | None = None) -> AsyncIterator[dict[str, str]]:
        yield {}

    async def close(self) -> None:
        """Nothing is open."""


class Shop:
    """A project with three targets, its journal, and releases v1 and v2."""

    def __init__(self, journal: SqliteJournal, folder: Path) -> None:
        self.journal = journal
        self.folder = folder
        self.sites = {place_name("production", target): FakeSite(target) for target in TARGETS}
        self.configure("")

    def configure(self, more: str) -> None:
        layers = [parse("openbell.toml", TEXT), parse("policy.toml", more)]
        configuration: Configuration = assemble(layers)
        self.place = OpenProject(self.folder, configuration, StateFolder(self.folder / "state"))

    async def build(self, version: str) -> None:
        digest = f"sha256:digest-{version}"
        built = ReleaseBuilt(digest, f"commit-{version}", version, version, version, "Ada", "run")
        await self.journal.append(STREAM, KIND_BUILT, msgspec.json.encode(built), at_s=1.0)
        for one in self.sites.values():
            one.world.add(ReleaseRef(digest, version), self.place.project, {})

    async def release(self, version: str) -> ReleaseBuilt:
        return await rollouts.find_release(self.journal, version)

    async def drive(self, plan: WavesPlan | str) -> Waves:
        run, begun = (plan, None) if isinstance(plan, str) else (plan.id, WavesBegun(at_s=1.0, plan=plan, by="ada"))
        return await waves.drive(
            self.journal, self.place, run, begun,
            observer=lambda *_: None, target_observer=lambda _: lambda *_: None, stop_when_waiting=True,
        )  # fmt: skip

    async def deploy(self, version: str) -> Waves:
        return await self.drive(
            await waves.make_waves_plan(self.journal, self.place, "production", await self.release(version))
        )

    async def deploy_by_hand(self, target: str, version: str) -> None:
        name = place_name("production", target)
        plan = await rollout_plans.make_plan(self.journal, self.place, name, await self.release(version))
        await rollouts.drive(self.journal, self.place, plan.id, Begun(at_s=1.0, plan=plan, by="bob"))

    async def versions(self) -> list[str]:
        serving = []
        for one in self.sites.values():
            weights = await one.world.weights()
            held = await one.holdings()
            serving.append(next((held[slot].version for slot in held if weights[slot] == 100), ""))
        return serving


@pytest_asyncio.fixture
async def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shop]:
    async with SqliteJournal(tmp_path / "journal.sqlite") as journal:
        made = Shop(journal, tmp_path)
        monkeypatch.setattr(site, "open_site", lambda _project, name, _state: made.sites[name])
        monkeypatch.setattr(core, "RETURN_DELAY_S", 0.0)
        for version in ("v1", "v2", "v3"):
            await made.build(version)
        yield made


async def test_a_release_reaches_all_targets_and_all_go_back(shop: Shop) -> None:
    assert (await shop.deploy("v1")).outcome == "promoted"
    second = await shop.deploy("v2")
    assert await shop.versions() == ["v2"] * 3
    parts = await waves.rollouts_of(shop.journal, second)
    assert parts[0].plan.environment == "production/eu"
    assert {part.plan.part_of for part in parts} == {f"w-2/begin/{target}" for target in TARGETS}
    with pytest.raises(AlreadyThereError, match="runs v2 already, in all its targets"):
        await shop.deploy("v2")
    back = await shop.drive(await waves.make_waves_return_plan(shop.journal, shop.place, "production", None))
    assert (back.outcome, await shop.versions()) == ("promoted", ["v1"] * 3)
    with pytest.raises(RefusedError, match="no target of production has a release before that is known"):
        await waves.make_waves_return_plan(shop.journal, shop.place, "production", None)
    to = await shop.drive(await waves.make_waves_return_plan(shop.journal, shop.place, "production", "v2"))
    assert (to.outcome, await shop.versions()) == ("promoted", ["v2"] * 3)


async def test_all_targets_are_looked_at_before_the_first_is_touched(shop: Shop) -> None:
    await shop.deploy("v1")
    shop.sites["production/asia"].problems = ["the gateway is gone"]
    with pytest.raises(AdapterError, match="production/asia: up: the gateway is gone"):
        await shop.deploy("v2")
    assert await shop.versions() == ["v1"] * 3
    assert await waves.run_ids(shop.journal) == ["w-1"]


async def test_what_others_must_have_passed_is_asked_once(shop: Shop) -> None:
    shop.configure('[environments.production]\nrequires_passed = ["load"]\n')
    with pytest.raises(RefusedError, match="requires load to have passed for v1"):
        await shop.deploy("v1")
    check = rollouts.Check("sha256:digest-v1", "staging", "load", True, "")
    await shop.journal.append("checks/sha256:digest-v1", "check", msgspec.json.encode(check), at_s=1.0)
    assert (await shop.deploy("v1")).outcome == "promoted"


@pytest.mark.parametrize(("places", "refused"), [(("staging/eu", "staging/us"), True), (("dev", "staging/us"), False)])
async def test_it_must_have_passed_in_all_targets_there(shop: Shop, places: tuple[str, str], refused: bool) -> None:
    shop.configure('[environments.production]\nrequires_passed = ["load"]\n')
    for place, passed in zip(places, (False, True), strict=True):
        check = rollouts.Check("sha256:digest-v1", place, "load", passed, "slow")
        await shop.journal.append("checks/sha256:digest-v1", "check", msgspec.json.encode(check), at_s=1.0)
    expected = (
        pytest.raises(RefusedError, match="in staging/eu it failed: slow") if refused else contextlib.nullcontext()
    )
    with expected:
        await shop.deploy("v1")


def checking(bad: str) -> Callable[..., Awaitable[JobResult]]:
    async def run_check(_place: OpenProject, where: FakeSite, job: str, *, rollout: str, digest: str) -> JobResult:
        failed = where.name == bad and digest == "sha256:digest-v2"
        return JobResult(job, job, "load", "failure" if failed else "success", "too slow" if failed else "")

    return run_check


async def test_a_job_that_fails_after_a_rollout_takes_all_back(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.configure('[environments.production]\nafter = ["load"]\n')
    monkeypatch.setattr(rollouts, "run_check", checking("us"))
    await shop.deploy("v1")
    state = await shop.deploy("v2")
    assert (state.outcome, state.reason) == ("rolled-back", "us: load: too slow")
    assert dict.fromkeys(TARGETS, "returned") == state.status
    assert await shop.versions() == ["v1"] * 3


async def test_a_target_in_which_it_cannot_begin_stops_the_run(shop: Shop) -> None:
    await shop.deploy("v1")
    plan = await waves.make_waves_plan(shop.journal, shop.place, "production", await shop.release("v2"))
    calls = 0

    def broken() -> None:
        nonlocal calls
        calls += 1
        raise AdapterError("kubernetes", "up", "the API server is gone", effect="not_applied")

    shop.sites["production/us"].broken = broken
    state = await shop.drive(plan)
    assert calls == 1
    assert (state.outcome, state.reason) == ("rolled-back", "us: the API server is gone")
    assert state.status == {"eu": "returned", "us": "refused", "asia": "returned"}


async def test_a_target_that_had_nothing_before_keeps_what_it_got(shop: Shop) -> None:
    plan = await waves.make_waves_plan(shop.journal, shop.place, "production", await shop.release("v1"))
    shop.sites["production/us"].problems = ["no room"]
    state = await shop.drive(plan)
    assert state.outcome == "rolled-back"
    assert "us: no room; eu is left as it is: it had nothing before v1" in state.reason
    assert await shop.versions() == ["v1", "", "v1"]


async def test_what_somebody_else_has_brought_since_is_left(shop: Shop) -> None:
    await shop.deploy("v1")
    plan = await waves.make_waves_plan(shop.journal, shop.place, "production", await shop.release("v2"))
    us = shop.sites["production/us"]
    us.problems = ["no room"]
    real = us.holdings

    async def holdings() -> dict[str, Held]:
        us.holdings = real  # type: ignore[method-assign]
        await shop.deploy_by_hand("eu", "v3")
        return await real()

    us.holdings = holdings  # type: ignore[method-assign]
    state = await shop.drive(plan)
    assert state.status["eu"] == "kept"
    assert "eu is left as it is: r-" in state.reason
    assert "(v3) was begun there since" in state.reason
    assert (await shop.versions())[0] == "v3"


async def test_a_target_that_cannot_be_returned_waits_for_a_person_and_is_resumed(shop: Shop) -> None:
    await shop.deploy("v1")
    plan = await waves.make_waves_plan(shop.journal, shop.place, "production", await shop.release("v2"))
    shop.sites["production/us"].problems = ["no room"]
    eu = shop.sites["production/eu"]
    begun_at = eu.ups

    def broken() -> None:
        if eu.ups > begun_at + 1:
            raise AdapterError("kubernetes", "up", "the API server is gone", effect="not_applied")

    eu.broken = broken
    state = await shop.drive(plan)
    assert state.phase == "stuck"
    assert state.waiting_for == "the on-call engineer: eu could not be returned: the API server is gone"
    assert eu.ups == begun_at + 1 + core.RETURN_ATTEMPTS
    found = await waves.document(shop.journal, state)
    assert (found.outcome, found.reason) == ("waiting", state.waiting_for)
    assert [run.plan.id for run in await waves.unfinished_runs(shop.journal, "production")] == ["w-2"]
    with pytest.raises(RefusedError, match="has a run over its targets that has not ended: w-2"):
        await shop.deploy("v3")
    eu.broken = lambda: None
    state = await shop.drive("w-2")
    assert (state.outcome, await shop.versions()) == ("rolled-back", ["v1"] * 3)
    assert await waves.unfinished_runs(shop.journal) == []


async def test_a_run_is_not_gone_on_with_without_its_targets(shop: Shop) -> None:
    plan = await waves.make_waves_plan(shop.journal, shop.place, "production", await shop.release("v1"))
    text = TEXT.replace("[environments.production.targets.asia]\n", "").replace('["us", "asia"]', '["us"]')
    configuration = assemble([parse("openbell.toml", text)])
    shop.place = OpenProject(shop.folder, configuration, shop.place.state)
    with pytest.raises(RefusedError, match=r"was begun with asia, which openbell\.toml lacks"):
        await shop.drive(plan)


async def test_an_approval_is_asked_for_by_the_first_target_that_has_something_to_do(shop: Shop) -> None:
    await shop.deploy_by_hand("eu", "v1")
    shop.configure('[environments.production]\napproval = { from = ["grace@example.com"] }\n')
    state = await shop.deploy("v1")
    assert (state.status["eu"], state.with_status("under-way")) == ("unchanged", ("us",))
    (part,) = await waves.rollouts_of(shop.journal, state)
    assert part.waiting_for == "an approval from grace@example.com"
    assert (await waves.run_of(shop.journal, part)) == state
    await rollouts.ask_approval(shop.journal, part.plan.id, "grace@example.com", "")
    state = await shop.drive(state.plan.id)
    assert (state.outcome, await shop.versions()) == ("promoted", ["v1"] * 3)
    assert await waves.run_of(shop.journal, part) is None


async def test_a_target_goes_on_with_what_its_environment_was_before_it_had_any(shop: Shop) -> None:
    alone = TEXT.partition("[environments.production.waves]")[0]
    place, shop.sites["production"] = shop.place, shop.sites["production/eu"]
    shop.place = OpenProject(shop.folder, assemble([parse("openbell.toml", alone)]), place.state)
    plan = await rollout_plans.make_plan(shop.journal, shop.place, "production", await shop.release("v1"))
    await rollouts.drive(shop.journal, shop.place, plan.id, Begun(at_s=1.0, plan=plan, by="bob"))
    del shop.sites["production"]
    shop.place = place
    assert (await shop.deploy("v2")).outcome == "promoted"
    back = await shop.drive(await waves.make_waves_return_plan(shop.journal, shop.place, "production", None))
    assert back.status == {"eu": "returned", "us": "kept", "asia": "kept"}
    assert await shop.versions() == ["v1", "v2", "v2"]


async def test_an_abort_of_a_run_that_has_ended_says_what_helps(shop: Shop) -> None:
    await shop.deploy("v1")
    with pytest.raises(RefusedError, match="openbell rollback production"):
        await waves.ask_abort_of_run(shop.journal, "w-1", "ada", "drill")
    with pytest.raises(rollouts.UnknownNameError, match='no run "w-9" over targets; known: w-1'):
        await waves.ask_abort_of_run(shop.journal, "w-9", "ada", "drill")
