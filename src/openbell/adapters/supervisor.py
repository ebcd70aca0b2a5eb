"""supervisord, one per environment: what keeps processes running while no openbell runs.

It is spoken to by XML-RPC on a Unix socket. Programs are added while it runs: their files are written first, so that a
supervisord that starts again finds the same. If it was killed, its children live on; the next call starts a new one,
which adopts them (`openbell.programs.supervised`). This module knows nothing of releases and slots.

Source: https://supervisord.org/api.html and .../subprocess.html
"""

import asyncio
import contextlib
import getpass
import importlib.util
import os
import shlex
import signal
import sys
import time
import xmlrpc.client
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import msgspec

from openbell.files import exclusive, write_whole
from openbell.machine import ProcessState, Program, ProgramState
from openbell.ports import AdapterError
from openbell.programs import log_rotation, supervised

SYSTEM = "supervisor"
CALL_TIMEOUT_S = 60.0
START_RETRIES = 30
LOG_ROTATION = "log-rotation"
STOP_POLL_S = 0.5
NOT_STOPPED: tuple[ProcessState, ...] = ("starting", "running", "backoff", "stopping")
NO_SUCH_PROGRAM, ALREADY_STARTED, NOT_RUNNING, ALREADY_ADDED = 10, 60, 70, 90


def refuse_missing() -> None:
    """Raise `AdapterError` with the remedy when supervisord is not installed."""
    if importlib.util.find_spec("supervisor") is None:
        message = "the package supervisor is not installed. Install it: pip install 'openbell[local]'"
        raise AdapterError(SYSTEM, "locate", message, effect="not_applied")


