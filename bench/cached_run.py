"""A run in which nothing has changed: 100 jobs of 10 files each, beside doit, which compares content too.

Both have run before; the run that is measured must execute nothing. Rounds alternate, so that a busy machine disturbs
both alike; the median counts. Prints the ratio, and writes build/bench/cached_run.json.

Usage: python bench/cached_run.py [ROUNDS]
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
RESULTS = Path(__file__).parents[1] / "build" / "bench" / "cached_run.json"
JOBS = 100
FILES = 10
OPENBELL = [str(BIN / "openbell"), "run", "--stage", "quality", "--json"]
DOIT = [str(BIN / "doit"), "run", "--verbosity", "0"]
DODO = """
from pathlib import Path


def task_check():
    for folder in sorted(Path("data").iterdir()):
        yield {"name": folder.name, "file_dep": [str(f) for f in sorted(folder.iterdir())], "actions": ["true"]}
"""


def prepare(folder: Path) -> None:
    """Make a repository of one commit that both tools can run."""
    jobs = ['[project]\nname = "cached"\n']
    for number in range(JOBS):
        data = folder / "data" / f"{number:03}"
        data.mkdir(parents=True)
        for index in range(FILES):
            (data / f"{index}.txt").write_text(f"{number} {index}\n" * 20)
        jobs.append(f'[jobs.check-{number:03}]\nstage = "quality"\nrun = "true"\ninputs = ["data/{number:03}/**"]\n')
    (folder / "openbell.toml").write_text("\n".join(jobs))
    (folder / "dodo.py").write_text(DODO)
    (folder / ".gitignore").write_text(".openbell/\n.doit.db*\n__pycache__/\n")
    identity = ["-c", "user.name=bench", "-c", "user.email=bench@example.com"]
    for arguments in (["init", "-q", "-b", "develop"], ["add", "."], [*identity, "commit", "-q", "-m", "feat: first"]):
        subprocess.run(["git", *arguments], cwd=folder, check=True)


def run(command: list[str], folder: Path) -> tuple[float, str]:
    """Run once; return the wall time in milliseconds and what was printed. A failure ends the measurement."""
    env = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    env.pop("OPENBELL_STATE", None)
    started_s = time.perf_counter()
    done = subprocess.run(
        command, cwd=folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    duration_ms = (time.perf_counter() - started_s) * 1000
    if done.returncode:
        sys.exit(f"cached_run: {' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return duration_ms, done.stdout


def executed(printed: str) -> int:
    """Count the jobs that a run of openbell executed, from what it printed."""
    return sum(job["outcome"] != "cached" for job in json.loads(printed)["jobs"])


def main() -> None:
    """Measure, print and record."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    ours_ms, peer_ms = [], []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        prepare(folder)
        first_ms, printed = run(OPENBELL, folder)
        if executed(printed) != JOBS:
            sys.exit(f"cached_run: the first run executed {executed(printed)} of {JOBS} jobs")
        run(DOIT, folder)
        for _ in range(rounds):
            duration_ms, printed = run(OPENBELL, folder)
            if executed(printed):
                sys.exit(f"cached_run: the run that is measured executed {executed(printed)} jobs")
            ours_ms.append(duration_ms)
            peer_ms.append(run(DOIT, folder)[0])
    report(first_ms, statistics.median(ours_ms), statistics.median(peer_ms), rounds)


def report(first_ms: float, ours_ms: float, peer_ms: float, rounds: int) -> None:
    """Print the times and the ratio, and write the record."""
    print(f"cached run: {JOBS} jobs of {FILES} files, median of {rounds} rounds")
    print(
        f"  openbell run     {ours_ms:7.0f} ms  {ours_ms / peer_ms:.2f} of doit (the first run took {first_ms:.0f} ms)"
    )
    print(f"  doit run         {peer_ms:7.0f} ms")
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    record = {"jobs": JOBS, "files": FILES, "first_ms": first_ms, "openbell_ms": ours_ms, "doit_ms": peer_ms}
    RESULTS.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
