"""How a command that does long work is interrupted: Ctrl-C, SIGTERM and a lost terminal all end it the same way."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, TypeVar

T = TypeVar("T")

_ENDED = (signal.SIGTERM, signal.SIGHUP)
SIGNALS = (signal.SIGINT, *_ENDED)


@contextlib.contextmanager
def calling(act: Callable[[], object], signals: Sequence[signal.Signals] = SIGNALS) -> Iterator[None]:
    """Have signals call `act` instead of ending the process, as long as the block lasts."""
    loop = asyncio.get_running_loop()
    for number in signals:
        loop.add_signal_handler(number, act)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


def run_interruptible(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end; when interrupted, let it clean up, then raise `KeyboardInterrupt`."""

    async def guarded() -> T:
        task = asyncio.create_task(work)
        # Ctrl-C is asyncio's own business: a second one ends what the first could not.
        with calling(task.cancel, _ENDED):
            return await task

    try:
        return asyncio.run(guarded())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


async def end(process: asyncio.subprocess.Process) -> None:
    """Ask a process to end, and wait until it has."""
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    await process.wait()