class Supervisord:
    """One supervisord: its folder of programs, its folder of logs, its socket. Implements `machine.Supervisor`."""

    def __init__(self, folder: Path, logs: Path, sockets: Path, name: str) -> None:
        self.logs = logs
        self._folder = folder
        self._programs = folder / "programs"
        self._socket = sockets / "supervisor.sock"
        self._configuration = folder / "supervisord.conf"
        self._name = name
        self._changes = asyncio.Lock()

    async def is_running(self) -> bool:
        """Say whether supervisord answers."""
        try:
            await self._request("supervisor.getState")
        except OSError:
            return False
        return True

    async def start(self) -> None:
        """Start supervisord if it does not run; processes that outlived a previous one are adopted.

        Raises `AdapterError` with its words when it does not start.
        """
        async with exclusive(self._folder / "lock"):
            if await self.is_running():
                return
            self._prepare_folders()
            write_whole(self._configuration, self._render().encode())
            self._write_program(self._rotation())
            command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(self._configuration)]
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                cwd=self._folder,
                env={name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ},
                start_new_session=True,
                umask=0o077,
            )
            output, _ = await process.communicate()
            if process.returncode != 0 or not await self.is_running():
                message = output.decode(errors="replace").strip() or f"did not start; see {self.logs}/supervisord.log"
                raise AdapterError(SYSTEM, "start", message, retryable=True, effect="not_applied")

    async def stop(self) -> None:
        """Stop every program, then supervisord itself; returns when all have ended. Does nothing when it is down."""
        if not await self.is_running():
            if not self._survivors():
                self._configuration.unlink(missing_ok=True)
                return
            await self.start()
        pid = await self._request("supervisor.getPID")
        await self.remove([*await self.states(), LOG_ROTATION])
        self._configuration.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            await self._request("supervisor.shutdown")
        deadline = time.monotonic() + CALL_TIMEOUT_S
        while supervised.start_ticks(pid) is not None:
            if time.monotonic() > deadline:
                raise AdapterError(SYSTEM, "stop", f"process {pid} is still there after {CALL_TIMEOUT_S:.0f} s")
            await asyncio.sleep(0.02)

    def is_cold(self) -> bool:
        """Say whether nothing is left of an earlier run: no process of any program lives."""
        return not self._survivors()

    def forget_all(self) -> None:
        """Forget all programs, so that none starts by itself with the next supervisord. For a cold start only."""
        for path in self._programs.glob("*.*"):
            path.unlink(missing_ok=True)

    async def add(self, programs: Sequence[Program]) -> None:
        """Start programs; those that are there already keep running as they are."""
        async with self._changes, exclusive(self._folder / "changes.lock"):
            present = await self.states()
            new = [program for program in programs if program.name not in present]
            for program in new:
                self._write_program(program)
            if new:
                await self._call("supervisor.reloadConfig")
            for program in new:
                await self._call("supervisor.addProcessGroup", program.name, accept=ALREADY_ADDED)
            for program in programs:
                if program.name in present and present[program.name].state in ("stopped", "exited", "fatal"):
                    await self._call("supervisor.startProcess", program.name, False, accept=ALREADY_STARTED)

    async def remove(self, names: Sequence[str]) -> None:
        """Stop programs together and forget them; returns when they have ended. Absent names are passed over."""
        await self._stop_programs(names)
        async with self._changes, exclusive(self._folder / "changes.lock"):
            for name in names:
                await self._call("supervisor.removeProcessGroup", name, accept=NO_SUCH_PROGRAM)
                for suffix in (".conf", ".json", ".pid", ".starts"):
                    (self._programs / f"{name}{suffix}").unlink(missing_ok=True)
            if names:
                await self._call("supervisor.reloadConfig")

    async def send_signal(self, name: str, signal_name: str) -> None:
        """Send a signal ("USR2") to a program's process."""
        await self._call("supervisor.signalProcess", name, signal_name)

    async def states(self) -> dict[str, ProgramState]:
        """All programs by name, without our own log rotation."""
        return {name: state for name, state in (await self._all_states()).items() if name != LOG_ROTATION}

    async def _all_states(self) -> dict[str, ProgramState]:
        found = {}
        for entry in cast("list[dict[str, Any]]", await self._call("supervisor.getAllProcessInfo")):
            name, state = entry["name"], cast("ProcessState", entry["statename"].lower())
            pid = supervised.living_process(self._pid_file(name))
            found[name] = ProgramState(state, pid, self.restarts(name), float(entry["start"]))
        return found

    def restarts(self, name: str) -> int:
        """Count how often a program was started again since it was added."""
        try:
            return max(0, (self._programs / f"{name}.starts").read_bytes().count(b"\n") - 1)
        except OSError:
            return 0

    async def last_lines(self, name: str, *, lines: int = 20) -> str:
        """Return the end of a program's log, at most 16 KiB of it."""
        return "\n".join(self._log_end(name).splitlines()[-lines:])

    def _log_end(self, name: str) -> str:
        try:
            with (self.logs / f"{name}.log").open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - 16384))
                return file.read().decode(errors="replace")
        except OSError:
            return ""

    async def _stop_programs(self, names: Sequence[str]) -> None:
        """Ask programs to stop, together, and wait until they have; supervisord kills those that take too long.

        It could wait for them itself, but it turns in circles while it does, at the cost of a processor.
        """
        waited, asked_s = set(names), 0.0
        while waited:
            lives = all(supervised.living_process(self._pid_file(name)) for name in waited)
            if not lives or time.monotonic() - asked_s > STOP_POLL_S:
                asked_s = time.monotonic()
                states = await self._all_states()
                waited = {name for name in waited if name in states and states[name].state in NOT_STOPPED}
                for name in waited:
                    # Asked again only if a supervisord that was killed meanwhile has started it again.
                    if states[name].state != "stopping":
                        await self._call("supervisor.stopProcess", name, False, accept=(NO_SUCH_PROGRAM, NOT_RUNNING))
            if waited:
                await asyncio.sleep(0.02)
        for name in names:
            survivor = supervised.living_process(self._pid_file(name))
            if survivor is not None:
                # An adopted process is not in its guardian's group: it is not killed with it.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(survivor, signal.SIGKILL)

    def _pid_file(self, name: str) -> str:
        return str(self._programs / f"{name}.pid")

    def _survivors(self) -> list[int]:
        found = (supervised.living_process(str(path)) for path in self._programs.glob("*.pid"))
        return [pid for pid in found if pid is not None]

    async def _call(self, method: str, *arguments: object, accept: int | tuple[int, ...] = ()) -> object:
        """Call supervisord; if it was killed, start it again first. Faults in `accept` mean that it is so already."""
        accepted = (accept,) if isinstance(accept, int) else accept
        try:
            try:
                return await self._request(method, *arguments)
            except OSError:
                if not self._configuration.exists():
                    message = f"environment {self._name} is down. Start it: openbell up {self._name}"
                    raise AdapterError(SYSTEM, method, message, effect="not_applied") from None
                await self.start()
                return await self._request(method, *arguments)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode in accepted:
                return None
            raise AdapterError(SYSTEM, method, f"{fault.faultString} {arguments}") from fault
        except (OSError, TimeoutError) as error:
            raise AdapterError(SYSTEM, method, f"no answer ({error})", retryable=True) from error

    async def _request(self, method: str, *arguments: object) -> Any:
        body = xmlrpc.client.dumps(cast("tuple[Any, ...]", arguments), method).encode()
        head = (
            "POST /RPC2 HTTP/1.1\r\nHost: supervisor\r\nContent-Type: text/xml\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        async with asyncio.timeout(CALL_TIMEOUT_S):
            reader, writer = await asyncio.open_unix_connection(str(self._socket))
            try:
                writer.write(head.encode() + body)
                answer = await reader.read(-1)
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
        status, _, rest = answer.partition(b"\r\n")
        if b" 200 " not in status:
            raise ConnectionError(f"supervisord answered {status.decode(errors='replace')!r} to {method}")
        (result,), _ = xmlrpc.client.loads(rest.partition(b"\r\n\r\n")[2])
        return result

    def _prepare_folders(self) -> None:
        try:
            for folder in (self._programs, self.logs, self._socket.parent):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            found = self._socket.parent.stat()
        except OSError as error:
            message = f"{error.filename}: {error.strerror}"
            raise AdapterError(SYSTEM, "start", message, retryable=True, effect="not_applied") from error
        if found.st_uid != os.geteuid() or found.st_mode & 0o077:
            message = f"{self._socket.parent} belongs to somebody else or is open to others. Remove it."
            raise AdapterError(SYSTEM, "start", message, effect="not_applied")

    def _rotation(self) -> Program:
        command = (sys.executable, "-I", "-S", log_rotation.__file__, str(self.logs))
        return Program(name=LOG_ROTATION, command=command, folder=str(self.logs), priority=1)

    def _write_program(self, program: Program) -> None:
        path = self._programs / program.name
        specification = {
            "command": program.command,
            "env": program.env,
            "folder": program.folder,
            "log": str(self.logs / f"{program.name}.log"),
            "pid_file": f"{path}.pid",
            "starts_file": f"{path}.starts",
        }
        write_whole(path.with_name(f"{program.name}.json"), msgspec.json.encode(specification))
        words = (sys.executable, "-I", "-S", supervised.__file__, f"programs/{program.name}.json")
        settings = {
            "command": " ".join(_quoted(word) for word in words),
            "priority": program.priority,
            "autostart": "true",
            "autorestart": "true",
            "startsecs": 1,
            "startretries": START_RETRIES,
            "stopsignal": program.stop_signal,
            "stopwaitsecs": int(program.stop_timeout_s),
            "killasgroup": "true",
            "stdout_logfile": "NONE",
            "redirect_stderr": "true",
        }
        lines = [f"[program:{program.name}]", *(f"{name} = {value}" for name, value in settings.items())]
        write_whole(path.with_name(f"{program.name}.conf"), ("\n".join(lines) + "\n").encode())

    def _render(self) -> str:
        """Compose the configuration; paths are relative to its folder, whose name may have what it would misread."""
        logs = os.path.relpath(self.logs, self._folder)
        return f"""\
[unix_http_server]
file = {self._socket}
chmod = 0600

[supervisord]
identifier = openbell-{self._name}
logfile = {logs}/supervisord.log
logfile_maxbytes = 1MB
logfile_backups = 1
pidfile = supervisord.pid
childlogdir = {logs}
umask = 077
silent = true
user = {getpass.getuser()}

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[include]
files = programs/*.conf
"""


def _quoted(word: str) -> str:
    """Quote a word of a command: supervisord expands `%` and splits like a shell."""
    return shlex.quote(word.replace("%", "%%"))
