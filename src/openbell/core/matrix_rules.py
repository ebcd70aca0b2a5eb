"""The rules about a job's matrix: names that are placeholders, entries that say something, not too many legs."""

from collections import Counter
from collections.abc import Iterator

from openbell.core.matrix import COMBINATIONS_MAX, LEGS_MAX, combinations, legs, names
from openbell.core.pattern import placeholders
from openbell.core.pipeline import job_id
from openbell.core.project import Job, Problem
from openbell.core.texts import JOB_PLACEHOLDERS, suggest

Path = tuple[str, ...]


def check_matrix(at: Path, name: str, job: Job) -> Iterator[Problem]:
    """Return what is wrong with the matrix of a job."""
    for axis, values in job.matrix.items():
        path = (*at, "matrix", axis)
        if not values:
            yield Problem(path, f'axis "{axis}" has no values, so the job would never run. Give it one or remove it.')
        if len(frozenset(values)) < len(values):
            yield Problem(path, f'axis "{axis}" names a value twice: {", ".join(values)}.')
    yield from _check_names(at, job)
    yield from _check_entries(at, job)
    number = combinations(job)
    if number > COMBINATIONS_MAX:
        yield Problem((*at, "matrix"), f"{number} combinations; at most {COMBINATIONS_MAX} are allowed.")
    else:
        yield from _check_legs(at, name, job)


def is_countable(job: Job) -> bool:
    """Say whether the legs of a job are few enough to be made."""
    return combinations(job) <= COMBINATIONS_MAX and len(legs(job)) <= LEGS_MAX


def _check_names(at: Path, job: Job) -> Iterator[Problem]:
    for axis in names(job):
        path = (*at, "matrix", axis) if axis in job.matrix else (*at, "matrix_include")
        if axis in JOB_PLACEHOLDERS:
            yield Problem(path, f'axis "{axis}": that name is taken ({{{axis}}}). Rename it.')
        elif placeholders(f"{{{axis}}}") != [axis]:
            rule = 'Begin with a letter; letters, digits, "-", "_" follow.'
            yield Problem(path, f'axis "{axis}": {{{axis}}} is no placeholder. {rule}')


def _check_entries(at: Path, job: Job) -> Iterator[Problem]:
    for key, entries in (("matrix_include", job.matrix_include), ("matrix_exclude", job.matrix_exclude)):
        for index, entry in enumerate(entries):
            if not entry:
                yield Problem((*at, key, str(index)), f"{key}: an entry is empty. Name an axis, or remove it.")
    for index, entry in enumerate(job.matrix_exclude):
        path = (*at, "matrix_exclude", str(index))
        for axis, value in entry.items():
            if axis not in job.matrix:
                yield Problem(path, f'matrix_exclude: "{axis}" is no axis of the matrix.{suggest(axis, job.matrix)}')
            elif value not in job.matrix[axis]:
                values = ", ".join(job.matrix[axis])
                yield Problem(path, f'matrix_exclude: {axis} = "{value}" excludes nothing; it is one of {values}.')


def _check_legs(at: Path, name: str, job: Job) -> Iterator[Problem]:
    found = legs(job)
    if len(found) > LEGS_MAX:
        yield Problem((*at, "matrix"), f"{len(found)} legs; at most {LEGS_MAX} are allowed.")
    elif not found and all(job.matrix.values()):
        yield Problem((*at, "matrix_exclude"), "everything is excluded, so the job would never run.")
    twice = [leg for leg, number in Counter(job_id(name, axes) for axes in found).items() if number > 1]
    if twice:
        yield Problem((*at, "matrix_include"), f'"{twice[0]}" is there twice. Remove one.')
