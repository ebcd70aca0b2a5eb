"""How a command that does long work is interrupted: Ctrl-C, SIGTERM and a lost terminal all end it the same way."""

import asyncio
import contextlib
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run_interruptible(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end; when interrupted, let it clean up, then raise `KeyboardInterrupt`."""

    async def guarded() -> T:
        task = asyncio.current_task()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP):
            if task is not None:
                loop.add_signal_handler(number, task.cancel)
        return await work

    try:
        return asyncio.run(guarded())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


async def end(process: asyncio.subprocess.Process) -> None:
    """Ask a process to end, and wait until it has."""
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    await process.wait()
