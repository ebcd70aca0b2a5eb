"""The jobs of a deployment: smoke tests of a slot before it has traffic, load tests after a rollout."""

from pathlib import Path

import msgspec

from openbell.adapters.processes import runtime
from openbell.core.pipeline import JobResult
from openbell.core.project import Environment, Project
from openbell.core.release import Release
from openbell.hosts.local import SmokeRunner
from openbell.ports import AdapterError
from openbell.wiring.environment_jobs import Source, run_environment_job
from openbell.wiring.project import OpenProject
from openbell.wiring.site import Site
from openbell.wiring.surroundings import base_environment, search_path


def smoke_job(project: Project, environment: Environment) -> str | None:
    """Name the job that tests a candidate before it gets work: `smoke`, or the one of stage smoke in `after`."""
    if environment.smoke:
        return environment.smoke
    return next((job for job in environment.after if project.jobs[job].stage == "smoke"), None)


def smoke_runner(place: OpenProject, environment: Site, rollout: str, digest: str) -> SmokeRunner:
    """Return what the host calls to smoke-test a slot, with the tree and the programs of the candidate."""

    async def run(job: str, slot: str) -> str:
        async with environment.reach(slot) as addresses:
            result = await _run(place, environment, job, addresses, rollout=rollout, digest=digest)
        if result.outcome != "success":
            lines = "\n".join(result.last_lines[-5:])
            message = f"{job}: {result.outcome} against {slot}: {result.reason}\n{lines}".rstrip()
            raise AdapterError("smoke", job, message, effect="not_applied")
        return f"{job} passed against {slot}"

    return run


async def run_check(place: OpenProject, environment: Site, job: str, *, rollout: str, digest: str) -> JobResult:
    """Run a job of the release against the addresses that customers use."""
    async with environment.reach() as addresses:
        return await _run(place, environment, job, addresses, rollout=rollout, digest=digest)


async def _run(
    place: OpenProject,
    environment: Site,
    job: str,
    addresses: dict[str, str],
    *,
    rollout: str,
    digest: str,
) -> JobResult:
    release_folder = place.state.release(digest)
    release = msgspec.json.decode((release_folder / "manifest.json").read_bytes(), type=Release)
    await prepare_programs(release_folder, digest)
    source = Source(place.root, place.state, release.commit, release_folder)
    folder = place.state.root / "rollouts" / rollout
    # The job is the operator's: a policy may shorten a load test without changing the release.
    return await run_environment_job(
        place.project, job, addresses, source=source, folder=folder, secret=environment.secret
    )


async def prepare_programs(release_folder: Path, digest: str) -> None:
    """Make the release's own programs run on this machine, which may be another than the one it is placed on."""
    base = base_environment(search_path())
    await runtime.prepare(runtime.load(release_folder, digest), release_folder / "prepare.log", base)
