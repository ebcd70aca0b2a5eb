"""A platform, a router and a metric source in memory, held to the behaviour of the real ones by tests/conformance."""

import bisect
import random
import time

import msgspec

from openbell.core.analysis.limits import LATENCY_EDGES_MS, Sample, ServiceHealth, SideHealth
from openbell.core.project import Project
from openbell.ports import SLOTS, AdapterError, DrainReport, ReleaseRef, RouteChange


class Content(msgspec.Struct, frozen=True):
    """What a release is in memory: its project, and how its instances behave."""

    project: Project
    env: dict[str, str]


class Placed(msgspec.Struct):
    """What a slot holds: instances per service, oldest first, and what lives in them."""

    release: ReleaseRef
    content: Content
    instances: dict[str, list[str]]
    sessions: dict[str, int] = {}


class FakeWorld:
    """One environment in memory. Implements `Platform`, `Router` and `MetricSource`."""

    def __init__(self) -> None:
        self.is_up = True
        self._releases: dict[str, Content] = {}
        self._slots: dict[str, Placed] = {}
        self._weights = dict.fromkeys(SLOTS, 0)
        self._written = dict(self._weights)
        self._routes: dict[str, RouteChange] = {}
        self._migrated: dict[str, None] = {}
        self._pending: dict[str, list[tuple[int, float]]] = {slot: [] for slot in SLOTS}
        self._random = random.Random(1)  # noqa: S311  (the same draws in every run)
        self.migrations: list[str] = []

    def add(self, release: ReleaseRef, project: Project, env: dict[str, str]) -> None:
        """Make a release known, as the build stage does."""
        self._releases[release.digest] = Content(project, env)

    def closed(self) -> list[str]:
        """Paths that no customer may ask for."""
        placed = self._slots.values()
        return [path for one in placed for service in one.content.project.services.values() for path in service.closed]

    async def place(self, slot: str, release: ReleaseRef, replicas: int, *, timeout_s: float, key: str) -> None:
        content = self._content(release.digest)
        placed = self._slots.get(slot)
        if placed and placed.release.digest != release.digest:
            message = f"slot {slot} holds {placed.release.version}"
            raise AdapterError("fake", "place", message, effect="not_applied")
        misbehaviour = content.env.get("FAIL")
        if misbehaviour in ("start", "ready"):
            message = f"{slot}-api-1 did not get ready within {timeout_s:g} s; the configuration is broken"
            raise AdapterError("fake", "place", message, effect="not_applied")
        placed = placed or Placed(release, content, {name: [] for name in content.project.service_order})
        for service, instances in placed.instances.items():
            taken = set(instances)
            names = (name for n in range(1, 100) if (name := f"{slot}-{service}-{n}") not in taken)
            instances += [next(names) for _ in range(replicas - len(instances))]
        self._slots[slot] = placed

    async def retire(self, slot: str, replicas: int, *, key: str) -> None:
        placed = self._slots.get(slot)
        if placed:
            for service, instances in placed.instances.items():
                placed.instances[service] = instances[max(0, len(instances) - replicas) :]
            if replicas == 0:
                del self._slots[slot]

    async def drain(self, slot: str, to: str, keep: int, *, key: str) -> list[DrainReport]:
        placed = self._slots.get(slot)
        if placed is None:
            return []
        return [DrainReport(service, 0, 0) for service, instances in placed.instances.items() if len(instances) > keep]

    async def migrate(self, phase: str, digest: str, *, key: str) -> None:
        settings = self._content(digest).project.release
        command = settings.expand if phase == "expand" else settings.contract
        if command is None or key in self._migrated:
            return
        if command == "false":
            raise AdapterError("fake", phase, f"`{command}` ended with 1")
        self._migrated[key] = None
        self.migrations.append(phase)

    async def observe(self, slot: str) -> SideHealth:
        placed = self._slots.get(slot)
        if placed is None:
            return SideHealth(observed=True)
        services = tuple(
            ServiceHealth(name, len(instances), len(instances)) for name, instances in placed.instances.items()
        )
        return SideHealth(observed=True, services=services, version=placed.release.version)

    async def route(self, weights: dict[str, int], sessions: str, *, key: str) -> RouteChange:
        if sum(weights.values()) != 100 or min(weights.values()) < 0 or not {*weights, sessions} <= set(SLOTS):
            raise AdapterError("fake", "route", f"weights {weights} are impossible", effect="not_applied")
        for slot in [sessions, *(slot for slot, weight in weights.items() if weight)]:
            if slot not in self._slots:
                raise AdapterError("fake", "route", f"slot {slot} has no instance", effect="not_applied")
        if key not in self._routes:
            self._routes[key] = RouteChange(0.01, time.time())
            self._weights = {slot: weights.get(slot, 0) for slot in SLOTS}
            self._written = dict(self._weights)
        return self._routes[key]

    async def weights(self) -> dict[str, int]:
        return dict(self._weights)

    async def drift(self) -> str:
        return "" if self._weights == self._written else f"somebody set {self._weights}"

    def disturb(self) -> None:
        """Change the weights as somebody else would."""
        self._weights = {"blue": 1, "green": 99}

    async def sample(self, slot: str) -> Sample:
        if not self.is_up:
            return Sample(observed=False, source="fake is down")
        finished, self._pending[slot] = self._pending[slot], []
        counts = [0] * (len(LATENCY_EDGES_MS) + 1)
        for _, duration_ms in finished:
            counts[bisect.bisect_left(LATENCY_EDGES_MS, duration_ms)] += 1
        at_s = time.time() if finished else None
        errors = sum(status >= 500 for status, _ in finished)
        return Sample(True, len(finished), errors, tuple(counts), at_s, at_s, "fake")

    def request(self) -> tuple[int, str]:
        """Do what a customer's request does; returns its status and the slot that answered."""
        draw = self._random.randrange(100)
        slot = "green" if draw < self._weights["green"] else "blue"
        env = self._slots[slot].content.env
        status = 500 if env.get("ERRORS") == "1" else 200
        self._pending[slot].append((status, 1000 * float(env.get("LATENCY_S", "0")) + 0.5))
        return status, slot

    def _content(self, digest: str) -> Content:
        if digest not in self._releases:
            raise AdapterError("fake", "load release", f"there is no release {digest}", effect="not_applied")
        return self._releases[digest]
