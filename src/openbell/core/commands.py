"""What the rollout machine wants done to the world: commands are data, a host carries them out.

A command's `id` derives from rollout, direction, step and attempt; it is the idempotency key of the adapters.
"""

import msgspec


class Command(msgspec.Struct, frozen=True, kw_only=True, tag_field="command", tag=True):
    """What every command has: its id, and for how many seconds to wait before it is carried out (after a failure)."""

    id: str
    delay_s: float = 0.0


class PlaceSide(Command, frozen=True, kw_only=True):
    """Bring a slot to so many healthy replicas of each service of the release."""

    slot: str
    digest: str
    version: str
    replicas: int
    timeout_s: float


class RetireSide(Command, frozen=True, kw_only=True):
    """Stop replicas of a slot until so many are left."""

    slot: str
    replicas: int


class Drain(Command, frozen=True, kw_only=True):
    """Move what lives on all but `keep` replicas of a slot to another slot, in the order of services."""

    slot: str
    to: str
    keep: int


class SetRoute(Command, frozen=True, kw_only=True):
    """Send new work by these weights (percent by slot, summing to 100), and new FIX sessions to one slot."""

    weights: dict[str, int]
    sessions: str


class RunSmoke(Command, frozen=True, kw_only=True):
    """Run a smoke job against a slot."""

    job: str
    slot: str


class RunMigration(Command, frozen=True, kw_only=True):
    """Run a release's database migration: expand or contract."""

    phase: str
    digest: str


class Notify(Command, frozen=True, kw_only=True):
    """Tell people; urgent pages. Never holds a rollout up."""

    subject: str
    text: str
    urgent: bool


AnyCommand = PlaceSide | RetireSide | Drain | SetRoute | RunSmoke | RunMigration | Notify
