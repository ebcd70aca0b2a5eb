"""The engine's own configuration: accepted with and without the demo's policy, and nothing in it points nowhere."""

import os
import subprocess
from pathlib import Path

import pytest

from openbell.adapters import git
from openbell.core.trigger import Trigger, plan
from openbell.ports import AdapterError
from openbell.wiring.project import check_files, open_project

ENGINE = Path(__file__).parents[2] / "engine"


@pytest.mark.parametrize("policies", [(), ("policy.demo.toml",)])
def test_the_engine_is_sound(policies: tuple[str, ...]) -> None:
    place = open_project(ENGINE, policies)
    try:
        files = git.list_files(ENGINE)
    except AdapterError:
        pytest.skip("not in a repository: an unpacked archive")
    assert check_files(place.configuration, files) == []


def test_the_engine_goes_the_way_of_the_specification() -> None:
    project = open_project(ENGINE).project
    assert set(project.services) == {"api", "websocket", "fix-gateway", "worker"}
    develop, tag = plan(project, Trigger("push", "develop")), plan(project, Trigger("tag", "v1.0.0", "tag"))
    assert (develop.environments, tag.environments) == (("staging",), ("production",))
    assert "benchmark" in plan(project, Trigger("pull-request", "feature/x")).jobs
    assert project.jobs["coverage"].coverage_min_pct == 70
    staging, production = project.environments["staging"], project.environments["production"]
    assert (staging.strategy, staging.smoke, staging.after) == ("rolling", "smoke", ("load",))
    assert (production.strategy, production.replicas) == ("blue-green", 5)
    assert production.approval is not None
    assert (production.rollout.weight_pct, production.rollout.hold_s, production.rollout.watch_s) == (5, 300, 600)


def test_the_demo_shortens_and_loosens_nothing() -> None:
    real, demo = open_project(ENGINE).project, open_project(ENGINE, ("policy.demo.toml",)).project
    for name, environment in real.environments.items():
        shown = demo.environments[name]
        assert shown.rollout.weight_pct == environment.rollout.weight_pct
        assert shown.rollback_on.error_rate_pct_max == environment.rollback_on.error_rate_pct_max
        assert shown.rollback_on.p95_ms_max == environment.rollback_on.p95_ms_max
        assert shown.approval == environment.approval


def test_the_key_of_the_load_test_is_in_no_list_of_processes(tmp_path: Path) -> None:
    (tmp_path / "k6").write_text('#!/bin/sh\necho "$*"\necho "key $API_KEY"\n')
    (tmp_path / "k6").chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.defpath}", "PROFILE": "demo", "TRADING_ENGINE_API_KEYS": "k3y:customer,other:smoke"}
    script = open_project(ENGINE).project.jobs["load"].run
    shown = subprocess.run(["bash", "-euc", script], env=env, capture_output=True, text=True, check=True).stdout
    arguments, key = shown.splitlines()
    assert "k3y" not in arguments
    assert key == "key k3y"
