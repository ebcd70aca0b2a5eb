"""Jobs that need a running environment: smoke tests of a slot before it has traffic, load tests after a rollout."""

from openbell.core.pipeline import JobResult
from openbell.core.project import Environment, Project
from openbell.hosts.local import SmokeRunner
from openbell.ports import AdapterError
from openbell.wiring.deployed_jobs import run_environment_job
from openbell.wiring.environment import Environment as LocalEnvironment
from openbell.wiring.project import OpenProject


def smoke_job(project: Project, environment: Environment) -> str | None:
    """Name the job that tests a candidate before it gets work: `smoke`, or the one of stage smoke in `after`."""
    if environment.smoke:
        return environment.smoke
    return next((job for job in environment.after if project.jobs[job].stage == "smoke"), None)


def smoke_runner(place: OpenProject, environment: LocalEnvironment) -> SmokeRunner:
    """Return what the host calls to smoke-test a slot."""

    async def run(job: str, slot: str) -> str:
        digest = environment.placements()[slot].digest
        folder = environment.folder / "jobs" / slot
        result = await run_environment_job(
            place, job, environment.addresses(slot), digest=digest, folder=folder, secret=environment.secret
        )
        if result.outcome != "success":
            lines = "\n".join(result.last_lines[-5:])
            message = f"{job} {result.outcome} against {slot}: {result.reason}\n{lines}".rstrip()
            raise AdapterError("smoke", job, message, effect="not_applied")
        return f"{job} passed against {slot}"

    return run


async def run_check(place: OpenProject, environment: LocalEnvironment, job: str, digest: str) -> JobResult:
    """Run a job against the addresses that customers use."""
    folder = environment.folder / "jobs" / "serving"
    return await run_environment_job(
        place, job, environment.addresses(), digest=digest, folder=folder, secret=environment.secret
    )
