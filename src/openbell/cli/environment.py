"""`up`, `down`, `status`: environments on this machine."""

import asyncio
import contextlib
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, TypeVar

from cyclopts import Parameter

from openbell.adapters.toml import ConfigurationError
from openbell.cli.terminal import (
    DONE,
    FAILED,
    USAGE,
    complain,
    console,
    counted,
    harmless,
    is_lively,
    paint,
    print_json,
    say,
)
from openbell.core.narrative import duration, headline
from openbell.core.places import environment_name, no_place, places, places_of
from openbell.ports import AdapterError
from openbell.wiring.environment_status import (
    EnvironmentStatus,
    InstanceStatus,
    RolloutStatus,
    ServiceStatus,
    SlotStatus,
    last_rollouts,
)
from openbell.wiring.project import OpenProject, open_project
from openbell.wiring.site import Site, open_site

WATCH_INTERVAL_S = 1.0
DAY_S = 86_400

T = TypeVar("T")

Policy = list[str] | None
Json = Annotated[bool, Parameter(negative="")]


class UnknownEnvironmentError(Exception):
    """The configuration has no environment of that name."""


def up(name: str, /, *, new_ports: bool = False, policy: Policy = None, json: Json = False) -> int:
    """Start an environment on this machine: PostgreSQL, Valkey, HAProxy, and the releases that ran in it before.

    Starts what does not run and leaves alone what does; may be repeated.

    Parameters
    ----------
    name
        The environment, as openbell.toml names it.
    new_ports
        Choose other ports where somebody else has taken those that the environment had.
    policy
        A file laid over openbell.toml; may be repeated.
    json
        Print the environment's status as one JSON document on standard output.
    """

    async def start(place: OpenProject, sites: list[Site]) -> int:
        begun = time.monotonic()
        problems = [problem for site in sites for problem in await site.up(say, new_ports=new_ports)]
        found, unread = await _look_at(place, name)
        problems += unread
        if json:
            print_json(_document(place, name, found))
        for one in [] if json else found:
            say(f"{one.environment}: up in {time.monotonic() - begun:.1f} s")
            for service, address in one.addresses.items():
                say(f"  {service:<16} {address}", stream=sys.stdout)
        for problem in problems:
            say(problem)
        return FAILED if problems else DONE

    return _with_environment(name, policy, start)


def _document(place: OpenProject, name: str | None, found: list[EnvironmentStatus]) -> object:
    """What is printed of an environment: one document, or a list of them for all, or for one with targets."""
    alone = name is not None and name in places(place.project)
    return found[0] if alone else found


def down(name: str, /, *, purge: bool = False, force: bool = False, policy: Policy = None, json: Json = False) -> int:
    """Stop an environment: services first, then HAProxy, Valkey and PostgreSQL. Its data stays for the next `up`.

    Parameters
    ----------
    name
        The environment, as openbell.toml names it.
    purge
        Remove its data, logs and ports as well.
    force
        Stop it although a rollout has not ended.
    policy
        A file laid over openbell.toml; may be repeated.
    json
        Print the environment's status as one JSON document on standard output.
    """

    async def stop(place: OpenProject, sites: list[Site]) -> int:
        left = [] if force else await _unfinished(place, name)
        if left:
            remedy = f"openbell resume, openbell abort {left[0]}, or --force"
            return complain(f"{name} has a rollout that has not ended ({left[0]}): {remedy}", code=FAILED)
        for site in sites:
            await site.down(say, purge=purge)
            say(f"{site.name}: down" + ("; nothing of it is left" if purge else "; its data stays"))
        found, unread = await _look_at(place, name)
        if json:
            print_json(_document(place, name, found))
        return complain("\n".join(unread), code=FAILED) if unread else DONE

    return _with_environment(name, policy, stop)


async def _unfinished(place: OpenProject, name: str) -> list[str]:
    """Name what has not ended in an environment; imported only here, for it costs more than a status."""
    from openbell.adapters.sqlite import SqliteJournal
    from openbell.wiring import rollouts, waves

    if not place.state.journal.exists():
        return []
    async with SqliteJournal(place.state.journal) as journal:
        runs = await waves.unfinished_runs(journal, environment_name(name))
        found = [run.plan.id for run in runs if run.phase != "ended"]
        for one in _names(place, name):
            found += [one.plan.id for one in await rollouts.unfinished(journal, one) if one.direction != "ended"]
        return found


