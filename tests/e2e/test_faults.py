"""What goes wrong around a rollout: each a clear message, a non-zero exit, nothing half-done."""

import contextlib
import copy
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.e2e.product import Product
from tests.e2e.told import TOLD
from tests.troubleshooting import compare

pytestmark = [pytest.mark.slow, pytest.mark.e2e]


@pytest.fixture
def broken_release(product: Product) -> Iterator[str]:
    """A commit whose api never answers, built as a release; returns its tag."""
    original = (product.root / "openbell.toml").read_text()
    changed = original.replace('run = "trading-engine api --port {port}"', 'run = "sleep 1000"')
    assert changed != original
    (product.root / "openbell.toml").write_text(changed.replace("[services.api]", "[services.api]"))
    for command in (("commit", "-qam", "feat: an api that never answers"), ("tag", "-f", "v9.9.9")):
        subprocess.run(["git", *command], cwd=product.root, check=True)
    product.run("run", "--trigger", "tag", "--ref", "v9.9.9", "--no-deploy")
    (product.root / "openbell.toml").write_text(original)
    yield "v9.9.9"
    subprocess.run(["git", "reset", "-q", "--hard", "HEAD~1"], cwd=product.root, check=True)


def test_a_release_that_never_gets_healthy(product: Product, broken_release: str) -> None:
    product.run("deploy", "production", "v1.0.0")
    policy = product.folder / "impatient.toml"
    policy.write_text("[environments.production.rollout]\nhealthy_timeout_s = 10\n")
    ended = product.json("deploy", "production", broken_release, "--policy", str(policy), expect=1)
    assert ended["outcome"] == "rolled-back"
    assert "api" in ended["reason"]
    assert "healthy" in ended["reason"] or "ready" in ended["reason"]
    compare(TOLD["never-healthy"], ended["reason"])
    found = product.json("status", "production")
    assert [(slot["version"], slot["weight_pct"]) for slot in found["slots"]] == [("v1.0.0", 100)]


def test_a_dead_postgresql_comes_back_and_the_release_stays(product: Product) -> None:
    product.run("deploy", "production", "v1.0.0")
    data = str(product.environment().folder / "postgres")
    killed = [p for p in psutil.process_iter(["cmdline"]) if data in " ".join(p.info["cmdline"] or [])]
    assert killed
    for process in killed:
        process.kill()
    psutil.wait_procs(killed, timeout=10)
    product.run("up", "production")
    policy = product.folder / "impatient.toml"
    policy.write_text("[environments.production.rollout]\nundecided_s = 1\n")
    # Smoke tests pass against the database that came back; nobody trades, so the judge leaves the rest to a person.
    # The matcher may still be taking its lead back when the smoke test asks for the first time.
    for _ in range(3):
        waiting = product.json("deploy", "production", "v1.1.0", "--policy", str(policy), expect=None)
        if waiting["outcome"] == "waiting":
            break
    assert "the judge is undecided" in waiting["reason"]
    assert product.json("abort", waiting["id"], expect=1)["outcome"] == "rolled-back"


def test_a_journal_on_a_full_disk_stops_before_anything_is_done(built: Product, tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs the permission to mount a small file system")
    try:
        state = folder / "state"
        state.mkdir()
        shutil.copy(Path(built.env["OPENBELL_STATE"]) / "journal.sqlite", state / "journal.sqlite")
        with contextlib.suppress(OSError), (folder / "rest").open("wb", buffering=0) as rest:
            while rest.write(b"x" * 4096):
                pass
        env = {**built.env, "OPENBELL_STATE": str(state)}
        product = copy.copy(built)
        product.env = env
        done = product.run("deploy", "production", "v1.0.0", expect=1)
        assert "is full" in done.stderr
        compare(TOLD["full-disk"], done.stderr)
        assert not (state / "environments" / "production" / "postgres").exists()
    finally:
        subprocess.run(["umount", str(folder)], check=False)


def test_ctrl_c_leaves_a_rollout_that_can_be_resumed(product: Product) -> None:
    product.run("deploy", "production", "v1.0.0")
    process = product.start("deploy", "production", "v1.1.0")
    for _ in range(200):
        if product.weights().get("green") == 5:
            break
    os.kill(process.pid, 2)
    _, errors = process.communicate()
    assert process.returncode == 130
    assert "openbell resume" in errors
    assert product.weights() == {"blue": 95, "green": 5}
    refused = product.run("down", "production", expect=1)
    assert "has a rollout that has not ended (r-2)" in refused.stderr
    compare(TOLD["not-ended"], refused.stderr)
    assert product.json("abort", "r-2", expect=1)["outcome"] == "rolled-back"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_ways_to_interrupt_a_rollout_end_it_the_same_way(product: Product, number: signal.Signals) -> None:
    process = product.start("deploy", "production", "v1.0.0")
    assert process.stderr is not None
    while "step 3" not in process.stderr.readline():
        assert process.poll() is None
    os.kill(process.pid, number)
    _, errors = process.communicate()
    assert process.returncode == 130
    assert "openbell resume" in errors
    (ended,) = product.json("resume")
    assert ended["outcome"] == "promoted"
