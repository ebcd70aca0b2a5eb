"""The commands of a running HAProxy, on its Unix socket: one connection each, an answer until it closes."""

import asyncio
import contextlib
import csv
import socket
import time
from pathlib import Path

import msgspec

from openbell.adapters.haproxy.configuration import address_of, check_options
from openbell.machine import Server
from openbell.ports import AdapterError

SYSTEM = "haproxy"
CALL_TIMEOUT_S = 10.0


class Statistics(msgspec.Struct, frozen=True):
    """The worker's process id, what it knows of each server by `BACKEND/SERVER`, its configuration's description."""

    worker: int
    servers: dict[str, dict[str, str]]
    description: str = ""


class Runtime:
    """A HAProxy that may be running. Every failure is an `AdapterError`; not being there is a retryable one."""

    def __init__(self, path: Path) -> None:
        self._socket = path

    async def is_running(self) -> bool:
        """Say whether HAProxy answers."""
        try:
            await self.ask("show version")
        except AdapterError:
            return False
        return True

    async def statistics(self) -> Statistics:
        """Ask for the worker's process id and the statistics of all servers."""
        information, _, table = (await self.ask("show info; show stat")).partition("\n# ")
        known = dict(line.split(": ", 1) for line in information.splitlines() if ": " in line)
        rows = csv.DictReader(table.splitlines())
        servers = {f"{row['pxname']}/{row['svname']}": row for row in rows}
        return Statistics(int(known.get("Pid", 0)), servers, known.get("description", ""))

    async def enable(self, server: Server) -> None:
        """Add a server, or take back one that is there, and check its health from now on."""
        name = address_of(server)
        answer = await self.ask(f"add server {name} 127.0.0.1:{server.port} {check_options(server)}")
        if "exists" not in answer and "registered" not in answer:
            raise AdapterError(SYSTEM, "add server", f"{name}: {answer}", retryable=True)
        await self.command(f"enable health {name}; set server {name} state ready")

    async def pause(self, server: Server) -> None:
        """Send a server nothing new; one that is not there is passed over."""
        await self.command(f"set server {address_of(server)} state drain", accept="No such server")

    async def delete(self, server: Server) -> None:
        """Delete a server; HAProxy refuses while connections are attached, so they are cut and it is asked again."""
        name = address_of(server)
        deadline = time.monotonic() + CALL_TIMEOUT_S
        cut = f"set server {name} state maint; shutdown sessions server {name}; del server {name}"
        while True:
            answer = await self.ask(cut)
            if "deleted" in answer or "No such" in answer:
                return
            if time.monotonic() > deadline:
                raise AdapterError(SYSTEM, "del server", f"{name}: {answer}", retryable=True)
            await asyncio.sleep(0.05)

    async def replace_map(self, map_file: str, content: str) -> float:
        """Prepare a new version of the map, and commit it; returns the commit's round trip in milliseconds."""
        answer = await self.ask(f"prepare map {map_file}")
        if "New version created" not in answer:
            raise AdapterError(SYSTEM, "prepare map", answer, retryable=True)
        version = answer.split()[-1]
        await self.command(f"add map @{version} {map_file} <<\n{content}")
        command = f"commit map @{version} {map_file}\n".encode()
        answer, switch_ms = await asyncio.to_thread(self._timed_call, command)
        if answer.strip():
            raise AdapterError(SYSTEM, "commit map", answer, retryable=True)
        return switch_ms

    async def wait_replaced(self, worker: int) -> None:
        """Wait until another worker than this one answers."""
        deadline = time.monotonic() + CALL_TIMEOUT_S
        while True:
            with contextlib.suppress(AdapterError):
                if (await self.statistics()).worker != worker:
                    return
            if time.monotonic() > deadline:
                raise AdapterError(SYSTEM, "reload", "the new configuration was not taken", retryable=True)
            await asyncio.sleep(0.02)

    async def command(self, command: str, *, accept: str = "") -> None:
        """Give a command that answers only when it fails; `accept` is a failure that means it is so already."""
        answer = (await self.ask(command)).strip()
        if answer and not (accept and accept in answer):
            raise AdapterError(SYSTEM, _title(command), answer, retryable=True)

    async def ask(self, command: str) -> str:
        """Give a command and return its answer."""
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                reader, writer = await asyncio.open_unix_connection(str(self._socket))
                try:
                    writer.write(command.encode() + b"\n")
                    return (await reader.read(-1)).decode(errors="replace").strip("\n")
                finally:
                    writer.close()
                    with contextlib.suppress(OSError):
                        await writer.wait_closed()
        except OSError as error:
            raise AdapterError(SYSTEM, _title(command), f"no answer ({error or 'time-out'})", retryable=True) from error

    def _timed_call(self, command: bytes) -> tuple[str, float]:
        """Give one command on a connection that is open already; returns the answer and the round trip in ms."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(CALL_TIMEOUT_S)
            try:
                connection.connect(str(self._socket))
                begun = time.perf_counter()
                connection.sendall(command)
                answer = connection.recv(65536)
                return answer.decode(errors="replace"), (time.perf_counter() - begun) * 1000
            except OSError as error:
                raise AdapterError(SYSTEM, "commit map", f"no answer ({error})", retryable=True) from error


def _title(command: str) -> str:
    return command.split("\n", 1)[0].split(";", 1)[0][:80]
