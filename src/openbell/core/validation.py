"""The rules between the fields of a configuration: what a type cannot say.

`validate` returns every problem at once, each with the path of the value and the remedy. It knows neither the file nor
its lines (`openbell.adapters.toml` adds them) nor the tree of the project.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from openbell.core.approval import refusal
from openbell.core.matrix import legs
from openbell.core.matrix_rules import check_matrix, is_countable
from openbell.core.pipeline import job_id, slug
from openbell.core.places import check_places, place_name, places
from openbell.core.project import COMMIT_STAGES, Cluster, Environment, Job, Problem, Project, Target
from openbell.core.ranges import check_numbers
from openbell.core.remote import check_remote
from openbell.core.report_rules import check_job_reports, check_quarantine
from openbell.core.texts import check_texts, suggest
from openbell.core.workflow_rules import check_workflows

NAME_LENGTH_MAX = 63
NAME_RULE = (
    f'use letters, digits, "-", "_" and "." only, begin with a letter or digit, and use at most {NAME_LENGTH_MAX}'
)
OBJECT_NAME_MAX = 28
"""Characters of a name in a cluster: PROJECT-green-SERVICE must fit into the 63 that a Service's name may have."""
_OBJECT_NAME = re.compile(rf"[a-z]([-a-z0-9]{{0,{OBJECT_NAME_MAX - 2}}}[a-z0-9])?")
_LABEL = "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_INSIDE = r"(?!/)(?!(.*/)?\.\.(/|$)).+"
CLUSTER_RULES: tuple[tuple[str, re.Pattern[str], str], ...] = (
    ("namespace", re.compile(_LABEL), "a namespace has at most 63 of a-z, 0-9 and -, and - neither first nor last."),
    ("chart", re.compile(_INSIDE), "name a folder of the tree, by its path from the root of the project."),
    ("values", re.compile(_INSIDE), "name files of the tree, by their paths from the root of the project."),
    ("gateway", re.compile(rf"({_LABEL}/)?{_LABEL}(\.{_LABEL})*"), "write NAME or NAMESPACE/NAME."),
    ("address", re.compile(r"[^\s/]+"), "write a host name or an IP address; ports are the gateway's."),
    ("metrics_url", re.compile(r"https?://[^\s/?#]+(/[^\s?#]*)?"), "write http://HOST:PORT or https://HOST."),
)
"""What a text of `[environments.NAME.cluster]` must look like, if it is not its default, and what to write instead."""
RESERVED_NAMES = ("postgres", "valkey", "haproxy")
"""Programs of every environment itself: a service of that name would share their ports, folders and logs."""
RESERVED_PREFIXES = ("blue-", "green-")
JOBS_MAX = 500

_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")


def validate(project: Project) -> tuple[Problem, ...]:
    """Return every broken rule of a configuration, in the order of the file's sections; empty when it is sound."""
    return (
        *check_numbers(project),
        *check_texts(project),
        *check_remote(project),
        *_check_names(project),
        *_check_jobs(project),
        *_check_cycles(project.jobs),
        *_check_slugs(project.jobs),
        *_check_services(project),
        *_check_environments(project),
        *_check_clusters(project),
        *check_places(project),
        *_check_overlaps(project.environments),
        *_check_teams(project.teams),
        *_check_findings(project),
        *_check_diagnoses(project),
        *check_workflows(project),
        *_check_telemetry(project.telemetry.endpoint),
        *check_quarantine(project),
    )


def _check_telemetry(endpoint: str) -> Iterator[Problem]:
    if endpoint and not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", endpoint):
        message = f'endpoint = "{endpoint}": write http://HOST:PORT or https://HOST, without a login in it.'
        yield Problem(("telemetry", "endpoint"), message)


def _check_diagnoses(project: Project) -> Iterator[Problem]:
    for index, entry in enumerate(project.diagnoses):
        path = ("diagnoses", str(index))
        try:
            re.compile(entry.match)
        except (re.error, OverflowError, RecursionError) as error:
            message = f'match = "{entry.match}": is no regular expression of Python: {error}.'
            yield Problem((*path, "match"), message)
        for name in entry.jobs:
            if name not in project.jobs:
                nearest = suggest(name, project.jobs)
                yield Problem((*path, "jobs"), f'jobs: there is no job "{name}".{nearest}')


