"""The ports: what a host asks of the world, as Protocols. Adapters implement them, hosts call them.

Every method that changes the world takes a `key` derived from rollout, step and attempt: called twice with the same
key it has the effect of one call. A failure is an `AdapterError` that says whether the effect was `not_applied` or is
`unknown`; anything else that escapes an adapter is a defect.
"""

from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

import msgspec

from openbell.core.analysis.limits import Sample, SideHealth
from openbell.core.pipeline import JobNode, JobResult

if TYPE_CHECKING:
    # Not imported when openbell starts: a run in which everything is cached needs no event loop.
    import asyncio
    from pathlib import Path

Effect = Literal["not_applied", "unknown"]
E = TypeVar("E")


class AdapterError(Exception):
    """A failure at the boundary: which system, which operation, may it be tried again, and did it take effect."""

    def __init__(
        self, system: str, operation: str, message: str, *, retryable: bool = False, effect: Effect = "unknown"
    ) -> None:
        super().__init__(f"{system}: {operation}: {message}")
        self.system = system
        self.operation = operation
        self.message = message
        self.retryable = retryable
        self.effect = effect


class ReleaseRef(msgspec.Struct, frozen=True):
    """A release as a platform needs it: its digest, the name people call it, and the folder of its unpacked content."""

    digest: str
    version: str


class RouteChange(msgspec.Struct, frozen=True):
    """What a routing command did: how long the switch itself took, and when (Unix seconds) it was in force."""

    switch_ms: float
    at_s: float


class DrainReport(msgspec.Struct, frozen=True):
    """What a handover moved, per service: sessions, streams or leadership, and what remained at the time-out."""

    service: str
    moved: int
    remaining: int


SLOTS = ("blue", "green")
"""The slots of every environment: what serves is in one, what is brought in is in the other."""


class Held(msgspec.Struct, frozen=True):
    """What an occupied slot holds."""

    digest: str
    version: str
    instances: int


class Platform(Protocol):
    """Where instances of a release run, in two slots per environment ("blue" and "green")."""

    async def place(self, slot: str, release: ReleaseRef, replicas: int, *, timeout_s: float, key: str) -> None:
        """Bring every service of the release to `replicas` healthy instances in the slot; never fewer than are there.

        Returns when all are healthy. Raises `AdapterError` with the instance and its last log lines when one is not
        healthy within `timeout_s`, at once when it cannot become healthy any more.
        """

    async def retire(self, slot: str, replicas: int, *, key: str) -> None:
        """Stop instances of the slot, newest last, until `replicas` of each service are left; SIGTERM, then kill."""

    async def drain(self, slot: str, to: str, keep: int, *, key: str) -> list[DrainReport]:
        """Move what lives on all but `keep` instances to the slot `to`, service by service in the release's order."""

    async def migrate(self, phase: str, digest: str, *, key: str) -> None:
        """Run the release's `expand` or `contract` command against the environment; nothing if it has none."""

    async def observe(self, slot: str) -> SideHealth:
        """Instances, healthy instances, restarts and failed health checks since the slot's release was placed."""


class Router(Protocol):
    """What sends new work to a slot."""

    async def route(self, weights: dict[str, int], sessions: str, *, key: str) -> RouteChange:
        """Send `weights[slot]` percent of new requests and streams to each slot, new FIX sessions to `sessions`.

        One atomic change for all services of the environment. Weights sum to 100.
        """

    async def weights(self) -> dict[str, int]:
        """The weights in force, by slot."""

    async def drift(self) -> str:
        """Who else has changed what the last route command wrote, and how, in words; empty when nobody has."""


class MetricSource(Protocol):
    """What the judge sees."""

    async def sample(self, slot: str) -> Sample:
        """What the slot did since the previous call; `observed` is false when there is no data."""


