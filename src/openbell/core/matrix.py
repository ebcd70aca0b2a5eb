"""The legs of a job: its matrix multiplied out, without what is excluded, with what is included.

An entry of `matrix_exclude` takes out each leg that has all its values. An entry of `matrix_include` is then laid over
each leg of the matrix whose axes it does not contradict; where it fits none it is a leg of its own. It may bring names
that are no axes, and legs that get none of them have empty ones. The meaning is that of GitHub Actions, so that one
matrix can be written down for both.

Source: https://docs.github.com/actions (matrix include and exclude)
"""

from collections.abc import Mapping
from itertools import product
from math import prod

from openbell.core.project import Job

LEGS_MAX = 256
"""As many legs as the hosted systems allow; more is a mistake in the configuration."""

COMBINATIONS_MAX = 4096
"""So many legs may be there before some are excluded; more of them nobody meant, and they would be made one by one."""


def legs(job: Job) -> tuple[dict[str, str], ...]:
    """List the legs of a job: one mapping of names to values per leg, one empty mapping without a matrix.

    Each leg is one for each shard then, if the job has several.
    """
    found = _legs_of_matrix(job)
    if job.shards == 1:
        return found
    return tuple({**leg, "shard": str(number)} for leg in found for number in range(1, job.shards + 1))


def _legs_of_matrix(job: Job) -> tuple[dict[str, str], ...]:
    if not job.matrix and not job.matrix_include:
        return ({},)
    multiplied = [dict(zip(job.matrix, values, strict=True)) for values in product(*job.matrix.values())]
    kept = [leg for leg in multiplied if job.matrix and not any(_has(leg, entry) for entry in job.matrix_exclude)]
    found = [dict(leg) for leg in kept]
    alone: list[dict[str, str]] = []
    for entry in job.matrix_include:
        fitting = [leg for leg in found if all(leg[axis] == entry.get(axis, leg[axis]) for axis in job.matrix)]
        for leg in fitting:
            leg.update(entry)
        if not fitting:
            alone.append(dict(entry))
    return (*found, *alone)


def names(job: Job) -> tuple[str, ...]:
    """Name what a leg of a job may have a value of: the axes, then what is included besides."""
    return tuple(dict.fromkeys((*job.matrix, *(name for entry in job.matrix_include for name in entry))))


def filled(job: Job, leg: Mapping[str, str]) -> dict[str, str]:
    """Return the values of a leg, and an empty one for each name that only other legs have."""
    return {**dict.fromkeys(names(job), ""), **leg}


def combinations(job: Job) -> int:
    """Count the legs before any is excluded or included, without making them."""
    return job.shards * prod(map(len, job.matrix.values()))


def _has(leg: Mapping[str, str], entry: Mapping[str, str]) -> bool:
    return all(leg.get(axis) == value for axis, value in entry.items())
