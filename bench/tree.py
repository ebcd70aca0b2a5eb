"""A large tree: what knowing it costs, and what runs when one file of it has changed.

- 100,000 files: the first look reads all, the second none; beside `git status`, which looks at the same files.
- 10,000 files in 100 jobs and one that takes what another left: one file is changed; only what depends on it may run.
- Names of contents: SHA-1 (git's), SHA-256, and BLAKE3 where its package is there, over 64 MB and 10,000 small files.

Prints what was measured and writes build/bench/tree.json. Usage: python bench/tree.py
"""

import hashlib
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from openbell.adapters import git

BIN = Path(sys.executable).parent
RESULTS = Path(__file__).parents[1] / "build" / "bench" / "tree.json"
ROUNDS = 5
SETTLED_S = 2.1
"""A file that was changed just before it was read is read again; the second look is after that."""


def write_tree(folder: Path, folders: int, files: int, configuration: str) -> None:
    """Make a repository of one commit with so many files in so many folders."""
    for number in range(folders):
        below = folder / "src" / f"{number:04}"
        below.mkdir(parents=True)
        for index in range(files):
            (below / f"{index:03}.py").write_text(f"value = {number * files + index}\n" * 10)
    (folder / "openbell.toml").write_text(configuration)
    (folder / ".gitignore").write_text(".openbell/\n")
    identity = ["-c", "user.name=bench", "-c", "user.email=bench@example.com"]
    for arguments in (["init", "-q", "-b", "feature"], ["add", "."], [*identity, "commit", "-q", "-m", "feat: first"]):
        subprocess.run(["git", *arguments], cwd=folder, check=True)


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Do it, and say how many milliseconds it took."""
    started_s = time.perf_counter()
    found = work()
    return (time.perf_counter() - started_s) * 1000, found


def look() -> dict[str, float]:
    """Look at a tree of 100,000 files again and again."""
    with tempfile.TemporaryDirectory() as temporary:
        folder, index = Path(temporary) / "tree", Path(temporary) / "state" / "index"
        folder.mkdir()
        index.parent.mkdir()
        write_tree(folder, 1000, 100, '[project]\nname = "large"\n')
        time.sleep(SETTLED_S)
        first_ms, seen = timed(lambda: git.snapshot(folder, index=index))
        if seen.read_files < 100_000:
            sys.exit(f"tree: the first look read {seen.read_files} files")
        ours, peers = [], []
        for _ in range(ROUNDS):
            took_ms, seen = timed(lambda: git.snapshot(folder, index=index))
            if seen.read_files:
                sys.exit(f"tree: {seen.read_files} files were read again")
            ours.append(took_ms)
            status = ["git", "status", "--porcelain=v2", "--untracked-files=all"]
            peers.append(timed(lambda: subprocess.run(status, cwd=folder, check=True, capture_output=True))[0])  # noqa: B023
    return {"first_ms": first_ms, "again_ms": statistics.median(ours), "git_status_ms": statistics.median(peers)}


def change_one() -> dict[str, Any]:
    """Change one of 10,000 files, and see which of 102 jobs run."""
    jobs = ['[project]\nname = "many"\n']
    for number in range(100):
        script = "cat src/*/*.py | sort | tail -1 > {out}/last" if number == 7 else "true"
        jobs.append(f'[jobs.j{number:03}]\nstage = "test"\nrun = "{script}"\ninputs = ["src/{number:04}/**"]')
        jobs.append('outputs = ["last"]' if number == 7 else "")
    alone = 'inputs = ["openbell.toml"]'
    jobs.append(f'[jobs.takes]\nstage = "test"\nneeds = ["j007"]\nrun = "cat {{artifacts}}/last"\n{alone}')
    jobs.append(f'[jobs.other]\nstage = "test"\nneeds = ["j008"]\nrun = "true"\n{alone}')
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_tree(folder, 100, 100, "\n".join(jobs))
        run(folder)
        (folder / "src/0007/050.py").write_text("value = 999999\n")
        took_ms, executed = timed(lambda: run(folder))
    if executed != ["j007", "takes"]:
        sys.exit(f"tree: one file of job j007 was changed, and these ran: {executed}")
    return {"took_ms": took_ms, "executed": executed}


def run(folder: Path) -> list[str]:
    """Run the pipeline, and name the jobs that were executed."""
    env = {**os.environ, "OPENBELL_STATE": ""}
    command = [str(BIN / "openbell"), "run", "--json", "--no-deploy"]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=True)
    return [job["name"] for job in json.loads(done.stdout)["jobs"] if job["outcome"] != "cached"]


def names() -> dict[str, dict[str, float]]:
    """Name contents in the ways that are there."""
    ways: dict[str, Callable[[bytes], Any]] = {
        "sha1": lambda content: hashlib.sha1(content, usedforsecurity=False).digest(),
        "sha256": lambda content: hashlib.sha256(content).digest(),
    }
    try:
        blake3 = importlib.import_module("blake3").blake3
        ways["blake3"] = lambda content: blake3(content).digest()
    except ImportError:
        print("tree: BLAKE3 is not installed, and is left out (pip install blake3)")
    large, small = os.urandom(64_000_000), [os.urandom(1000) for _ in range(10_000)]
    found = {}
    for name, way in ways.items():
        large_ms = statistics.median(timed(lambda: way(large))[0] for _ in range(ROUNDS))  # noqa: B023
        small_ms = statistics.median(timed(lambda: [way(each) for each in small])[0] for _ in range(ROUNDS))  # noqa: B023
        found[name] = {"large_mb_per_s": 64_000 / large_ms, "small_us": small_ms * 1000 / len(small)}
    return found


def main() -> None:
    """Measure, print and record."""
    looked, changed, hashed = look(), change_one(), names()
    print("tree of 100,000 files")
    print(f"  the first look      {looked['first_ms']:6.0f} ms, all are read")
    ratio = looked["again_ms"] / looked["git_status_ms"]
    print(f"  each one after it   {looked['again_ms']:6.0f} ms, none is read; {ratio:.2f} of git status")
    print(f"  git status          {looked['git_status_ms']:6.0f} ms")
    print(f"one of 10,000 files changed: {', '.join(changed['executed'])} of 102 jobs ran, {changed['took_ms']:.0f} ms")
    for name, each in hashed.items():
        print(f"  {name:<7} {each['large_mb_per_s']:6.0f} MB/s, {each['small_us']:.2f} us for 1 kB")
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps({"look": looked, "change": changed, "names": hashed}, indent=2) + "\n")


if __name__ == "__main__":
    main()
