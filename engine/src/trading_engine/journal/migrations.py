"""The database schema, as numbered steps that can be repeated: expand before a release is placed, contract after.

An expanding step may only add, so that the release that serves now keeps working. A contracting step removes what no
release needs any more. Steps are never edited once released.
"""

import asyncpg
from msgspec import Struct

SHARD = 0
_ADVISORY_LOCK = 0x7472_6164  # "trad": whoever migrates holds it, so that two at once do not collide


class Migration(Struct, frozen=True):
    """One numbered step of one phase."""

    version: int
    name: str
    sql: str


_LOG = """
CREATE TABLE log_counter (shard int PRIMARY KEY, last_seq bigint NOT NULL);
CREATE TABLE commands (
    shard int NOT NULL, seq bigint NOT NULL, account text NOT NULL, client_order_id text NOT NULL,
    payload text NOT NULL, recorded_at timestamptz NOT NULL,
    PRIMARY KEY (shard, seq), UNIQUE (shard, account, client_order_id));
CREATE TABLE events (
    shard int NOT NULL, command_seq bigint NOT NULL, index int NOT NULL, epoch bigint NOT NULL,
    channel text NOT NULL, seq bigint NOT NULL, payload json NOT NULL,
    PRIMARY KEY (shard, command_seq, index), UNIQUE (shard, channel, seq));
CREATE TABLE lease (
    shard int PRIMARY KEY, owner text, epoch bigint NOT NULL, expires_at timestamptz NOT NULL, eligible_slot text,
    successor_slot text, successor_until timestamptz, sealed_seq bigint);
CREATE TABLE progress (
    shard int PRIMARY KEY, applied_seq bigint NOT NULL, state_hash text NOT NULL, epoch bigint NOT NULL);
CREATE TABLE snapshots (
    shard int NOT NULL, command_seq bigint NOT NULL, format_version int NOT NULL, blob bytea NOT NULL,
    PRIMARY KEY (shard, command_seq, format_version));
INSERT INTO log_counter VALUES (0, 0);
INSERT INTO lease (shard, epoch, expires_at) VALUES (0, 0, '-infinity');
INSERT INTO progress VALUES (0, 0, repeat('0', 32), 0);
"""

_PROJECTIONS = """
CREATE TABLE orders (
    shard int NOT NULL, order_id bigint NOT NULL, account text NOT NULL, client_order_id text NOT NULL,
    instrument text NOT NULL, side text NOT NULL, order_type text NOT NULL, time_in_force text NOT NULL,
    price_ticks bigint NOT NULL, quantity_lots bigint NOT NULL, filled_lots bigint NOT NULL,
    notional_ticks bigint NOT NULL, status text NOT NULL, reason text, updated_at_us bigint NOT NULL,
    PRIMARY KEY (shard, order_id), UNIQUE (shard, account, client_order_id));
CREATE INDEX orders_by_account ON orders (shard, account, order_id);
CREATE TABLE positions (
    shard int NOT NULL, account text NOT NULL, instrument text NOT NULL, quantity_lots bigint NOT NULL,
    notional_ticks bigint NOT NULL, PRIMARY KEY (shard, account, instrument));
CREATE TABLE book_levels (
    shard int NOT NULL, instrument text NOT NULL, side text NOT NULL, price_ticks bigint NOT NULL,
    quantity_lots bigint NOT NULL, PRIMARY KEY (shard, instrument, side, price_ticks));
CREATE TABLE books (
    shard int NOT NULL, instrument text NOT NULL, seq bigint NOT NULL, PRIMARY KEY (shard, instrument));
"""

