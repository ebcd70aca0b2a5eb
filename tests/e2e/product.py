"""The product as a user has it: a project of its own, commands as processes, exit codes, JSON on standard output."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from openbell.wiring.environment import Environment
from openbell.wiring.project import open_project

APPROVER = "release.manager@trading-engine.example"
POLICY = """
[environments.production]
replicas = 2
requires_passed = []
[environments.production.rollout]
hold_s = 2
watch_s = 1
tick_s = 0.25
undecided_s = 30
[environments.production.rollback_on]
window_s = 10
[environments.staging.rollout]
tick_s = 0.25
"""
COMMAND = [sys.executable, "-c", "from openbell.cli.main import main; main()"]


class Product:
    """One project with its own state; commands run in it as a user would type them."""

    def __init__(self, folder: Path, *policies: str) -> None:
        self.folder = folder
        self.root = folder / "project"
        self.env = {
            **os.environ,
            "OPENBELL_STATE": str(folder / "state"),
            "OPENBELL_POLICY": os.pathsep.join((str(folder / "policy.toml"), *policies)),
            "TRADING_ENGINE_API_KEYS": os.environ.get("TRADING_ENGINE_API_KEYS")
            or "key-of-a-customer:customer,key-of-smoke:smoke",
        }
        (folder / "policy.toml").write_text(POLICY)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command and do not wait for it."""
        return subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=self.root,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, expect: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; no command may ever show a traceback."""
        with self.start(*arguments) as process:
            output, errors = process.communicate()
        done = subprocess.CompletedProcess(arguments, process.returncode, output, errors)
        assert "Traceback" not in errors, errors
        assert expect is None or done.returncode == expect, f"exit code {done.returncode}\n{errors}\n{output}"
        return done

    def json(self, *arguments: str, expect: int | None = 0) -> Any:
        """Run a command and read its document; nothing else may be on standard output."""
        return json.loads(self.run(*arguments, "--json", expect=expect).stdout)

    def environment(self, name: str = "production") -> Environment:
        """Open an environment as the product does."""
        place = open_project(self.root)
        state = type(place.state)(self.folder / "state")
        return Environment(place.project, name, state)

    def weights(self) -> dict[str, int]:
        """Weights of the slots in production, as `status` shows them."""
        found = self.json("status", "production")
        return {slot["slot"]: slot["weight_pct"] for slot in found["slots"]}


def strip_pipeline(text: str) -> str:
    """Leave out the jobs of quality and test, whose work is tested elsewhere, and the need for an approval."""
    jobs = tomllib.loads(text)["jobs"]
    unwanted = {name for name, job in jobs.items() if job["stage"] in ("quality", "test")}
    kept, skipping = [], False
    for line in text.splitlines():
        if line.startswith("["):
            skipping = any(line.startswith((f"[jobs.{name}]", f"[jobs.{name}.")) for name in unwanted)
        if not skipping and not line.startswith("approval ="):
            kept.append(line)
    return "\n".join(kept) + "\n"
