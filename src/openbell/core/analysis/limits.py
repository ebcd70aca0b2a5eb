"""Fixed limits: the specification's rollback triggers and post-deployment limits, judged over windows of samples.

A sample is what one side of a rollout did in one tick. Rates are judged over a window with a minimum of requests; a
broken rate must stay broken for some ticks; counts (restarts, failed health checks) break at once. What was not
observed is never a pass: the verdict is then undecided, and an undecided verdict never promotes.
"""

import msgspec


LATENCY_EDGES_MS: tuple[int, ...] = (
    1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 32, 40, 50, 63, 79, 100, 126, 158, 200, 251, 316, 398, 500, 631, 794,
    1000, 1259, 1585, 2000, 2512, 3162, 3981, 5012, 6310, 7943, 10000, 20000, 60000,
)  # fmt: skip
"""Upper edges of the latency histogram in milliseconds, ten per decade from 10 ms on; a last bucket is unbounded."""


class Sample(msgspec.Struct, frozen=True):
    """What one side did in one tick: request counts and a latency histogram (counts per bucket of `LATENCY_EDGES_MS`, + 1)."""

    observed: bool
    requests: int = 0
    errors: int = 0
    latency_counts: tuple[int, ...] = ()
    first_at_s: float | None = None
    last_at_s: float | None = None
    source: str = ""


class ServiceHealth(msgspec.Struct, frozen=True):
    """Instances of one service on one side."""

    service: str
    instances: int
    healthy: int


class SideHealth(msgspec.Struct, frozen=True):
    """One side as its platform sees it; counts run since the side's release was placed."""

    observed: bool
    services: tuple[ServiceHealth, ...] = ()
    restarts: int = 0
    failed_health_checks: int = 0
    version: str = ""

    @property
    def healthy(self) -> bool:
        """Every service has an instance, and every instance is healthy."""
        return bool(self.services) and all(s.healthy == s.instances > 0 for s in self.services)