def _check_names(project: Project) -> Iterator[Problem]:
    sections: tuple[tuple[str, Mapping[str, object]], ...] = (
        ("jobs", project.jobs),
        ("services", project.services),
        ("environments", project.environments),
    )
    named: list[tuple[tuple[str, ...], str]] = [
        ((section, name), name) for section, members in sections for name in members
    ]
    for environment, one in project.environments.items():
        named += [(("environments", environment, "targets", target), target) for target in one.targets]
    for path, name in named:
        if not _is_name(name):
            yield Problem(path, f'name "{name}": {NAME_RULE}.')
    for name in project.services:
        if name in RESERVED_NAMES:
            reason = "each environment runs a program of its own under that name"
        elif name.startswith(RESERVED_PREFIXES):
            reason = "instances of services have names that begin so (blue-api-1)"
        else:
            continue
        yield Problem(("services", name), f'name "{name}": {reason}. Rename the service.')


def _is_name(name: str) -> bool:
    """Whether a name may be a folder's: `.`, `..`, options and endless names are none."""
    return name[:1].isalnum() and _NAME_CHARACTERS.issuperset(name) and len(name) <= NAME_LENGTH_MAX


def _check_jobs(project: Project) -> Iterator[Problem]:
    for name, job in project.jobs.items():
        at = ("jobs", name)
        yield from check_matrix(at, name, job)
        yield from _check_needs(at, job, project.jobs)
        yield from check_job_reports(at, job)
        if job.strict and (job.services or job.stage not in COMMIT_STAGES):
            what = f"services ({', '.join(job.services)})" if job.services else f'a job of stage "{job.stage}"'
            yield Problem((*at, "strict"), f"a strict job has no network, and {what} cannot do without. Remove one.")
        if job.stage not in COMMIT_STAGES:
            for key in ("needs", "matrix", "matrix_include", "matrix_exclude", "on"):
                if getattr(job, key):
                    yield Problem(
                        (*at, key), f'a job of stage "{job.stage}" runs when an environment asks for it; remove {key}.'
                    )


def _check_needs(at: tuple[str, ...], job: Job, jobs: Mapping[str, Job]) -> Iterator[Problem]:
    for need in job.needs or ():
        other = jobs.get(need)
        if other is None:
            yield Problem((*at, "needs"), f'needs "{need}", but there is no [jobs.{need}].{suggest(need, jobs)}')
        elif other.stage not in COMMIT_STAGES:
            yield Problem((*at, "needs"), f'needs "{need}", which runs only in an environment (stage "{other.stage}").')
        elif job.stage in COMMIT_STAGES and COMMIT_STAGES.index(other.stage) > COMMIT_STAGES.index(job.stage):
            yield Problem((*at, "needs"), f'needs "{need}" of the later stage "{other.stage}".')
        elif other.on and not (job.on and frozenset(job.on) <= frozenset(other.on)):
            yield Problem(
                (*at, "needs"), f'needs "{need}", which runs only on {", ".join(other.on)}. Give both the same "on".'
            )


def _check_cycles(jobs: Mapping[str, Job]) -> Iterator[Problem]:
    if len(jobs) > JOBS_MAX:
        yield Problem(("jobs",), f"{len(jobs)} jobs; at most {JOBS_MAX} are allowed. A matrix makes many of one.")
        return
    done: dict[str, bool] = {}
    for start in jobs:
        cycle = _find_cycle(start, jobs, done, [])
        if cycle:
            yield Problem(
                ("jobs", cycle[0], "needs"), f"the jobs wait for each other: {' -> '.join(cycle)}. Remove one need."
            )


def _find_cycle(name: str, jobs: Mapping[str, Job], done: dict[str, bool], path: list[str]) -> list[str]:
    if name in path:
        return [*path[path.index(name) :], name]
    if done.get(name) or name not in jobs:
        return []
    path.append(name)
    for need in jobs[name].needs or ():
        cycle = _find_cycle(need, jobs, done, path)
        if cycle:
            done[name] = True
            return cycle
    path.pop()
    done[name] = True
    return []


def _check_slugs(jobs: Mapping[str, Job]) -> Iterator[Problem]:
    """Two legs whose files would have one name would write over each other."""
    taken: dict[str, str] = {}
    for name, job in jobs.items():
        for axes in legs(job) if is_countable(job) else ():
            leg = job_id(name, axes)
            other = taken.setdefault(slug(leg), leg)
            if other != leg:
                yield Problem(
                    ("jobs", name), f'"{leg}" and "{other}" would share the file name {slug(leg)}. Rename one.'
                )


