"""The judge of benchmarks on this machine: how often it finds a planted slowdown of 20 %, how often it cries wolf.

Each trial is a real `openbell bench` in a project of one commit before and one after; the benchmark is a loop of
Python, whose length the commit changes by 20 % or not at all. One number per side, the way that it is done without
repeating, is judged beside it on the same measurements. Prints both, and writes build/bench/benchmark_judge.json.

Usage: python bench/benchmark_judge.py [TRIALS]
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BIN = Path(sys.executable).parent
RESULTS = Path(__file__).parents[1] / "build" / "bench" / "benchmark_judge.json"
LOOPS = 100_000
PROJECT = """
[project]
name = "judged"
[jobs.speed]
stage = "test"
run = "python3 measure.py > {out}/bench.txt"
reports = { gobench = "bench.txt" }
regression_max_pct = 10
"""
MEASURE = """
import time
loops = int(open("loops.txt").read())
for _ in range(9):
    began_ns = time.perf_counter_ns()
    total = 0
    for number in range(loops):
        total += number
    print(f"BenchmarkLoop 1 {time.perf_counter_ns() - began_ns} ns/op")
"""
BOUND = 1.1


def commit(folder: Path, loops: int) -> None:
    """Commit a benchmark of so many loops."""
    (folder / "loops.txt").write_text(f"{loops}\n")
    identity = ["-c", "user.name=bench", "-c", "user.email=bench@example.com"]
    for arguments in (["add", "."], [*identity, "commit", "-q", "--allow-empty", "-m", f"feat: {loops}"]):
        subprocess.run(["git", *arguments], cwd=folder, check=True)


def single(folder: Path) -> float:
    """Measure once, by the median of one run, as a comparison of one number with another would."""
    done = subprocess.run([sys.executable, "measure.py"], cwd=folder, capture_output=True, text=True, check=True)
    return statistics.median(float(line.split()[2]) for line in done.stdout.splitlines())


def trial(ratio: float) -> dict[str, object]:
    """Judge one change by its repeated runs, and by one number each."""
    with tempfile.TemporaryDirectory(prefix="openbell-bench-") as name:
        folder = Path(name)
        (folder / "openbell.toml").write_text(PROJECT)
        (folder / "measure.py").write_text(MEASURE)
        (folder / ".gitignore").write_text(".openbell/\n")
        subprocess.run(["git", "init", "-q", "-b", "main"], cwd=folder, check=True)
        commit(folder, LOOPS)
        before_ns = single(folder)
        commit(folder, round(LOOPS * ratio))
        once = single(folder) / before_ns
        env = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
        env.pop("OPENBELL_STATE", None)
        began_s = time.perf_counter()
        done = subprocess.run(
            [str(BIN / "openbell"), "bench", "--json"], cwd=folder, env=env, capture_output=True, text=True, check=False
        )
        took_s = time.perf_counter() - began_s
    found = json.loads(done.stdout)
    rounds = found["benchmarks"][0]["rounds"] if found["benchmarks"] else 0
    return {"verdict": found["verdict"], "rounds": rounds, "took_s": round(took_s, 1), "once": round(once, 3)}


def main() -> None:
    """Run the trials of both kinds by turns, and print what came of them."""
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    found: dict[str, list[dict[str, object]]] = {"20 % slower": [], "unchanged": []}
    for _ in range(trials):
        for kind, ratio in (("20 % slower", 1.2), ("unchanged", 1.0)):
            found[kind].append(trial(ratio))
    load = os.getloadavg()[0]
    for kind, all_ in found.items():
        verdicts = [one["verdict"] for one in all_]
        once = sum(float(str(one["once"])) > BOUND for one in all_)
        rounds = sorted(int(str(one["rounds"])) for one in all_)[trials // 2]
        counts = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in sorted(set(map(str, verdicts))))
        print(f"{kind:<12} {trials} trials: {counts} (median {rounds} rounds); by one number each: {once} slower")
    print(f"load of the machine at the end: {load:.1f} on {os.cpu_count()} processors")
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps({"trials": trials, "load": load, "found": found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
