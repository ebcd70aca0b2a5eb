"""Strategies compile to steps. A step is data; `openbell.core.rollout` is the one machine that runs any list of them.

The rule this module keeps: a weight is only ever raised onto a side that was placed before, an old side is only retired
after its work was handed over, and nothing follows `Route(100)` that could not be undone until the watch has ended.
Source: the user's specification, "Deployment Strategies"; the arithmetic of rolling is that of Kubernetes Deployments
(`max_surge`, `max_unavailable`).
"""

from collections.abc import Iterator
from typing import Literal

import msgspec

from openbell.core.project import Environment, RolloutPolicy

SideName = Literal["stable", "candidate"]
MigrationPhase = Literal["expand", "contract"]


class Step(msgspec.Struct, frozen=True, kw_only=True, tag_field="step", tag=True):
    """What every step has in common: it is immutable data with its name in it."""


class Migrate(Step, frozen=True, kw_only=True):
    """Run the release's database migration; expand before placing, contract only after the watch."""

    phase: MigrationPhase


class Place(Step, frozen=True, kw_only=True):
    """Bring a side to so many healthy replicas of each service."""

    side: SideName
    replicas: int


class Smoke(Step, frozen=True, kw_only=True):
    """Run a smoke job against the candidate before it gets any work."""

    job: str


class Approve(Step, frozen=True, kw_only=True):
    """Wait until enough people who may have approved exactly this release."""

    required: int


class Route(Step, frozen=True, kw_only=True):
    """Send so much new work to the candidate, and new FIX sessions to the side named."""

    weight_pct: int
    sessions: SideName


class Hold(Step, frozen=True, kw_only=True):
    """Stay at this weight and judge; ends after `duration_s` of observed time with a passing verdict."""

    duration_s: float


class Handover(Step, frozen=True, kw_only=True):
    """Move what lives on all but `keep` replicas of the source to the other side: streams, sessions, leadership."""

    source: SideName
    keep: int


class Watch(Step, frozen=True, kw_only=True):
    """Judge after the last weight, before the old side is let go."""

    duration_s: float


class Retire(Step, frozen=True, kw_only=True):
    """Stop replicas of a side until so many are left."""

    side: SideName
    replicas: int


AnyStep = Migrate | Place | Smoke | Approve | Route | Hold | Handover | Watch | Retire


def compile_steps(
    environment: Environment, *, smoke: str | None, expand: bool, contract: bool, stable_replicas: int | None
) -> tuple[AnyStep, ...]:
    """Compile an environment's strategy to steps; `stable_replicas` is None when nothing serves there yet."""
    gates: list[AnyStep] = [Smoke(job=smoke)] if smoke else []
    if environment.approval and environment.approval.required:
        gates.append(Approve(required=environment.approval.required))
    steps: list[AnyStep] = [Retire(side="candidate", replicas=0)]
    if expand:
        steps.append(Migrate(phase="expand"))
    if stable_replicas is None:
        steps += [Place(side="candidate", replicas=environment.replicas), *gates]
        steps.append(Route(weight_pct=100, sessions="candidate"))
    elif environment.strategy == "rolling":
        steps += _rolling(environment.rollout, environment.replicas, stable_replicas, gates)
    else:
        steps += [Place(side="candidate", replicas=environment.replicas), *gates]
        steps += _weighted(environment)
    if contract:
        steps.append(Migrate(phase="contract"))
    return tuple(steps)


def compile_return(environment: Environment) -> tuple[AnyStep, ...]:
    """Compile the way back to a release that was promoted before and may still be placed with fewer replicas."""
    return (
        Place(side="candidate", replicas=environment.replicas),
        Route(weight_pct=100, sessions="candidate"),
        Handover(source="stable", keep=0),
        Retire(side="stable", replicas=environment.rollout.keep_replicas),
    )


def _weighted(environment: Environment) -> Iterator[AnyStep]:
    policy = environment.rollout
    if environment.strategy == "blue-green":
        phases = [(policy.weight_pct, policy.hold_s)]
    else:
        phases = [(phase.weight_pct, phase.hold_s) for phase in policy.phases]
    for weight_pct, hold_s in phases:
        yield Route(weight_pct=weight_pct, sessions="stable")
        yield Hold(duration_s=hold_s)
    yield Route(weight_pct=100, sessions="candidate")
    yield Handover(source="stable", keep=0)
    yield Watch(duration_s=policy.watch_s)
    yield Retire(side="stable", replicas=policy.keep_replicas if environment.strategy == "blue-green" else 0)


def _rolling(policy: RolloutPolicy, wanted: int, old: int, gates: list[AnyStep]) -> Iterator[AnyStep]:
    placed = 0
    while placed < wanted or old > 0:
        # Beside the last old replica all the rest is placed, or it could never be replaced: something always serves.
        room = wanted if old <= 1 else min(wanted, wanted + policy.max_surge - old)
        if room > placed:
            yield Place(side="candidate", replicas=room)
            if placed == 0:
                yield from gates
            placed = room
            yield Route(weight_pct=100 * placed // wanted, sessions="candidate")
        keep = max(0 if placed == wanted else 1, wanted - policy.max_unavailable - placed)
        if keep < old:
            if placed:
                yield Handover(source="stable", keep=keep)
            yield Retire(side="stable", replicas=keep)
            old = keep