def _check_services(project: Project) -> Iterator[Problem]:
    for name, service in project.services.items():
        at = ("services", name)
        for key, path in (
            ("health", service.health),
            ("ready", service.ready),
            ("metrics", service.metrics),
            ("drain", service.drain),
        ):
            if not path.startswith("/"):
                yield Problem((*at, key), f'{key} = "{path}": a path begins with "/".')
            elif not path.isprintable() or " " in path:
                yield Problem((*at, key), f"{key}: a path has no spaces and control characters. Write them as %20.")
    for name in project.order:
        if name not in project.services:
            yield Problem(("order",), f'"{name}" is no service.{suggest(name, project.services)}')
    if len(frozenset(project.order)) < len(project.order):
        yield Problem(("order",), f"a service is named twice: {', '.join(project.order)}.")


def _check_environments(project: Project) -> Iterator[Problem]:
    for name, environment in project.environments.items():
        at = ("environments", name)
        if not project.services:
            yield Problem(at, f'"{name}" has nothing to run: there are no [services.NAME].')
        if not any(job.stage == "build" for job in project.jobs.values()):
            yield Problem(at, f'"{name}" has nothing to deploy: no job has stage = "build".')
        yield from _check_environment_jobs(at, environment, project)
        yield from _check_approval(at, environment, project)
        yield from _check_required(at, environment, project)
        yield from _check_rollout(at, environment)


def _check_clusters(project: Project) -> Iterator[Problem]:
    """What becomes the name of an object in a cluster must be one, beside what is added to it."""
    clustered = {name: one.cluster for name, one in places(project).items() if one.cluster is not None}
    if not clustered:
        return
    named: list[tuple[tuple[str, ...], str]] = [(("project", "name"), project.project.name)]
    named += [(("services", name), name) for name in project.services]
    for name, one in project.environments.items():
        targets = [target for target in one.targets if place_name(name, target) in clustered]
        if targets or name in clustered:
            named.append((("environments", name), name))
        named += [(("environments", name, "targets", target), target) for target in targets]
    for path, name in named:
        if not _OBJECT_NAME.fullmatch(name):
            rule = f"at most {OBJECT_NAME_MAX} of a-z, 0-9 and -, a letter first, no - at the end"
            message = f'"{name}" is to be part of the names of objects in a cluster, which may have {rule}.'
            yield Problem(path, message)
    for name, one in project.environments.items():
        if one.cluster is not None:
            yield from _check_cluster(("environments", name, "cluster"), one.cluster)
        for target, laid_over in one.targets.items():
            yield from _check_cluster(("environments", name, "targets", target), laid_over)


def _check_cluster(at: tuple[str, ...], written: Cluster | Target) -> Iterator[Problem]:
    for key, allowed, rule in CLUSTER_RULES:
        value = getattr(written, key) or ()
        for text in (value,) if isinstance(value, str) else value:
            if text != getattr(Cluster(), key) and not allowed.fullmatch(text):
                yield Problem((*at, key), f'{".".join(at[2:])}.{key} = "{text}": {rule}')


def _check_environment_jobs(at: tuple[str, ...], environment: Environment, project: Project) -> Iterator[Problem]:
    named = [("after", name) for name in environment.after]
    if environment.smoke is not None:
        named.insert(0, ("smoke", environment.smoke))
    for key, name in named:
        job = project.jobs.get(name)
        if job is None:
            yield Problem((*at, key), f'"{name}" is no job.{suggest(name, project.jobs)}')
        elif job.stage in COMMIT_STAGES:
            yield Problem(
                (*at, key),
                f'"{name}" has stage "{job.stage}"; a job for a running environment has stage "smoke" or "load".',
            )


def _check_required(at: tuple[str, ...], environment: Environment, project: Project) -> Iterator[Problem]:
    """What must have passed elsewhere must run elsewhere: a job that another environment has in `after`."""
    elsewhere = {
        job: True for other in project.environments.values() if other is not environment for job in other.after
    }
    for job in environment.requires_passed:
        if job not in elsewhere:
            message = f'requires "{job}", which no other environment runs (after = [...]).{suggest(job, elsewhere)}'
            yield Problem((*at, "requires_passed"), message)


