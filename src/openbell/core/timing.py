"""Where the time of a run went, what it could be with other choices, and what the specification wants of it.

Times are measured elsewhere and come in as numbers. The critical path is the chain of jobs that nothing but a faster or
earlier one of them would have shortened: each link waited for the one before, for its result or for its place.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from openbell.core.project import Stage, Targets

NOISE_S = 0.2
"""What is shorter is no wait: starting a process takes that long on a busy machine."""

WORTH_PCT = 10.0
"""A suggestion that would save less of the run is none."""


class Spent(msgspec.Struct, frozen=True):
    """What the last attempt at a job spent its time on, in seconds, and when it began (Unix time).

    Its copy of the tree, starting its services, its command, reading its reports, and keeping what it left.
    """

    copy_s: float = 0.0
    services_s: float = 0.0
    execute_s: float = 0.0
    reports_s: float = 0.0
    upload_s: float = 0.0
    begin_at_s: float = 0.0

    @property
    def total_s(self) -> float:
        """All of it together."""
        return round(self.copy_s + self.services_s + self.execute_s + self.reports_s + self.upload_s, 3)


class JobTimes(msgspec.Struct, frozen=True):
    """When a job of a run began (seconds since the run's begin), for how long it was ready before, what it took, and
    what it waited for; `saved_s` is what it did not take because its result was known.
    """

    begin_s: float = 0.0
    queue_s: float = 0.0
    duration_s: float = 0.0
    saved_s: float = 0.0
    needs: tuple[str, ...] = ()
    spent: Spent = Spent()

    @property
    def end_s(self) -> float:
        """Seconds from the run's begin to the job's end."""
        return self.begin_s + self.duration_s


class TimedJob(msgspec.Struct, frozen=True):
    """A job of a run with its times; `whole_stage` when it waits for all earlier stages and not for jobs by name."""

    id: str
    stage: Stage
    times: JobTimes
    known: bool = False
    whole_stage: bool = False


WaitReason = Literal["", "need", "place"]


class Link(msgspec.Struct, frozen=True):
    """One link of the critical path, and the job it waited for: for what it needs of it, or for its place."""

    job: str
    begin_s: float
    duration_s: float
    waited_for: str = ""
    reason: WaitReason = ""


class TargetMet(msgspec.Struct, frozen=True):
    """One target of `[targets]`: what it is about, how long that took, how long it may take, whether it was kept."""

    name: str
    took_s: float
    target_s: float
    kept: bool


class Timing(msgspec.Struct, frozen=True):
    """Where the time of a run went. `parts` are seconds of all jobs together, `stages` from first begin to last end."""

    total_s: float
    before_s: float
    after_s: float
    parts: dict[str, float]
    stages: dict[str, float]
    executed: int
    known: int
    hit_rate_pct: float
    saved_s: float
    critical_path: tuple[Link, ...]
    targets: tuple[TargetMet, ...]
    suggestions: tuple[str, ...]


def times_of(
    spent: Mapping[str, tuple[Spent, float]], needs: Mapping[str, tuple[str, ...]], begin_at_s: float
) -> dict[str, JobTimes]:
    """Work out the times of the jobs that were executed: `spent` has what was measured and the duration of each."""
    ends_at_s = {id_: one.begin_at_s + duration_s for id_, (one, duration_s) in spent.items()}
    first_at_s = min((one.begin_at_s for one, _ in spent.values()), default=begin_at_s)
    found = {}
    for id_, (one, duration_s) in spent.items():
        ready_at_s = max((ends_at_s[need] for need in needs.get(id_, ()) if need in ends_at_s), default=first_at_s)
        queue_s = max(0.0, one.begin_at_s - ready_at_s)
        found[id_] = JobTimes(
            round(max(0.0, one.begin_at_s - begin_at_s), 3), round(queue_s, 3), duration_s, 0.0,
            tuple(needs.get(id_, ())), one,
        )  # fmt: skip
    return found


def analyse(
    jobs: Sequence[TimedJob], total_s: float, deployments: Mapping[str, float], targets: Targets, parallel: int
) -> Timing:
    """Say where the time of a run went; `parallel` is how many jobs could run at once, `deployments` their seconds."""
    executed = [job for job in jobs if not job.known and job.times.duration_s > 0]
    before_s = min((job.times.begin_s for job in executed), default=total_s)
    last_s = max((job.times.end_s for job in executed), default=0.0)
    fields = ("copy_s", "services_s", "execute_s", "reports_s", "upload_s")
    parts = {name: round(sum(getattr(job.times.spent, name) for job in executed), 3) for name in fields}
    path = critical_path(executed)
    known = sum(job.known for job in jobs)
    return Timing(
        total_s=total_s,
        before_s=round(before_s, 3),
        after_s=round(max(0.0, total_s - last_s), 3) if executed else 0.0,
        parts={"queue_s": round(sum(job.times.queue_s for job in executed), 3), **parts},
        stages=stage_seconds(jobs),
        executed=len(executed),
        known=known,
        hit_rate_pct=round(100.0 * known / (len(executed) + known), 1) if executed or known else 0.0,
        saved_s=round(sum(job.times.saved_s for job in jobs if job.known), 3),
        critical_path=path,
        targets=check_targets(stage_seconds(jobs), total_s, deployments, targets),
        suggestions=suggest(executed, path, total_s, parallel),
    )


def stage_seconds(jobs: Sequence[TimedJob]) -> dict[str, float]:
    """Return how long each stage took, from the begin of its first job to the end of its last."""
    found: dict[str, float] = {}
    for stage in dict.fromkeys(job.stage for job in jobs):
        members = [job.times for job in jobs if job.stage == stage and not job.known and job.times.duration_s > 0]
        if members:
            found[stage] = round(max(one.end_s for one in members) - min(one.begin_s for one in members), 3)
    return found


def check_targets(
    stages: Mapping[str, float], total_s: float, deployments: Mapping[str, float], targets: Targets
) -> tuple[TargetMet, ...]:
    """Compare what a run took with what it may take."""
    pairs = [(stage, stages[stage], bound) for stage, bound in targets.by_stage.items() if stage in stages]
    pairs += [
        (f"deploy {name}", took_s, targets.by_environment[name])
        for name, took_s in deployments.items()
        if name in targets.by_environment and took_s
    ]
    every = (*pairs, ("total", total_s, targets.total_s))
    return tuple(TargetMet(name, took_s, target_s, took_s <= target_s) for name, took_s, target_s in every)


def critical_path(jobs: Sequence[TimedJob]) -> tuple[Link, ...]:
    """Walk back from the job that ended last: each waited for a need, or for the place of a job that ended before."""
    by_id = {job.id: job for job in jobs}
    if not jobs:
        return ()
    current: TimedJob | None = max(jobs, key=lambda job: job.times.end_s)
    links: list[Link] = []
    seen: dict[str, bool] = {}
    while current is not None and current.id not in seen:
        seen[current.id] = True
        before, reason = _before(current, by_id)
        waited_for = before.id if before is not None else ""
        links.append(Link(current.id, current.times.begin_s, current.times.duration_s, waited_for, reason))
        current = before
    return tuple(reversed(links))


def _before(job: TimedJob, by_id: Mapping[str, TimedJob]) -> tuple[TimedJob | None, WaitReason]:
    if job.times.queue_s > NOISE_S:
        ended = [
            other
            for other in by_id.values()
            if other.id != job.id
            and job.times.begin_s - job.times.queue_s < other.times.end_s <= job.times.begin_s + NOISE_S
        ]
        if ended:
            return max(ended, key=lambda other: other.times.end_s), "place"
    needed = [by_id[need] for need in job.times.needs if need in by_id]
    return (max(needed, key=lambda other: other.times.end_s), "need") if needed else (None, "")


def simulate(jobs: Sequence[TimedJob], parallel: int, needs: Mapping[str, Sequence[str]]) -> float:
    """Return how many seconds these jobs would take from the first to the last, so many at once, in this order."""
    ids = {job.id: True for job in jobs}
    ends_s: dict[str, float] = {}
    running: dict[str, float] = {}
    waiting = list(jobs)
    now_s = 0.0
    while waiting or running:
        ready = [job for job in waiting if all(need in ends_s for need in needs.get(job.id, ()) if need in ids)]
        for job in ready[: max(0, parallel - len(running))]:
            running[job.id] = now_s + job.times.duration_s
            waiting.remove(job)
        if not running:
            break  # The rest waits for each other; the graph of a run never does.
        now_s = min(running.values())
        for id_ in [id_ for id_, end_s in running.items() if end_s <= now_s]:
            ends_s[id_] = running.pop(id_)
    return now_s


def suggest(jobs: Sequence[TimedJob], path: Sequence[Link], total_s: float, parallel: int) -> tuple[str, ...]:
    """Say what would make a run shorter, with the seconds that it would save; nothing where it saves little."""
    if not jobs:
        return ()
    needs = {job.id: job.times.needs for job in jobs}
    now_s = simulate(jobs, parallel, needs)
    worth_s = max(1.0, total_s * WORTH_PCT / 100)
    found = []
    wide_s = simulate(jobs, len(jobs), needs)
    if now_s - wide_s >= worth_s:
        saved = _save(now_s, wide_s)
        found.append(f"with a place for every job (--jobs {len(jobs)}, and as many processors) about {saved}")
    loose = {job.id: () if job.whole_stage else job.times.needs for job in jobs}
    loose_s = simulate(jobs, parallel, loose)
    if now_s - loose_s >= worth_s:
        waiting = ", ".join(job.id for job in jobs if job.whole_stage and job.times.needs)
        saved = _save(now_s, loose_s)
        found.append(f"if {waiting} named what they need in `needs`, and waited for no whole stage, about {saved}")
    longest = max(path, key=lambda link: link.duration_s, default=None)
    if longest is not None and longest.duration_s >= max(1.0, 0.4 * total_s) and len(jobs) > 1:
        found.append(
            f"{longest.job} is {100 * longest.duration_s / total_s:.0f} % of the run: split it with a `matrix`"
        )
    copied_s = sum(job.times.spent.copy_s for job in jobs)
    if copied_s >= worth_s:
        found.append(f"copying the tree took {copied_s:.1f} s: narrow `inputs` of the jobs to what they read")
    served_s = sum(job.times.spent.services_s for job in jobs)
    if served_s >= worth_s:
        found.append(f"starting services took {served_s:.1f} s: let fewer jobs ask for them")
    return tuple(found)


def _save(now_s: float, then_s: float) -> str:
    return f"{now_s - then_s:.1f} s of {now_s:.1f} s less"
