"""A run in which nothing has changed: 100 jobs of 10 files each, beside turborepo and doit, which compare content too.

All have run before; the run that is measured must execute nothing. Rounds alternate, so that a busy machine disturbs
all alike; the medians count, of the wall time and of the processor's time. turborepo is installed into a temporary
folder by npm (where that cannot be, it is left out and said so), and measured as people start it, through its launcher
in node_modules/.bin, and as the program behind that. Prints the ratios, and writes build/bench/cached_run.json.

Usage: python bench/cached_run.py [ROUNDS]
"""

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

BIN = Path(sys.executable).parent
RESULTS = Path(__file__).parents[1] / "build" / "bench" / "cached_run.json"
JOBS = 100
FILES = 10
TURBO = "turbo@2.11"
OPENBELL = [str(BIN / "openbell"), "run", "--json", "--no-deploy"]
DOIT = [str(BIN / "doit"), "run", "--verbosity", "0"]
DODO = """
from pathlib import Path


def task_check():
    for folder in sorted(Path("data").iterdir()):
        yield {"name": folder.name, "file_dep": [str(f) for f in sorted(folder.iterdir())], "actions": ["true"]}
"""
QUIET = {"TURBO_TELEMETRY_DISABLED": "1", "DO_NOT_TRACK": "1", "TURBO_NO_UPDATE_NOTIFIER": "1", "NO_COLOR": "1"}


class Times(NamedTuple):
    """How long a run took, and how much of the processor it and its children used."""

    wall_ms: float
    cpu_ms: float

    @classmethod
    def median(cls, times: "list[Times]") -> "Times":
        """Take the median of each."""
        return cls(statistics.median(one.wall_ms for one in times), statistics.median(one.cpu_ms for one in times))


def prepare(folder: Path) -> None:
    """Make a repository of one commit that all three can run; turborepo's package files are among the ten."""
    jobs = ['[project]\nname = "cached"\n']
    for number in range(JOBS):
        data = folder / "data" / f"{number:03}"
        data.mkdir(parents=True)
        package = {"name": f"p{number:03}", "version": "0.0.0", "scripts": {"check": "true"}}
        (data / "package.json").write_text(json.dumps(package))
        for index in range(FILES - 1):
            (data / f"{index}.txt").write_text(f"{number} {index}\n" * 20)
        jobs.append(f'[jobs.check-{number:03}]\nstage = "quality"\nrun = "true"\ninputs = ["data/{number:03}/**"]\n')
    (folder / "openbell.toml").write_text("\n".join(jobs))
    (folder / "dodo.py").write_text(DODO)
    (folder / ".gitignore").write_text(".openbell/\n.doit.db*\n__pycache__/\n.turbo/\nnode_modules/\n")
    (folder / "turbo.json").write_text(json.dumps({"tasks": {"check": {"outputs": []}}}))
    root = {"name": "cached", "private": True, "packageManager": "npm@10.0.0", "workspaces": ["data/*"]}
    (folder / "package.json").write_text(json.dumps(root))
    identity = ["-c", "user.name=bench", "-c", "user.email=bench@example.com"]
    for arguments in (["init", "-q", "-b", "feature"], ["add", "."], [*identity, "commit", "-q", "-m", "feat: first"]):
        subprocess.run(["git", *arguments], cwd=folder, check=True)


def install_turbo(folder: Path) -> dict[str, list[str]]:
    """Install turborepo into a folder of its own, and say how it is started; not at all where it cannot be had."""
    if shutil.which("npm") is None:
        return {}
    folder.mkdir()
    (folder / "package.json").write_text("{}")
    command = ["npm", "install", "--no-audit", "--no-fund", "--silent", TURBO]
    if subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode:
        return {}
    arguments = ["run", "check", "--output-logs=none", "--no-daemon"]
    commands = {"turbo run": [str(folder / "node_modules" / ".bin" / "turbo"), *arguments]}
    for path in (folder / "node_modules").glob("**/bin/turbo"):
        if not path.is_symlink() and path.read_bytes()[:4] == b"\x7fELF":
            commands["turbo (program)"] = [str(path), *arguments]
    return commands


def run(command: list[str], folder: Path) -> tuple[Times, str]:
    """Run once; return its times in milliseconds and what was printed. A failure ends the measurement."""
    env = {**os.environ, **QUIET, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    for name in ("OPENBELL_STATE", "PYTHONDONTWRITEBYTECODE"):  # as on a machine where people work
        env.pop(name, None)
    before, started_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        command, cwd=folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    wall_ms = (time.perf_counter() - started_s) * 1000
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_ms = (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime) * 1000
    if done.returncode:
        sys.exit(f"cached_run: {' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return Times(wall_ms, cpu_ms), done.stdout


def executed(printed: str) -> int:
    """Count the jobs that a run of openbell executed, from what it printed."""
    return sum(job["outcome"] != "cached" for job in json.loads(printed)["jobs"])


def measure(
    folders: dict[str, Path], commands: dict[str, list[str]], rounds: int
) -> tuple[Times, dict[str, list[Times]]]:
    """Run all once to fill their caches, then in turn; returns our first time and all times after it."""
    first, printed = run(OPENBELL, folders["openbell run"])
    if executed(printed) != JOBS:
        sys.exit(f"cached_run: the first run executed {executed(printed)} of {JOBS} jobs")
    times: dict[str, list[Times]] = {name: [] for name in commands}
    for round_number in range(-1, rounds):
        for name, command in commands.items():
            each, printed = run(command, folders[name])
            if round_number < 0:
                continue
            if name == "openbell run" and executed(printed):
                sys.exit(f"cached_run: the run that is measured executed {executed(printed)} jobs")
            if name.startswith("turbo") and f"{JOBS} cached" not in printed:
                sys.exit(f"cached_run: turbo did not find everything cached:\n{printed}")
            times[name].append(each)
    return first, times


def main() -> None:
    """Measure, print and record."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 11
    with tempfile.TemporaryDirectory() as temporary:
        commands = {"openbell run": OPENBELL, "doit run": DOIT}
        turbo = install_turbo(Path(temporary) / "npm")
        commands |= turbo
        if not turbo:
            print("cached run: turborepo cannot be installed here, and is left out")
        # Each has a copy of its own: what one leaves in the tree is no input of the others.
        folders = {name: Path(temporary) / name.translate(str.maketrans(" ()", "---")) for name in commands}
        for folder in folders.values():
            folder.mkdir()
            prepare(folder)
        first, times = measure(folders, commands, rounds)
    report(first, {name: Times.median(each) for name, each in times.items()}, rounds)


def report(first: Times, medians: dict[str, Times], rounds: int) -> None:
    """Print the times and the ratios, and write the record."""
    print(f"cached run: {JOBS} jobs of {FILES} files, medians of {rounds} rounds")
    ours = medians["openbell run"]
    for name, each in medians.items():
        ratio = f"   openbell takes {ours.wall_ms / each.wall_ms:.2f} of it" if name != "openbell run" else ""
        print(f"  {name:<16} {each.wall_ms:6.0f} ms, {each.cpu_ms:5.0f} ms of the processor{ratio}")
    print(f"  (the first run of openbell took {first.wall_ms:.0f} ms)")
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    record: dict[str, Any] = {"jobs": JOBS, "files": FILES, "rounds": rounds, "first": first._asdict()}
    record["median"] = {name: each._asdict() for name, each in medians.items()}
    RESULTS.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
