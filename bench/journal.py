"""What a durable event costs: the journal, beside a file that is appended to and synced, which is the least it can be.

Rounds alternate, so that a busy disk disturbs both alike; the median round counts. Prints the ratio, and writes
build/bench/journal.json.

Usage: python bench/journal.py [EVENTS]
"""

import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from openbell.adapters.sqlite import SqliteJournal

RESULTS = Path(__file__).parents[1] / "build" / "bench" / "journal.json"
ROUNDS = 5
PAYLOAD = json.dumps({"event": "Ticked", "tick": {"at_s": 0.0, "samples": list(range(40))}}).encode()


async def append_events(path: Path, events: int) -> float:
    """Append to a journal, each event committed before the next; return microseconds per event."""
    async with SqliteJournal(path) as journal:
        await journal.append("rollout/bench", "Begun", PAYLOAD, at_s=0.0)
        started_s = time.perf_counter()
        for number in range(events):
            await journal.append("rollout/bench", "Ticked", PAYLOAD, at_s=float(number))
        return (time.perf_counter() - started_s) * 1e6 / events


def append_lines(path: Path, events: int) -> float:
    """Append the same bytes to a file and sync it each time; return microseconds per line."""
    with path.open("wb", buffering=0) as file:
        started_s = time.perf_counter()
        for _ in range(events):
            file.write(PAYLOAD + b"\n")
            os.fdatasync(file.fileno())
        return (time.perf_counter() - started_s) * 1e6 / events


def main() -> None:
    """Measure, print and record."""
    events = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    journal_us, file_us = [], []
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    # Beside the results, not in /tmp: that may be memory, where a sync costs nothing.
    with tempfile.TemporaryDirectory(dir=RESULTS.parent) as folder:
        for number in range(ROUNDS):
            journal_us.append(asyncio.run(append_events(Path(folder) / f"{number}.sqlite", events)))
            file_us.append(append_lines(Path(folder) / f"{number}.lines", events))
    ours_us, floor_us = statistics.median(journal_us), statistics.median(file_us)
    print(f"journal: median of {ROUNDS} rounds of {events} events")
    print(f"  append           {ours_us:7.0f} us  {ours_us / floor_us:.2f} of write + fdatasync")
    print(f"  write, fdatasync {floor_us:7.0f} us")
    RESULTS.write_text(json.dumps({"events": events, "append_us": ours_us, "fdatasync_us": floor_us}, indent=2) + "\n")


if __name__ == "__main__":
    main()
