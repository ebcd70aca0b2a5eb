"""Commands of jobs, run by a shell: own session, own environment, a log in which secrets are masked.

A job gets the environment that it is given and nothing else. When it ends, or must end, everything that descends from
it is ended: SIGTERM, and SIGKILL for what is left after a grace time. The same happens when openbell itself is killed.
Both are done by `openbell.programs.reaper`, a small process between openbell and the shell. What it prints goes to its
log line by line and byte by byte, but every form in which a secret may be printed is replaced before anything is
written or shown, and what is shown commands no terminal.

Source: POSIX process groups; https://docs.github.com/actions (masking)
"""

import asyncio
import contextlib
import os
import shutil
import socket
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec

from openbell import programs
from openbell.core.masking import Masker
from openbell.ports import AdapterError

SYSTEM = "shell"
GRACE_S = 5.0
FORCING_S = 10.0
"""So much longer than the grace time the reaper may take before it is given up."""

REAPER = Path(programs.__file__).with_name("reaper.py")
LOG_BYTES_MAX = 64_000_000
LINE_BYTES_MAX = 64_000
LAST_LINES_MAX = 40


class Ended(msgspec.Struct, frozen=True):
    """How a command ended: its exit code (negative: the signal that ended it) and the last lines it printed.

    `swept` says that nothing which descends from it is left; where that is not known it has to be looked for.
    """

    exit_code: int
    last_lines: tuple[str, ...]
    swept: bool = True