_FIX = """
CREATE TABLE fix_sessions (
    sender text PRIMARY KEY, account text NOT NULL, incoming_seq bigint NOT NULL DEFAULT 0,
    outgoing_seq bigint NOT NULL DEFAULT 0, reported_seq bigint NOT NULL DEFAULT 0,
    epoch bigint NOT NULL DEFAULT 0, owner text, expires_at timestamptz NOT NULL DEFAULT '-infinity');
CREATE TABLE fix_messages (
    sender text NOT NULL, seq bigint NOT NULL, message_type text NOT NULL, sent_at text NOT NULL,
    body bytea NOT NULL, PRIMARY KEY (sender, seq));
"""

# Each statement of the function sees what was committed before it started. So the counter is locked first, and only
# then looked for what is already in the log: a single statement would look before it waits for the lock.
_SEQUENCE = """
CREATE FUNCTION sequence_commands(p_shard int, p_accounts text[], p_ids text[], p_payloads text[])
RETURNS TABLE (ordinal bigint, seq bigint, fresh boolean, payload text) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    base bigint;
    added bigint;
    recorded timestamptz;
BEGIN
    SELECT last_seq INTO STRICT base FROM log_counter WHERE shard = p_shard FOR UPDATE;
    recorded := clock_timestamp();
    INSERT INTO commands (shard, seq, account, client_order_id, payload, recorded_at)
    SELECT p_shard, base + row_number() OVER (ORDER BY i.n), i.account, i.id, i.payload, recorded
    FROM (SELECT DISTINCT ON (u.account, u.id) u.*
          FROM unnest(p_accounts, p_ids, p_payloads) WITH ORDINALITY AS u (account, id, payload, n)
          ORDER BY u.account, u.id, u.n) AS i
    WHERE NOT EXISTS (SELECT FROM commands AS c
                      WHERE c.shard = p_shard AND c.account = i.account AND c.client_order_id = i.id);
    GET DIAGNOSTICS added = ROW_COUNT;
    IF added > 0 THEN
        UPDATE log_counter SET last_seq = base + added WHERE shard = p_shard;
        PERFORM pg_notify('commands', p_shard::text);
    END IF;
    RETURN QUERY
    SELECT u.n, c.seq, c.seq > base AND row_number() OVER (PARTITION BY c.seq ORDER BY u.n) = 1, c.payload
    FROM unnest(p_accounts, p_ids) WITH ORDINALITY AS u (account, id, n)
    JOIN commands AS c ON c.shard = p_shard AND c.account = u.account AND c.client_order_id = u.id
    ORDER BY u.n;
END $$;
"""

EXPAND: tuple[Migration, ...] = (
    Migration(1, "the log, the lease and the progress of the matcher", _LOG),
    Migration(2, "orders, positions and books as last committed", _PROJECTIONS),
    Migration(3, "FIX sessions and their messages", _FIX),
    Migration(4, "gapless sequencing of commands", _SEQUENCE),
)
CONTRACT: tuple[Migration, ...] = ()


async def migrate(database_url: str, phase: str) -> list[str]:
    """Applies the steps of a phase that are missing and returns their names. May be repeated, and run by many at once.

    All steps of a call are one transaction: either all of them are applied or none.
    """
    steps = EXPAND if phase == "expand" else CONTRACT
    connection = await asyncpg.connect(database_url, timeout=10)
    try:
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _ADVISORY_LOCK)
            await connection.execute(
                "CREATE TABLE IF NOT EXISTS schema_migrations (phase text NOT NULL, version int NOT NULL,"
                " name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (phase, version))"
            )
            rows = await connection.fetch("SELECT version FROM schema_migrations WHERE phase = $1", phase)
            applied = {row["version"] for row in rows}
            missing = [step for step in steps if step.version not in applied]
            for step in missing:
                await connection.execute(step.sql)
                await connection.execute(
                    "INSERT INTO schema_migrations (phase, version, name) VALUES ($1, $2, $3)",
                    phase,
                    step.version,
                    step.name,
                )
    finally:
        await connection.close()
    return [f"{step.version} {step.name}" for step in missing]


def schema_version() -> int:
    """The newest expanding step that this build relies on."""
    return EXPAND[-1].version
