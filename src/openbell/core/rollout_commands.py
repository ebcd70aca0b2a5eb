"""From steps to commands: what a step asks of the world, and what the state takes over when it was done."""

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from openbell.core.commands import (
    AnyCommand,
    Drain,
    PlaceSide,
    RetireSide,
    RunMigration,
    RunSmoke,
    SetRoute,
)
from openbell.core.events import CommandSucceeded
from openbell.core.rollout_state import Rollout
from openbell.core.strategy import AnyStep, Handover, Migrate, Place, Retire, Route, SideName, Smoke


def command_for(state: Rollout, step: AnyStep, key: str, delay_s: float) -> AnyCommand:
    """Build the command of a step that acts on the world; `key` becomes its id."""
    command: AnyCommand = _COMMANDS[type(step)](state, step, key, delay_s)
    return command


def _place(state: Rollout, step: Place, key: str, delay_s: float) -> AnyCommand:
    side = state.side_of[step.side]
    return PlaceSide(
        id=key,
        delay_s=delay_s,
        slot=side.slot,
        digest=side.digest,
        version=side.version,
        replicas=step.replicas,
        timeout_s=state.plan.healthy_timeout_s,
    )


def _route(state: Rollout, step: Route, key: str, delay_s: float) -> AnyCommand:
    candidate, stable = state.plan.candidate, state.plan.stable
    weights = {candidate.slot: step.weight_pct}
    if stable is not None:
        weights[stable.slot] = 100 - step.weight_pct
    return SetRoute(id=key, delay_s=delay_s, weights=weights, sessions=state.side_of[step.sessions].slot)


def _drain(state: Rollout, step: Handover, key: str, delay_s: float) -> AnyCommand:
    other: SideName = "candidate" if step.source == "stable" else "stable"
    sides = state.side_of
    return Drain(id=key, delay_s=delay_s, slot=sides[step.source].slot, to=sides[other].slot, keep=step.keep)


def _retire(state: Rollout, step: Retire, key: str, delay_s: float) -> AnyCommand:
    return RetireSide(id=key, delay_s=delay_s, slot=state.side_of[step.side].slot, replicas=step.replicas)


def _smoke(state: Rollout, step: Smoke, key: str, delay_s: float) -> AnyCommand:
    return RunSmoke(id=key, delay_s=delay_s, job=step.job, slot=state.plan.candidate.slot)


def _migrate(state: Rollout, step: Migrate, key: str, delay_s: float) -> AnyCommand:
    return RunMigration(id=key, delay_s=delay_s, phase=step.phase, digest=state.plan.candidate.digest)


_COMMANDS: dict[type, Callable[[Rollout, Any, str, float], Any]] = {
    Place: _place,
    Route: _route,
    Handover: _drain,
    Retire: _retire,
    Smoke: _smoke,
    Migrate: _migrate,
}


def applied(state: Rollout, command: AnyCommand, event: CommandSucceeded) -> Rollout:
    """Take over what a command has changed."""
    plan = state.plan
    if isinstance(command, SetRoute):
        ours = state.route
        if ours is not None and (ours.weights, ours.sessions) == (command.weights, command.sessions):
            return state  # Written again after somebody else had changed it: nothing was switched.
        weight_pct = command.weights[plan.candidate.slot]
        state = replace(
            state, route=command, weight_pct=weight_pct, switch_ms=event.switch_ms, switched_at_s=event.at_s
        )
        return replace(state, watched=()) if weight_pct == 100 else state
    if isinstance(command, PlaceSide):
        if command.slot == plan.candidate.slot:
            return replace(state, candidate_replicas=command.replicas)
        return replace(state, stable_replicas=command.replicas)
    if isinstance(command, RetireSide) and command.slot == plan.candidate.slot:
        return replace(state, candidate_replicas=command.replicas)
    return state
