"""A HAProxy and its files when what was written down was not carried out."""

import asyncio
import os
import signal
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from openbell.adapters.haproxy import Haproxy
from openbell.adapters.loopback import PortBook
from openbell.machine import ServiceCheck
from openbell.ports import AdapterError

SERVICES = {"api": ServiceCheck("http", "/healthz")}
MORE = {**SERVICES, "quotes": ServiceCheck("http", "/healthz")}


class Process:
    """A HAProxy without a supervisor. `cut_short` makes the next reload fail before HAProxy is told."""

    def __init__(self, folder: Path, sockets: Path) -> None:
        self.balancer = Haproxy(folder, sockets, PortBook(folder / "ports.json").port, self._reload)
        self.reloads = 0
        self.cut_short = False
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        program = self.balancer.program()
        quiet = asyncio.subprocess.DEVNULL
        self._process = await asyncio.create_subprocess_exec(
            *program.command, cwd=program.folder, stdin=quiet, stdout=quiet, stderr=quiet, env={"PATH": os.defpath}
        )
        await self.balancer.wait_ready()

    async def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            await self._process.wait()

    async def _reload(self) -> None:
        if self.cut_short:
            self.cut_short = False
            raise AdapterError("test", "reload", "cut short")
        self.reloads += 1
        assert self._process is not None
        self._process.send_signal(signal.SIGUSR2)


@pytest.fixture
async def haproxy(tmp_path: Path) -> AsyncIterator[Process]:
    with tempfile.TemporaryDirectory(prefix="openbell-") as sockets:
        made = Process(tmp_path, Path(sockets))
        await made.balancer.declare("blue", SERVICES)
        try:
            await made.start()
            yield made
        finally:
            await made.stop()


async def listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def test_what_is_known_already_is_not_loaded_again(haproxy: Process) -> None:
    await haproxy.balancer.declare("blue", SERVICES)
    assert haproxy.reloads == 0
    await haproxy.balancer.declare("blue", MORE)
    await haproxy.balancer.declare("blue", MORE)
    assert haproxy.reloads == 1
    assert await listens(haproxy.balancer.ports()["quotes"])


async def test_a_reload_that_was_cut_short_is_made_up_for(haproxy: Process) -> None:
    haproxy.cut_short = True
    with pytest.raises(AdapterError, match="cut short"):
        await haproxy.balancer.declare("blue", MORE)
    assert not await listens(haproxy.balancer.ports()["quotes"])
    await haproxy.balancer.declare("blue", MORE)
    assert haproxy.reloads == 1
    assert await listens(haproxy.balancer.ports()["quotes"])
