"""Who leads: one lease per shard, with an epoch that only grows, by the clock of the database alone.

Who may lead is data too. Only workers of the *eligible slot* compete, so a candidate that is placed beside the stable
never leads before it is handed to, whatever crashes or restarts. A handover seals the log at the applied sequence and
makes the other slot eligible, in one statement. A drained worker that does not lead leaves a wish instead: should the
leader die within ten seconds, the slot that was to take over does so. A worker of that slot may leave the same wish.
"""

from msgspec import Struct

from trading_engine.journal.database import Database
from trading_engine.journal.migrations import SHARD

LEASE_S = 3.0
RENEW_S = 1.0
_ELIGIBLE = (
    "CASE WHEN successor_slot IS NOT NULL AND successor_until > now() THEN successor_slot ELSE eligible_slot END"
)

_ACQUIRE = f"""
UPDATE lease SET owner = $2, epoch = epoch + 1, expires_at = now() + make_interval(secs => $4),
    eligible_slot = $3, successor_slot = NULL, successor_until = NULL, sealed_seq = NULL
WHERE shard = $1 AND (owner IS NULL OR owner = $2 OR expires_at < now())
  AND ({_ELIGIBLE} IS NULL OR {_ELIGIBLE} = $3)
  AND (sealed_seq IS NULL OR sealed_seq = (SELECT applied_seq FROM progress WHERE progress.shard = $1))
RETURNING epoch
"""  # noqa: S608 - no outside value
_RENEW = """
UPDATE lease SET expires_at = now() + make_interval(secs => $4)
WHERE shard = $1 AND owner = $2 AND epoch = $3 RETURNING epoch
"""
_GIVE_UP = """
UPDATE lease SET owner = NULL, expires_at = now(), sealed_seq = $4, eligible_slot = COALESCE($5, eligible_slot),
    successor_slot = NULL, successor_until = NULL
WHERE shard = $1 AND owner = $2 AND epoch = $3
  AND (SELECT applied_seq FROM progress WHERE progress.shard = $1) = $4
RETURNING pg_notify('lease', $1::text)
"""
_NAME_NEXT = """
UPDATE lease SET
    eligible_slot = CASE WHEN owner IS NULL OR expires_at < now() THEN $2 ELSE eligible_slot END,
    successor_slot = CASE WHEN owner IS NULL OR expires_at < now() THEN NULL ELSE $2 END,
    successor_until = now() + interval '10 seconds'
WHERE shard = $1
"""
_CLAIM = f"{_NAME_NEXT} RETURNING pg_notify('lease', $1::text)"
_PASS_ON = f"{_NAME_NEXT} AND {_ELIGIBLE} = $3 RETURNING pg_notify('lease', $1::text)"


class LeaseView(Struct, frozen=True):
    """The lease as last read. `free_in_s` is 0 or less when nobody holds it."""

    owner: str | None
    epoch: int
    eligible_slot: str | None
    free_in_s: float


async def read_lease(database: Database) -> LeaseView:
    """The lease now, and the slot that may lead next."""
    row = await database.fetch_row(
        f"SELECT owner, epoch, {_ELIGIBLE} AS eligible_slot,"  # noqa: S608 - no outside value
        " CASE WHEN owner IS NULL THEN 0 ELSE extract(epoch FROM expires_at - now())::float8 END AS free_in_s"
        " FROM lease WHERE shard = $1",
        SHARD,
    )
    return LeaseView(row["owner"], row["epoch"], row["eligible_slot"], row["free_in_s"])


async def acquire_lease(database: Database, owner: str, slot: str, *, lease_s: float = LEASE_S) -> int | None:
    """Takes the lease if it is free and this slot may have it; the new epoch, or None."""
    epoch: int | None = await database.fetch_value(_ACQUIRE, SHARD, owner, slot, lease_s)
    return epoch


async def renew_lease(database: Database, owner: str, epoch: int, *, lease_s: float = LEASE_S) -> bool:
    """Keeps the lease for another `lease_s`; False if somebody else has it."""
    return await database.fetch_value(_RENEW, SHARD, owner, epoch, lease_s) is not None


async def give_up_lease(database: Database, owner: str, epoch: int, applied_seq: int, to_slot: str | None) -> bool:
    """Seals the log at `applied_seq` and frees the lease, for `to_slot` or for whoever was eligible.

    False if the lease was not ours any more, or somebody had applied more than we know.
    """
    return await database.fetch_row(_GIVE_UP, SHARD, owner, epoch, applied_seq, to_slot) is not None


async def pass_eligibility_on(database: Database, slot: str, to_slot: str) -> bool:
    """Says that `to_slot` leads next, at once if nobody leads and else if the leader dies. False if not ours to say."""
    return await database.fetch_row(_PASS_ON, SHARD, to_slot, slot) is not None


async def claim_lead(database: Database, slot: str) -> None:
    """Says that `slot` leads next although another was to: at once if nobody leads, else if the leader dies soon.

    For a slot that is asked to take over from one that cannot be asked any more. A leader that lives is not disturbed.
    """
    await database.fetch_row(_CLAIM, SHARD, slot)
