"""What a process is told by its environment. Nothing else in the engine reads environment variables.

| variable | meaning |
|---|---|
| `DATABASE_URL` | PostgreSQL, `postgresql://...` |
| `VALKEY_URL` | Valkey, `redis://...`, with TLS `rediss://...`; without it events come through PostgreSQL alone |
| `VALKEY_PASSWORD` | its password where the URL has none, written as it is |
| `TRADING_ENGINE_API_KEYS` | `key:account` pairs, separated by commas; secret |
| `OPENBELL_SLOT` | the side this process belongs to, e.g. `blue`; default `default` |
| `OPENBELL_INSTANCE` | a name no other running process has; default host and process id |

The driver of PostgreSQL reads `PGUSER`, `PGPASSWORD` and `PGSSLROOTCERT` where the URL does not say it.
"""

import os
import socket
from collections.abc import Mapping
from urllib.parse import quote, urlsplit, urlunsplit

from msgspec import Struct


class SettingsError(Exception):
    """A variable is missing or cannot be read; the message names it and the remedy, never a secret."""


class ApiKeys:
    """Which account a key belongs to. It never shows the keys."""

    def __init__(self, accounts: Mapping[str, str]) -> None:
        self._accounts = dict(accounts)

    def account(self, key: str) -> str | None:
        """The account of a key, or None if nobody has this key."""
        return self._accounts.get(key)

    def key_of(self, preferred_account: str) -> tuple[str, str]:
        """The key and account of `preferred_account`, or of the first account if that one has no key."""
        for key, account in self._accounts.items():
            if account == preferred_account:
                return key, account
        return next(iter(self._accounts.items()))

    def __repr__(self) -> str:
        return f"ApiKeys({len(self._accounts)} accounts)"


class Settings(Struct, frozen=True):
    """Everything a service needs to know about where it runs."""

    database_url: str
    valkey_url: str
    keys: ApiKeys
    slot: str
    instance: str


def read_database_url(environment: Mapping[str, str] = os.environ) -> str:
    """`DATABASE_URL`, checked."""
    url = environment.get("DATABASE_URL", "")
    if not url:
        raise SettingsError("DATABASE_URL is not set. Set it to postgresql://user@host:port/database.")
    if not url.startswith(("postgresql://", "postgres://")):
        raise SettingsError("DATABASE_URL does not start with postgresql://.")
    return url


def read_keys(environment: Mapping[str, str] = os.environ) -> ApiKeys:
    """`TRADING_ENGINE_API_KEYS`, checked."""
    text = environment.get("TRADING_ENGINE_API_KEYS", "")
    if not text:
        raise SettingsError("TRADING_ENGINE_API_KEYS is not set. Set it to key:account, more of them after commas.")
    accounts: dict[str, str] = {}
    for position, pair in enumerate(text.split(","), start=1):
        key, separator, account = pair.strip().rpartition(":")
        if not separator or not key or not account:
            raise SettingsError(f"TRADING_ENGINE_API_KEYS: entry {position} is not key:account.")
        accounts[key] = account
    return ApiKeys(accounts)


def read_valkey_url(environment: Mapping[str, str] = os.environ) -> str:
    """`VALKEY_URL`, checked, with `VALKEY_PASSWORD` in it."""
    url = environment.get("VALKEY_URL") or "redis://127.0.0.1:6379"
    if not url.startswith(("redis://", "valkey://", "rediss://", "valkeys://")):
        raise SettingsError("VALKEY_URL does not start with redis:// or rediss://.")
    password = environment.get("VALKEY_PASSWORD", "")
    parts = urlsplit(url)
    if not password or parts.password:
        return url
    address = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username or ''}:{quote(password, safe='')}@{address}"))


def read_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """All settings of a service; raises `SettingsError` for the first that is wrong."""
    return Settings(
        database_url=read_database_url(environment),
        valkey_url=read_valkey_url(environment),
        keys=read_keys(environment),
        slot=environment.get("OPENBELL_SLOT") or "default",
        instance=environment.get("OPENBELL_INSTANCE") or f"{socket.gethostname()}-{os.getpid()}",
    )