class Blobs(Protocol):
    """A store of contents by name that machines share. Its methods block, and may be called from several threads.

    They raise a retryable `AdapterError` when it cannot be reached or refuses. Who asks checks what is returned.
    """

    def get(self, name: str, target: "Path", *, size_bytes_max: int) -> bool:
        """Write a content to a file; False when there is none. What is too large is refused."""

    def put(self, name: str, source: "Path") -> None:
        """Keep a file's content under a name; a reader sees all of it or nothing."""

    def remove(self, name: str) -> None:
        """Remove a content, if it is there."""

    def close(self) -> None:
        """Let connections go; nothing is asked any more."""


class Notifier(Protocol):
    """Who is told."""

    async def notify(self, subject: str, text: str, *, urgent: bool, key: str) -> None:
        """Tell the people concerned; urgent pages."""


class Clock(Protocol):
    """Where time comes from outside the core."""

    def now_s(self) -> float:
        """Unix time in seconds."""

    async def sleep(self, duration_s: float) -> None:
        """Let time pass."""


class Record(msgspec.Struct, frozen=True):
    """One event of the journal: its place in its stream, when it happened, its kind and its content as JSON."""

    stream: str
    sequence: int
    at_s: float
    kind: str
    payload: bytes


def decode(record: Record, decoder: msgspec.json.Decoder[E]) -> E:
    """Read one event of the journal. Raises `AdapterError` naming it when it is damaged, or of another openbell."""
    try:
        return decoder.decode(record.payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        message = (
            f"event {record.sequence} of {record.stream} ({record.kind}) cannot be read: {error}. It is damaged, or a "
            "newer openbell wrote it: use that one, or restore the journal from a copy"
        )
        raise AdapterError("journal", "read", message, effect="not_applied") from error


def encode(event: E, decoder: msgspec.json.Decoder[E]) -> tuple[E, bytes]:
    """Write an event down, and read it back: what is decided on is what the journal will give back.

    Raises `AdapterError` when it could not be read again, so that nothing is kept that nobody can read.
    """
    payload = msgspec.json.encode(event)
    try:
        return decoder.decode(payload), payload
    except msgspec.DecodeError as error:
        shown = payload[:200].decode()
        message = f"{type(event).__name__} cannot be written so that it can be read again ({error}): {shown}"
        raise AdapterError("journal", "append", message, effect="not_applied") from error


def requests_of(name: str) -> str:
    """The stream where other processes leave what they ask of whoever drives a rollout, or a run over targets."""
    return f"requests/{name}"


class Journal(Protocol):
    """Append-only record of events. When `append` returns, the event survives a crash of the machine."""

    async def append(self, stream: str, kind: str, payload: bytes, *, at_s: float, expect: int | None = None) -> int:
        """Append to a stream ("run/4f2c", "rollout/r-88") and return the sequence number, from 1 without gaps.

        With `expect` (the sequence the event must get) a concurrent writer is refused with `AdapterError`.
        """

    async def read(self, stream: str, *, after: int = 0, limit: int | None = None) -> list[Record]:
        """The events of a stream after a sequence number, in order: all, or the first `limit`."""

    async def streams(self, prefix: str) -> list[str]:
        """Names of the streams that begin so, oldest first."""

    async def acquire(self, name: str, owner: str, *, ttl_s: float, now_s: float) -> str | None:
        """Take or renew the lease `name`; returns None when it is ours now, else the owner that holds it."""

    async def release(self, name: str, owner: str) -> None:
        """Give the lease up, if it is ours."""


class JobRunner(Protocol):
    """What runs the jobs of a pipeline."""

    async def run(self, node: JobNode, attempt: int, stop: "asyncio.Event") -> JobResult:
        """Run one attempt of a job to its end and say how it went; when `stop` is set, end all that it started.

        Never raises for what the job did; `AdapterError` means that this machine could not run it at all.
        """


class RunObserver(Protocol):
    """Who watches a run."""

    def job_started(self, node: JobNode, attempt: int) -> None:
        """An attempt at a job begins."""

    def job_ended(self, result: JobResult) -> None:
        """A job has its outcome; called once for each job of the run, also for those that never started."""
