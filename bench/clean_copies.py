"""The copy of a tree of 10,000 files that a job gets, beside `cp -a`; linked where no other job will look at it.

Rounds alternate, so that a busy machine disturbs all alike; the median counts. Prints the ratios, and writes
build/bench/clean_copies.json.

Usage: python bench/clean_copies.py [ROUNDS]
"""

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from openbell.adapters.copies import copy_files

RESULTS = Path(__file__).parents[1] / "build" / "bench" / "clean_copies.json"
FILES = 10_000


def measure(act: Callable[[], object], target: Path) -> float:
    """Return how many milliseconds an act takes; what it made is removed."""
    started_s = time.perf_counter()
    act()
    took_ms = (time.perf_counter() - started_s) * 1000
    shutil.rmtree(target)
    return took_ms


def main(rounds: int) -> None:
    """Measure, print and write down."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "source", Path(folder) / "target"
        names = [f"{number % 200}/{number}.py" for number in range(FILES)]
        for number, name in enumerate(names):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes(b"x" * (500 + number % 3000))
        ways: dict[str, Callable[[], object]] = {
            "copied": lambda: copy_files(source, target, names),
            "linked": lambda: copy_files(source, target, names, links=True),
            "cp -a": lambda: subprocess.run(["cp", "-a", str(source), str(target)], check=True),
        }
        took_ms: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, act in ways.items():
                took_ms[name].append(measure(act, target))
    medians = {name: statistics.median(values) for name, values in took_ms.items()}
    for name, median in medians.items():
        print(f"{name:<8} {median:7.0f} ms for {FILES:,} files   {median / medians['cp -a']:.2f} of cp -a")
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps({"files": FILES, "rounds": rounds, "median_ms": medians}, indent=2) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 5)
