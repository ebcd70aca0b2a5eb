"""Leading and shadowing. A worker always follows the log; when it holds the lease, it is the one that writes.

A shadow applies what the leader has committed and compares the hash of everything it would have emitted with the
leader's. A worker whose hash differs has diverged: it says so, is not ready, and never takes the lease.
"""

import asyncio
import contextlib
import logging
import time

from trading_engine.core.replica import EncodedEvent, Replica
from trading_engine.journal.batch import commit_batch, load_replica, read_progress, write_snapshot
from trading_engine.journal.command_log import read_commands
from trading_engine.journal.database import Database, DatabaseUnavailable
from trading_engine.journal.feed import encode_batch
from trading_engine.journal.hint import Hints
from trading_engine.journal.lease import (
    RENEW_S,
    acquire_lease,
    claim_lead,
    give_up_lease,
    pass_eligibility_on,
    read_lease,
    renew_lease,
)
from trading_engine.journal.listener import Listener
from trading_engine.service.metrics import AGREED, APPLIED, BATCH, DIVERGED, EPOCH, EXECUTION, LAG, LEADER

_COLLECT_S = 0.008
_IDLE_S = 0.1
_SHADOW_S = 0.25
_RETRY_S = 0.2
_STEP_BACK_S = 3.0
_BATCH_MAX = 500
_SNAPSHOT_COMMANDS = 2000
_log = logging.getLogger("trading_engine")


class Diverged(Exception):
    """This worker computed something else than what was committed."""


