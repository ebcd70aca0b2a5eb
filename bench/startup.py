"""How long a person waits before the first word, beside nox, which reads a configuration and says what would run too.

Every command is run in turn, round after round, so that a busy machine disturbs all alike; the median counts. Prints
the ratio to the peer, and writes build/bench/startup.json.

Usage: python bench/startup.py [ROUNDS]
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BIN = Path(sys.executable).parent
RESULTS = Path(__file__).parents[1] / "build" / "bench" / "startup.json"
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "openbell --help": [str(BIN / "openbell"), "--help"],
    "nox --help": [str(BIN / "nox"), "--help"],
    "openbell check": [str(BIN / "openbell"), "check"],
    "nox --list": [str(BIN / "nox"), "--list"],
}
PEERS = {"openbell --help": "nox --help", "openbell check": "nox --list"}
CONFIGURATION = """\
[project]
name = "example"
[jobs.lint]
stage = "quality"
run = "true"
"""


def measure(command: list[str], folder: Path) -> float:
    """Run once, and return the wall time in milliseconds; a command that fails ends the measurement."""
    started_s = time.perf_counter()
    done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    duration_ms = (time.perf_counter() - started_s) * 1000
    if done.returncode:
        sys.exit(f"startup: {' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return duration_ms


def prepare(folder: Path) -> None:
    """Make the smallest project that both can read, a repository with one commit."""
    (folder / "openbell.toml").write_text(CONFIGURATION)
    (folder / "noxfile.py").write_text("import nox\n\n\n@nox.session\ndef lint(session):\n    session.run('true')\n")
    identity = ["-c", "user.name=bench", "-c", "user.email=bench@example.com"]
    for arguments in (["init", "-q", "-b", "develop"], ["add", "."], [*identity, "commit", "-q", "-m", "feat: first"]):
        subprocess.run(["git", *arguments], cwd=folder, check=True)


def main() -> None:
    """Measure, print and record."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    times_ms: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        prepare(folder)
        for round_number in range(rounds + 1):
            for name, command in COMMANDS.items():
                duration_ms = measure(command, folder)
                if round_number:  # the first round fills the caches of the file system
                    times_ms[name].append(duration_ms)
    report({name: statistics.median(times) for name, times in times_ms.items()}, rounds)


def report(medians_ms: dict[str, float], rounds: int) -> None:
    """Print one line per command, with the ratio to its peer, and write the record."""
    print(f"startup: median of {rounds} rounds")
    for name, median_ms in medians_ms.items():
        peer = PEERS.get(name)
        ratio = f"  {median_ms / medians_ms[peer]:.2f} of {peer}" if peer else ""
        print(f"  {name:<16} {median_ms:7.1f} ms{ratio}")
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps({"rounds": rounds, "median_ms": medians_ms}, indent=2) + "\n")


if __name__ == "__main__":
    main()