def status(name: str | None = None, /, *, watch: bool = False, policy: Policy = None, json: Json = False) -> int:
    """Show what runs where: rollouts, releases, weights, instances, health, addresses.

    Parameters
    ----------
    name
        One environment; all of them by default.
    watch
        Keep showing it, until interrupted.
    policy
        A file laid over openbell.toml; may be repeated.
    json
        Print one JSON document on standard output.
    """

    async def show(place: OpenProject) -> int:
        if watch and not json:
            await _watch(lambda: _seen(place, name))
        found, unread = await _look_at(place, name)
        if json:
            print_json(_document(place, name, found))
        else:
            lines = [*await _runs(place, name), *render(found)]
            say("\n".join(lines) or "No environments in openbell.toml.", stream=sys.stdout)
        return complain("\n".join(unread), code=FAILED) if unread else DONE

    return _with_project(policy, show)


async def _runs(place: OpenProject, name: str | None) -> list[str]:
    """Say where the runs over targets stand that have not ended; imported only where there can be one."""
    wanted = [name] if name else list(place.project.environments)
    having = [one for one in wanted if one in place.project.environments and place.project.environments[one].targets]
    if not having or not place.state.journal.exists():
        return []
    from openbell.adapters.sqlite import SqliteJournal
    from openbell.core.waves_narrative import run_text
    from openbell.wiring import waves

    with contextlib.suppress(AdapterError):  # What is wrong with the journal is said below the rest.
        async with SqliteJournal(place.state.journal) as journal:
            runs = [run for one in having for run in await waves.unfinished_runs(journal, one)]
        return [f"{run.plan.environment}  {run_text(run)}" for run in runs]
    return []


def render(found: list[EnvironmentStatus]) -> list[str]:
    """Compose the lines that show environments."""
    return [line for environment in found for line in _render_environment(environment)]


def _render_environment(found: EnvironmentStatus) -> list[str]:
    if found.state == "down":
        left = "".join(f", {slot.version} comes back with it" for slot in found.slots if slot.weight_pct)
        head = f"{found.environment}  down    start it: openbell up {found.environment}{left}"
        return [head, *([f"  {found.reason}"] if found.reason else []), *_render_rollout(found.rollout)]
    if found.state == "unreachable":
        head = f"{found.environment}  {paint(found.state, 'red', sys.stdout)}    {found.reason}"
        return [head, *_render_rollout(found.rollout)]
    broken = [f"{part.name} {part.state}" for part in found.parts if part.state not in ("running", "starting")]
    restarted = [f"{part.name} restarted {counted(part.restarts, 'time')}" for part in found.parts if part.restarts]
    head = f"{found.environment}  {found.state}"
    if found.state == "unsupervised":
        head += f"    its supervisor was killed; adopt what lives on: openbell up {found.environment}"
        broken = []
    lines = ["    ".join([head, *broken, *restarted]), *_render_rollout(found.rollout)]
    if not found.slots:
        lines.append(f"  no release    openbell deploy {found.environment}")
    for slot in found.slots:
        lines.append(_render_slot(slot))
        lines += [_render_service(service) for service in slot.services]
    lines += [f"  {service:<16} {address}" for service, address in found.addresses.items()]
    return lines


def _render_rollout(found: RolloutStatus | None) -> list[str]:
    if found is None:
        return []
    ago = f"{_age(found.age_s)} ago"
    where = {
        "waiting": f"waits for {headline(found.waits_for or '')}, begun {ago}",
        "running": f"{found.step}, begun {ago}",
        "promoted": f"promoted {ago}",
        "rolled-back": f"taken back {ago}: {headline(found.reason)}",
    }[found.outcome]
    failed = "".join(f", {check}" for check in found.failed_checks)
    lost = " (openbell resume, if none drives it any more)" if found.outcome == "running" else ""
    return [f"  {found.id} {found.version}  {where}{failed}" + (f"    {found.next}{lost}" if found.next else "")]