class Matcher:
    """Follows the log with one replica, and leads while it holds the lease."""

    def __init__(self, database: Database, listener: Listener, hints: Hints, *, owner: str, slot: str) -> None:
        self._database = database
        self._listener = listener
        self._hints = hints
        self._owner = owner
        self._slot = slot
        self._replica: Replica | None = None
        self._epoch: int | None = None
        self._renewed_at = 0.0
        self._step_back_until = 0.0
        self._snapshot_seq = 0
        self._agreed = 0
        self._retired = False
        self._give_up: asyncio.Future[bool] | None = None
        self._to_slot: str | None = None
        self.diverged: str | None = None

    @property
    def leads(self) -> bool:
        """Whether this worker holds the lease, as far as it knows."""
        return self._epoch is not None

    @property
    def caught_up(self) -> bool:
        """Whether this worker has read the log once."""
        return self._replica is not None

    async def run(self) -> None:
        """Follows and leads until cancelled; whatever goes wrong with the database, it starts over from the log."""
        while True:
            try:
                await self._follow()
            except DatabaseUnavailable:
                # What became of the last commit is unknown, so the state in memory is worth nothing.
                self._lose_lead()
                self._replica = None
                await asyncio.sleep(_RETRY_S)
            except Diverged as verdict:
                self._lose_lead()
                self._replica = None
                self.diverged = str(verdict)
                _log.error("diverged %s", verdict)
                DIVERGED.set(1)
                await asyncio.sleep(5)

    def retire(self) -> None:
        """Takes the lead no more, because the process is going to end; what it leads it still hands over."""
        self._retired = True

    async def hand_over(self, to_slot: str | None) -> None:
        """Gives the lead up if we have it: to another slot, or (None) to whoever is eligible besides us.

        Without the lead it only says who is to lead next, should nobody do so now: another slot, or ours, whose workers
        may be asked to take over from a slot that does not answer any more. May be repeated.
        """
        if to_slot == self._slot:
            if not self.leads:
                await claim_lead(self._database, self._slot)
            return
        if self.leads:
            self._to_slot = to_slot
            if self._give_up is None:
                self._give_up = asyncio.get_running_loop().create_future()
            self._listener.wake("commands")
            if await asyncio.shield(self._give_up):
                return
        if to_slot is not None:
            await pass_eligibility_on(self._database, self._slot, to_slot)

    async def _follow(self) -> None:
        if self._replica is None:
            self._replica = await load_replica(self._database)
            self._snapshot_seq = self._replica.applied_seq
        while True:
            await self._shadow(self._replica)
            self.diverged = None
            DIVERGED.set(0)
            wait_s = await self._try_to_lead()
            if self._epoch is not None:
                await self._lead(self._replica)
            else:
                await self._listener.wait_notified("lease", wait_s)

    async def _shadow(self, replica: Replica) -> None:
        """Applies what is committed, and compares."""
        applied_seq, chain = await read_progress(self._database)
        before = replica.applied_seq
        while replica.applied_seq < applied_seq:
            for logged in await read_commands(
                self._database, replica.applied_seq, limit=_BATCH_MAX, upto_seq=applied_seq
            ):
                replica.apply(logged)
            await asyncio.sleep(0)
        if replica.applied_seq == applied_seq and replica.chain != chain:
            raise Diverged(f"at command {applied_seq}: hash {replica.chain}, committed was {chain}")
        if replica.applied_seq > applied_seq:
            raise Diverged(f"applied {replica.applied_seq}, committed is {applied_seq}")
        self._agreed += applied_seq - before
        AGREED.set(self._agreed)
        APPLIED.set(applied_seq)

    async def _try_to_lead(self) -> float:
        """Takes the lease if it is there for us; else returns how long to wait before looking again."""
        if self._retired:
            return _SHADOW_S
        lease = await read_lease(self._database)
        if lease.eligible_slot not in {None, self._slot}:
            return _SHADOW_S
        if lease.free_in_s > 0 and lease.owner != self._owner:
            return min(_SHADOW_S, lease.free_in_s + 0.005)
        step_back_s = self._step_back_until - time.monotonic()
        if step_back_s > 0:
            return min(_SHADOW_S, step_back_s)
        self._epoch = await acquire_lease(self._database, self._owner, self._slot)
        return _IDLE_S

    async def _lead(self, replica: Replica) -> None:
        await self._shadow(replica)  # what the previous leader committed last; from here on nobody else commits
        self._renewed_at = time.monotonic()
        LEADER.set(1)
        _log.info("leads in epoch %d from command %d", self._epoch, replica.applied_seq + 1)
        EPOCH.set(self._epoch or 0)
        try:
            while self._epoch is not None:
                await self._lead_once(replica, self._epoch)
        finally:
            self._lose_lead()

    async def _lead_once(self, replica: Replica, epoch: int) -> None:
        if self._give_up is not None:
            await self._step_down(replica, epoch)
            return
        if time.monotonic() - self._renewed_at > RENEW_S:
            self._renewed_at = time.monotonic()
            if not await renew_lease(self._database, self._owner, epoch):
                self._lose_lead()
                return
        commands = await read_commands(self._database, replica.applied_seq, limit=_BATCH_MAX)
        LAG.set(len(commands))
        if not commands:
            if await self._listener.wait_notified("commands", _IDLE_S):
                await asyncio.sleep(_COLLECT_S)  # a few more commands share the commit
            return
        started = time.perf_counter()
        previous_seq = replica.applied_seq
        events: list[EncodedEvent] = []
        for logged in commands:
            events.extend(replica.apply(logged))
        if not await commit_batch(self._database, self._owner, epoch, previous_seq, replica, events):
            # Fenced: the replica is ahead of the log, so it has to be rebuilt.
            raise DatabaseUnavailable("fenced by a newer epoch")
        BATCH.observe(time.perf_counter() - started)
        committed_at_us = time.time() * 1e6
        for logged in commands:
            EXECUTION.observe(max(0.0, committed_at_us - logged.at_us) / 1e6)
        APPLIED.set(replica.applied_seq)
        await self._hints.publish(encode_batch(previous_seq, replica.applied_seq, events))
        if replica.applied_seq - self._snapshot_seq >= _SNAPSHOT_COMMANDS:
            self._snapshot_seq = replica.applied_seq
            await write_snapshot(self._database, replica.applied_seq, replica.snapshot())

    async def _step_down(self, replica: Replica, epoch: int) -> None:
        """Seals at what is applied and lets go. The rest of the log waits for the next leader."""
        if self._to_slot in {None, self._slot}:  # a sibling goes first; if there is none, this one comes back
            self._step_back_until = time.monotonic() + _STEP_BACK_S
        given_up = await give_up_lease(self._database, self._owner, epoch, replica.applied_seq, self._to_slot)
        if given_up:
            if self._give_up is not None:
                self._give_up.set_result(True)
            _log.info(
                "sealed at command %d and gave epoch %d to %s", replica.applied_seq, epoch, self._to_slot or "a sibling"
            )
        self._epoch = None

    def _lose_lead(self) -> None:
        if self._epoch is not None:
            _log.warning("lost the lead of epoch %d", self._epoch)
        self._epoch = None
        LEADER.set(0)
        LAG.set(0)
        give_up, self._give_up = self._give_up, None
        if give_up is not None and not give_up.done():
            give_up.set_result(False)


async def stop_matcher(task: asyncio.Task[None]) -> None:
    """Cancels a running matcher and waits for its end."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
