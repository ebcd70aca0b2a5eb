"""Migrations as Jobs of a chart: once for each key, cleaned up, and what is told when they fail."""

import msgspec
import pytest

from openbell.adapters.kubernetes import platform as module
from openbell.adapters.kubernetes.platform import MIGRATION_TEMPLATE
from openbell.core.project import ReleaseInfo
from tests.adapters.kubernetes.memory import Content, pod
from tests.adapters.kubernetes.world import ONE, PROJECT, World, refused

JOB: Content = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "shop-migrate-expand", "annotations": {"helm.sh/hook": "pre-install"}},
    "spec": {"backoffLimit": 2},
}
ACCOUNT: Content = {
    "apiVersion": "v1",
    "kind": "ServiceAccount",
    "metadata": {"name": "shop-migrate-expand", "annotations": {"helm.sh/hook": "pre-install"}},
}
POLICY: Content = {**ACCOUNT, "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy"}


def end_jobs(world: World, condition: str) -> None:
    def look(path: str, content: Content) -> None:
        if "/jobs/" in path:
            content["status"] = {"conditions": [{"type": condition, "status": "True"}]}

    world.api.on_write = look
    world.helm.manifests = [ACCOUNT, POLICY, JOB]


async def test_a_migration_runs_once_for_each_key_and_cleans_up(world: World) -> None:
    end_jobs(world, "Complete")
    for key in ("m1", "m1", "m2"):
        await world.platform.migrate("expand", ONE.digest, key=key)
    jobs = world.api.names("batch/v1/jobs")
    assert len(jobs) == 2
    job = world.api.get(f"batch/v1/jobs/{jobs[0]}")
    assert jobs[0].startswith("shop-expand-")
    assert job["metadata"]["annotations"] == {}, "Helm's hooks are not for what we apply"
    assert job["spec"] == {"backoffLimit": 2, "ttlSecondsAfterFinished": module.JOB_KEPT_S}
    assert world.api.names("v1/serviceaccounts") == []
    assert world.api.names("networking.k8s.io/v1/networkpolicies") == []
    assert [(path.rpartition("/")[2], force) for path, force in world.api.applied[:3]] == [
        ("shop-migrate-expand", True),
        ("shop-migrate-expand", True),
        (jobs[0], False),
    ]
    assert world.helm.calls == [("render", f"shop {MIGRATION_TEMPLATE}")] * 3


async def test_a_migration_whose_beginner_was_killed_cleans_up_when_it_is_resumed(world: World) -> None:
    end_jobs(world, "Complete")
    delete, kept = world.api.delete, list[str]()

    async def killed(path: str) -> None:
        kept.append(path)

    world.api.delete = killed  # type: ignore[method-assign]
    await world.platform.migrate("expand", ONE.digest, key="m1")
    world.api.delete = delete  # type: ignore[method-assign]
    assert len(kept) == 2
    await world.platform.migrate("expand", ONE.digest, key="m1")
    assert world.api.names("v1/serviceaccounts") == []
    assert world.api.names("networking.k8s.io/v1/networkpolicies") == []
    assert len(world.api.names("batch/v1/jobs")) == 1


@pytest.mark.parametrize(
    ("phase", "expected"),
    [("expand", {"expand": True, "contract": ""}), ("contract", {"expand": False, "contract": "1" * 12})],
)
async def test_the_chart_is_asked_for_one_phase_of_this_release(world: World, phase: str, expected: Content) -> None:
    end_jobs(world, "Complete")
    await world.platform.migrate(phase, ONE.digest, key="m")
    assert world.helm.values["shop"]["migrations"] == expected
    assert world.helm.values["shop"]["openbell"]["release"] == "1" * 12


async def test_a_release_without_a_migration_needs_none(world: World) -> None:
    world.project = msgspec.structs.replace(PROJECT, release=ReleaseInfo())
    for phase in ("expand", "contract"):
        await world.platform.migrate(phase, ONE.digest, key="m")
    assert world.api.asked == []
    assert world.helm.calls == []


async def test_a_chart_without_a_migration_is_told(world: World) -> None:
    async with refused(
        "templates/migration.yaml of the chart has no Job for expand; write one, or remove release.expand"
    ):
        await world.platform.migrate("expand", ONE.digest, key="m")
    assert world.api.applied == []


async def test_a_migration_that_fails_is_told_with_its_last_lines(world: World) -> None:
    end_jobs(world, "Failed")
    original = world.api.on_write

    def look(path: str, content: Content) -> None:
        original(path, content)
        for number, text in ((2, "new: relation exists"), (1, "old: relation exists")):
            name = f"migrate-{number}"
            labels = {"batch.kubernetes.io/job-name": path.rpartition("/")[2]}
            world.api.put(f"v1/pods/{name}", pod(name, labels, ready=False, made=number))
            world.api.logs[name] = text

    world.api.on_write = look
    for _ in range(2):
        async with refused("^kubernetes: migrate: the Job expand failed\nnew: relation exists$", "unknown"):
            await world.platform.migrate("expand", ONE.digest, key="m")
    assert world.api.names("v1/serviceaccounts") == []


async def test_a_migration_that_takes_too_long_is_not_said_to_have_failed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MIGRATION_TIMEOUT_S", 0.0)
    world.helm.manifests = [JOB]
    async with refused("the Job expand has not ended within 0 s", "unknown"):
        await world.platform.migrate("expand", ONE.digest, key="m")


async def test_a_release_is_rendered_with_both_migrations(world: World) -> None:
    world.helm.manifests = [ACCOUNT, JOB]
    rendered = await world.platform.render(world.chart_of(ONE.digest))
    assert (rendered.installed, rendered.migrations) == ([ACCOUNT, JOB], [ACCOUNT, JOB] * 2)
    assert [what for _, what in world.helm.calls] == [
        f"shop-blue {only}" for only in (None, module.MIGRATION_TEMPLATE, module.MIGRATION_TEMPLATE)
    ]
    assert world.helm.values["shop-blue"]["migrations"] == {"expand": False, "contract": "0" * 12}