def _age(seconds: float) -> str:
    days = int(seconds // DAY_S)
    return f"{days} days" if days > 1 else duration(seconds)


def _render_slot(slot: SlotStatus) -> str:
    speaks_fix = any(service.protocol == "fix" for service in slot.services)
    fix = "  new FIX sessions" if slot.fix_sessions and speaks_fix else ""
    return f"  {slot.version} ({slot.slot})  {slot.weight_pct} % of new requests{fix}  {_render_health(slot.instances)}"


def _render_service(service: ServiceStatus) -> str:
    sessions = sum(instance.sessions for instance in service.instances)
    busy = f"  {sessions} active" if sessions else ""
    return f"    {service.service:<16} {_render_health(service.instances)}{busy}"


def _render_health(instances: tuple[InstanceStatus, ...]) -> str:
    healthy = sum(instance.healthy for instance in instances)
    restarts = sum(instance.restarts for instance in instances)
    failed = sum(instance.failed_health_checks for instance in instances)
    text = f"{healthy} of {len(instances)} healthy"
    text = text if healthy == len(instances) else paint(text, "red", sys.stdout)
    more = [counted(number, noun) for number, noun in ((restarts, "restart"), (failed, "failed check")) if number]
    return "  ".join([text, *more])


async def _look_at(place: OpenProject, name: str | None) -> tuple[list[EnvironmentStatus], list[str]]:
    """Look at environments; also returns what is wrong with the journal, without which the rest can be seen as well."""
    seen = [open_site(place.project, one, place.state) for one in _names(place, name)]
    try:
        known, unread = await last_rollouts(place.state, [environment.name for environment in seen]), []
    except AdapterError as error:
        known, unread = {}, [f"{error.system}: {error.message}"]
    return [await environment.look(known.get(environment.name)) for environment in seen], unread


async def _watch(see: Callable[[], Coroutine[None, None, list[str]]]) -> None:
    """Show changes until interrupted: in place on a terminal, else as plain text whenever something changed."""
    if is_lively(sys.stdout):
        from rich.live import Live
        from rich.text import Text

        with Live(console=console(stderr=False), auto_refresh=False) as live:
            while True:
                shown = harmless("\n".join(await see()), colours=True)
                live.update(Text.from_ansi(shown), refresh=True)
                await asyncio.sleep(WATCH_INTERVAL_S)
    told: list[str] = []
    while True:
        lines = await see()
        if lines != told:
            say(time.strftime("%H:%M:%S") + "\n" + "\n".join(lines), stream=sys.stdout)
            told = lines
        await asyncio.sleep(WATCH_INTERVAL_S)


async def _seen(place: OpenProject, name: str | None) -> list[str]:
    found, unread = await _look_at(place, name)
    return [*await _runs(place, name), *render(found), *unread]


def _names(place: OpenProject, name: str | None) -> tuple[str, ...]:
    """Name the places that are meant: one, all, or the targets of an environment that has several."""
    known = places(place.project)
    if name is None:
        return tuple(known)
    if name in place.project.environments:
        return places_of(place.project, name)
    if name not in known:
        raise UnknownEnvironmentError(no_place(place.project, name))
    return (name,)


def _with_environment(
    name: str, policy: Policy, work: Callable[[OpenProject, list[Site]], Coroutine[None, None, int]]
) -> int:
    """Do something to one environment, or to all its targets, whose state must have somewhere to be."""

    async def opened(place: OpenProject) -> int:
        sites = [open_site(place.project, one, place.state) for one in _names(place, name)]
        place.state.make()
        return await work(place, sites)

    return _with_project(policy, opened)


def _with_project(policy: Policy, work: Callable[[OpenProject], Coroutine[None, None, int]]) -> int:
    """Open the project and run; what goes wrong is said in words, with the exit code that belongs to it."""
    try:
        return asyncio.run(work(open_project(Path.cwd(), tuple(policy or ()))))
    except (ConfigurationError, UnknownEnvironmentError) as error:
        return complain(str(error))
    except AdapterError as error:
        refused = error.effect == "not_applied" and error.system != "journal"
        return complain(f"{error.system}: {error.message}", code=USAGE if refused else FAILED)