def _check_approval(at: tuple[str, ...], environment: Environment, project: Project) -> Iterator[Problem]:
    approval = environment.approval
    if approval is None:
        return
    path = (*at, "approval")
    if not approval.by:
        yield Problem(path, 'say who may approve: from = ["a person or a team of [teams]"].')
        return
    unknown = [who for who in approval.by if who.strip() and who not in project.teams and "@" not in who]
    for who in unknown:
        # People are known by their address, as commits know them; a lone word is a team that is missing.
        remedy = suggest(who, project.teams) or " Add the team, or write the person's address."
        yield Problem(path, f'from: "{who}" is no team in [teams] and no e-mail address.{remedy}')
    people = [person for who in approval.by for person in project.teams.get(who, (who,))]
    number = count_people(people)
    if number < approval.required and not unknown:
        yield Problem(
            path,
            f"required = {approval.required}, but only {number} may approve: {', '.join(people) or 'nobody'}. "
            "Lower required, or add people.",
        )


def count_people(people: Sequence[str]) -> int:
    """Count the people that could approve together: two ways to name one person are one."""
    counted: tuple[str, ...] = ()
    for person in people:
        if (
            person.strip()
            and refusal(by=person, digest="", wanted_digest="", author="", approvers=(), given=counted) is None
        ):
            counted = (*counted, person)
    return len(counted)


def _check_teams(teams: Mapping[str, tuple[str, ...]]) -> Iterator[Problem]:
    for name, members in teams.items():
        if not _is_name(name):
            yield Problem(("teams", name), f'name "{name}": {NAME_RULE}.')
        if not members:
            yield Problem(("teams", name), f'team "{name}" has no members: nobody could approve. Add one or remove it.')


def _check_findings(project: Project) -> Iterator[Problem]:
    """What finds something must say what, and what is scanned must be a job that can run without an environment."""
    for name, job in project.jobs.items():
        at = ("jobs", name, "findings_exit_codes")
        if job.findings_exit_codes and job.reports.sarif is None:
            yield Problem(at, "findings_exit_codes needs reports.sarif, the file that has the findings.")
        if job.findings_severity and job.reports.sarif is None:
            yield Problem(
                (*at[:2], "findings_severity"), "findings_severity needs reports.sarif, which has the findings."
            )
        both = [str(code) for code in job.findings_exit_codes if code in job.not_checked_exit_codes]
        if both:
            yield Problem(at, f"{', '.join(both)} cannot mean both: found something, and could not check.")
    for name in project.scan.jobs:
        job_named = project.jobs.get(name)
        if job_named is None:
            yield Problem(("scan", "jobs"), f'"{name}" is no job.{suggest(name, project.jobs)}')
        elif job_named.stage not in COMMIT_STAGES:
            yield Problem(("scan", "jobs"), f'"{name}" runs only in an environment (stage "{job_named.stage}").')


def _check_rollout(at: tuple[str, ...], environment: Environment) -> Iterator[Problem]:
    yield from _check_weights((*at, "rollout"), environment)
    yield from _check_replicas((*at, "rollout"), environment)


def _check_weights(at_rollout: tuple[str, ...], environment: Environment) -> Iterator[Problem]:
    policy = environment.rollout
    if environment.strategy == "canary":
        weights = [phase.weight_pct for phase in policy.phases]
        if not weights:
            yield Problem((*at_rollout, "phases"), 'strategy "canary": at least one phase is needed.')
        for before, after in pairwise(weights):
            if after <= before:
                yield Problem(
                    (*at_rollout, "phases"), f'strategy "canary": weights must rise ({before}, then {after}).'
                )


def _check_replicas(at_rollout: tuple[str, ...], environment: Environment) -> Iterator[Problem]:
    policy = environment.rollout
    if policy.max_surge == policy.max_unavailable == 0:
        yield Problem(
            (*at_rollout, "max_surge"), "max_surge and max_unavailable cannot both be 0: no replica could move."
        )
    if policy.keep_replicas > max(1, environment.replicas):
        yield Problem(
            (*at_rollout, "keep_replicas"),
            f"rollout.keep_replicas = {policy.keep_replicas}: keep 0 to {environment.replicas} of the old side.",
        )


def _check_overlaps(environments: Mapping[str, Environment]) -> Iterator[Problem]:
    for key in ("branch", "tag"):
        taken: dict[str, str] = {}
        for name, environment in environments.items():
            pattern = getattr(environment, key)
            if pattern is None:
                continue
            if pattern in taken:
                yield Problem(
                    ("environments", name, key),
                    f'{key} "{pattern}" already brings releases to "{taken[pattern]}"; two cannot share it.',
                )
            taken.setdefault(pattern, name)
