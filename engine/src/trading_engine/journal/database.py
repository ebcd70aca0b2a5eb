"""A small pool of PostgreSQL connections that comes by itself and is counted.

A service starts before its database answers and stays when the database goes away: it is alive, and not ready.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import asyncpg

from trading_engine.journal.migrations import schema_version
from trading_engine.service.metrics import DATABASE_QUERIES

# What asyncpg and the network raise when PostgreSQL is away, restarting or refuses.
DATABASE_ERRORS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError)
_RETRY_S = 0.2
_START_S = 2.0


class DatabaseUnavailable(Exception):
    """PostgreSQL does not answer now; whether a write that was under way took effect is unknown."""


class Database:
    """Runs queries on a pool of at most `connections_max` connections."""

    def __init__(self, url: str, *, connections_max: int = 4, application: str = "trading-engine") -> None:
        self._url = url
        self._connections_max = connections_max
        self._application = application
        self._pool: asyncpg.Pool | None = None
        self._connected = asyncio.Event()

    async def start(self) -> None:
        """Connects, and tries again until it succeeds."""
        while self._pool is None:
            try:
                self._pool = await asyncpg.create_pool(
                    self._url,
                    min_size=1,
                    max_size=self._connections_max,
                    max_inactive_connection_lifetime=30,
                    command_timeout=10,
                    timeout=5,
                    server_settings={"application_name": self._application},
                )
            except DATABASE_ERRORS:
                await asyncio.sleep(_RETRY_S)
        self._connected.set()

    async def stop(self) -> None:
        """Closes all connections."""
        if self._pool is not None:
            pool, self._pool = self._pool, None
            with contextlib.suppress(*DATABASE_ERRORS):
                await asyncio.wait_for(pool.close(), 0.5)

    async def unready_reason(self) -> str | None:
        """Why the database cannot be used, or None if it can."""
        if self._pool is None:
            return "PostgreSQL: not connected yet"
        try:
            version = await asyncio.wait_for(
                self.fetch_value("SELECT max(version) FROM schema_migrations WHERE phase = 'expand'"), 2
            )
        except asyncpg.UndefinedTableError:
            version = 0
        except (DatabaseUnavailable, TimeoutError) as error:
            return f"PostgreSQL: {error or 'no answer within 2 s'}"
        if (version or 0) < schema_version():
            return f"PostgreSQL: schema {version or 0}, need {schema_version()}; run: trading-engine migrate expand"
        return None

    async def fetch(self, query: str, *arguments: object) -> Sequence[Any]:
        """All rows of a query."""
        async with self.connection() as connection:
            DATABASE_QUERIES.inc()
            rows: Sequence[Any] = await connection.fetch(query, *arguments)
            return rows

    async def fetch_row(self, query: str, *arguments: object) -> Any:
        """The first row of a query, or None."""
        async with self.connection() as connection:
            DATABASE_QUERIES.inc()
            return await connection.fetchrow(query, *arguments)

    async def fetch_value(self, query: str, *arguments: object) -> Any:
        """The first value of the first row of a query, or None."""
        async with self.connection() as connection:
            DATABASE_QUERIES.inc()
            return await connection.fetchval(query, *arguments)

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """A connection of the pool; errors of the database come out as `DatabaseUnavailable`."""
        if self._pool is None:  # a request that comes while we start waits rather than fails
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._connected.wait(), _START_S)
        if self._pool is None:
            raise DatabaseUnavailable("not connected yet")
        try:
            async with self._pool.acquire(timeout=5) as connection:
                yield connection
        except asyncpg.UndefinedTableError:
            raise
        except DATABASE_ERRORS as error:
            raise DatabaseUnavailable(str(error) or type(error).__name__) from error
