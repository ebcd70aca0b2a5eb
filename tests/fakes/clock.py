"""Virtual time for hosts."""

import asyncio


class FakeClock:
    """A sleep lets the loop run and moves the clock on by `step_s`; many may sleep at the same time."""

    def __init__(self, *, step_s: float = 0.01) -> None:
        self.time_s = 1000.0
        self._step_s = step_s

    def now_s(self) -> float:
        return self.time_s

    async def sleep(self, duration_s: float) -> None:
        until_s = self.time_s + duration_s
        while self.time_s < until_s:
            await asyncio.sleep(0)
            self.time_s += self._step_s
