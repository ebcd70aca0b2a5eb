"""What a run says when it was slower than it may be; nothing else, for most are not."""

from openbell.core.project import Targets
from openbell.core.timing import TargetMet, TimedJob, check_targets, stage_seconds
from openbell.core.wording import duration
from openbell.wiring.pipeline import RunDocument


def timed_jobs(found: RunDocument, whole_stage: frozenset[str] = frozenset()) -> list[TimedJob]:
    """Take the jobs of a run that have times; `whole_stage` names those that wait for whole stages."""
    return [
        TimedJob(job.name, job.stage, job.times, bool(job.from_run), job.name.partition(" (")[0] in whole_stage)
        for job in found.jobs
        if job.times is not None
    ]


def broken_targets(targets: Targets, found: RunDocument) -> list[TargetMet]:
    """Compare a run with its targets, and take those that it broke."""
    deployments = {one.environment: one.duration_s for one in found.deployments}
    met = check_targets(stage_seconds(timed_jobs(found)), found.duration_s, deployments, targets)
    return [one for one in met if not one.kept]


def slow_lines(targets: Targets, found: RunDocument) -> list[str]:
    """Say which targets a run broke, and where to look; empty when it kept them all."""
    broken = broken_targets(targets, found)
    told = ", ".join(f"{one.name} took {duration(one.took_s)} of {duration(one.target_s)}" for one in broken)
    return [f"  Slow: {told}. Where the time went: openbell timing {found.run}"] if broken else []