class _Log:
    """Writes what a command prints, masked, and remembers the end of it."""

    def __init__(self, stream: BinaryIO, masker: Masker, on_line: Callable[[str], None] | None) -> None:
        self.stream = stream
        self.masker = masker
        self.on_line = on_line
        self.pending = b""
        self.written = 0
        self.last: deque[str] = deque(maxlen=LAST_LINES_MAX)

    def feed(self, chunk: bytes) -> None:
        self.pending += chunk
        if b"\n" in chunk or len(self.pending) > LINE_BYTES_MAX:
            cut = self._cut(self.pending)
            self._write(self.pending[:cut])
            self.pending = self.pending[cut:]

    def close(self) -> None:
        self._write(self.pending)
        self.pending = b""

    def _cut(self, content: bytes) -> int:
        """Say how far content can be written: to the end of a line, but not through a secret nor through what may be
        the beginning of one. So the last line may wait for the next; an endless one is cut where that does no harm.
        """
        lines_end = content.rfind(b"\n") + 1
        endless = len(content) - lines_end > LINE_BYTES_MAX
        cut = len(content) if endless else lines_end
        open_end = self.masker.open_end(content[:cut])
        if open_end < cut:
            cut = open_end if endless else content.rfind(b"\n", 0, open_end) + 1
        for start, stop in self.masker.find(content):
            if start < cut < stop:
                # A secret that repeats itself without an end would never be written.
                cut = start if endless and start else stop if endless else content.rfind(b"\n", 0, start) + 1
        return cut

    def _put(self, content: bytes) -> None:
        """Write all of it: a file without a buffer may take a part, and says why only when asked again."""
        while content:
            content = content[self.stream.write(content) :]

    def _write(self, printed: bytes) -> None:
        if not printed:
            return
        lines = [line.rstrip(b"\r") for line in self.masker.mask_bytes(printed).removesuffix(b"\n").split(b"\n")]
        content = b"".join(line + b"\n" for line in lines)
        if self.written <= LOG_BYTES_MAX:
            self._put(content[: LOG_BYTES_MAX - self.written])
            if self.written + len(content) > LOG_BYTES_MAX:
                self._put(b"\n... the log is cut here: it is larger than %d MB\n" % (LOG_BYTES_MAX // 1_000_000))
        self.written += len(content)
        shown = [self.masker.show(line.decode(errors="surrogateescape")) for line in lines]
        self.last.extend(shown)
        if self.on_line:
            for line in shown:
                self.on_line(line)


def command_line(script: str) -> list[str]:
    """Compose the command that runs a script: bash, which stops at the first failure; sh where there is no bash."""
    bash = shutil.which("bash")
    return [bash, "-euo", "pipefail", "-c", script] if bash else ["/bin/sh", "-eu", "-c", script]


async def run(
    script: str,
    *,
    folder: Path,
    env: Mapping[str, str],
    log: Path,
    stop: asyncio.Event,
    secrets: Iterable[str] = (),
    on_line: Callable[[str], None] | None = None,
    grace_s: float = GRACE_S,
    inside: Sequence[str] = (),
) -> Ended:
    """Run a script to its end, or until `stop` is set and it is ended; no process of its session outlives the call.

    `inside` is the beginning of a command that starts it elsewhere: in a container, in an enclosure.

    Raises `AdapterError` when it cannot be started or its log cannot be written (a full disk).
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab", buffering=0) as stream, _pipe() as (reading_end, writing_end), _lifeline() as (ours, theirs):
        writer = _Log(stream, Masker(secrets), on_line)
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-I", "-S", str(REAPER), str(grace_s), *inside, *command_line(script),
                cwd=folder, env=dict(env), stdin=theirs.fileno(), stdout=writing_end, stderr=writing_end,
                start_new_session=True,
            )  # fmt: skip
        except (OSError, ValueError) as error:
            # A ValueError is a NUL in the script or in a variable's value: the system ends texts with it.
            message = f"the job cannot be started: {getattr(error, 'strerror', None) or error}"
            raise AdapterError(SYSTEM, "start", message, effect="not_applied") from error
        writing_end.close()
        theirs.close()
        command = _Command(process, ours, grace_s)
        try:
            await _follow(command, reading_end, writer, stop)
            writer.close()
        except OSError as error:
            message = f"the log cannot be written: {error.strerror or error} ({log.parent})"
            raise AdapterError(SYSTEM, "log", message) from error
        finally:
            await command.end()
        told = command.told()
    exit_code = await process.wait() if told is None else told
    return Ended(exit_code, tuple(writer.last), swept=told is not None and sys.platform == "linux")


class _Command:
    """The reaper of a command that was started, and the connection to it."""

    def __init__(self, reaper: asyncio.subprocess.Process, lifeline: socket.socket, grace_s: float) -> None:
        self.reaper = reaper
        self.lifeline = lifeline
        self.grace_s = grace_s

    async def end(self) -> None:
        """Have the reaper end everything, and wait until it has; one that does not answer is ended itself."""
        if self.reaper.returncode is not None:
            return
        with contextlib.suppress(OSError):
            self.lifeline.shutdown(socket.SHUT_WR)
        try:
            async with asyncio.timeout(self.grace_s + FORCING_S):
                await self.reaper.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self.reaper.kill()
            await self.reaper.wait()

    def told(self) -> int | None:
        """Return the exit code that the reaper told; None when it was itself killed before it could."""
        self.lifeline.setblocking(False)
        try:
            return int(self.lifeline.recv(32))
        except (BlockingIOError, ConnectionError, ValueError):
            return None


@contextlib.contextmanager
def _lifeline() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Make a connection to the reaper: as long as our end is open the command may run."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@contextlib.contextmanager
def _pipe() -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """Make a pipe of our own: asyncio's keeps `wait` from returning while a background child has it open."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", 0) as reading_end, os.fdopen(writing, "wb", 0) as writing_end:
        yield reading_end, writing_end


async def _follow(command: _Command, output: BinaryIO, writer: _Log, stop: asyncio.Event) -> None:
    """Copy the output until the command and all that it started have ended; end them when asked to."""
    reading = asyncio.create_task(_copy(output, writer))
    ending = asyncio.create_task(command.reaper.wait())
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({ending, stopping, reading}, return_when=asyncio.FIRST_COMPLETED)
        if reading.done() and reading.exception():
            reading.result()
        if not ending.done() and not stopping.done():
            await asyncio.wait({ending, stopping}, return_when=asyncio.FIRST_COMPLETED)
        await command.end()
        # Where a daemon can leave unseen it may keep the pipe; what the command itself printed has arrived by then.
        await asyncio.wait({reading}, timeout=1.0)
        if reading.done():
            reading.result()
    finally:
        for task in (reading, ending, stopping):
            task.cancel()
        await asyncio.gather(reading, ending, stopping, return_exceptions=True)


async def _copy(output: BinaryIO, writer: _Log) -> None:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), output)
    try:
        while chunk := await reader.read(65536):
            writer.feed(chunk)
    finally:
        transport.close()
