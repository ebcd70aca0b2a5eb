"""The machine's clock: the one place outside the core where time comes from."""

import asyncio
import time


class SystemClock:
    """A `Clock` that reads the machine's time."""

    def now_s(self) -> float:
        """Unix time in seconds."""
        return time.time()

    async def sleep(self, duration_s: float) -> None:
        """Let time pass."""
        await asyncio.sleep(duration_s)
