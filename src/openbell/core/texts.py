"""What may be written in the texts of a configuration that others read: shells, processes, git, the file system.

They would refuse it too, but in the middle of a run and in their own words. Which placeholders are known where stands
here as well, because what nobody fills in would reach a command as it was written: jobs get theirs from
`openbell.wiring.jobs`, services and releases from `openbell.adapters.processes.runtime`.
"""

import shlex
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

import msgspec

from openbell.core.matrix import names
from openbell.core.pattern import placeholders
from openbell.core.project import COMMIT_STAGES, Job, Problem, Project

JOB_PLACEHOLDERS = ("out", "root", "cache", "artifacts", "history", "folder")
SHARD_PLACEHOLDERS = ("shard", "shards", "tests")
"""What a job of several shards knows besides."""

DEPLOYED_PLACEHOLDERS = ("out", "root", "cache", "release")
SERVICE_PLACEHOLDERS = ("port", "http_port", "slot", "instance", "version", "release", "artifacts")
GROUP_PLACEHOLDERS = ("ref", "trigger", "target")
RELEASE_PLACEHOLDERS = ("release", "artifacts")
SERVICE_VARIABLES = "PORT, HTTP_PORT, OPENBELL_SLOT, OPENBELL_INSTANCE, OPENBELL_SERVICE and OPENBELL_VERSION"

ADDRESS_SUFFIXES = {"http": "_url", "websocket": "_url", "fix": "_address"}
"""What is added to a service's name where its address is filled in; a leader has none."""

_MAY_BE_EMPTY = ("env", "matrix", "matrix_include", "matrix_exclude")
"""Tables of values that belong to others, for whom an empty text may mean something."""


def check_texts(project: Project) -> Iterator[Problem]:
    """Return every text that cannot be used for what it is meant for."""
    yield from _check_struct((), project)
    for name, job in project.jobs.items():
        at = ("jobs", name)
        yield from _check_variables(at, job.env, job.secrets)
        yield from _check_reports(at, job)
        yield from _check_job_placeholders(at, job, project)
    for name, service in project.services.items():
        at = ("services", name)
        yield from _check_command((*at, "run"), service.run)
        yield from _check_variables(at, service.env, ())
        yield from _check_unfilled((*at, "env"), service.env)
        yield from _check_placeholders((*at, "run"), service.run, SERVICE_PLACEHOLDERS)
    group = project.concurrency.group or ""
    yield from _check_placeholders(("concurrency", "group"), group, GROUP_PLACEHOLDERS)
    for key in ("prepare", "expand", "contract"):
        command: str | None = getattr(project.release, key)
        yield from _check_placeholders(("release", key), command or "", RELEASE_PLACEHOLDERS)
    for name, environment in project.environments.items():
        at = ("environments", name)
        yield from _check_variables(at, environment.env, environment.secrets)
        yield from _check_unfilled((*at, "env"), environment.env)


def address_placeholders(project: Project) -> tuple[str, ...]:
    """Return the names under which smoke and load jobs find the services: `{api_url}`, `{fix-gateway_address}`."""
    return tuple(
        name + ADDRESS_SUFFIXES[service.protocol]
        for name, service in project.services.items()
        if service.protocol in ADDRESS_SUFFIXES
    )


def suggest(name: str, known: Mapping[str, object]) -> str:
    """Return ' Did you mean "x"?' for the nearest known name, or nothing."""
    from difflib import get_close_matches

    nearest = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f' Did you mean "{nearest[0]}"?' if nearest else ""


def _check_struct(path: tuple[str, ...], struct: msgspec.Struct) -> Iterator[Problem]:
    """Where the default is an empty text, empty is what most people mean."""
    fields, defaults = struct.__struct_fields__, struct.__struct_defaults__
    empty = {field for field, default in zip(reversed(fields), reversed(defaults), strict=False) if default == ""}
    for field, key in zip(fields, struct.__struct_encode_fields__, strict=True):
        may_be_empty = field in empty or field in _MAY_BE_EMPTY
        yield from _check((*path, key), getattr(struct, field), may_be_empty=may_be_empty)


def _check(path: tuple[str, ...], value: object, *, may_be_empty: bool) -> Iterator[Problem]:
    if isinstance(value, msgspec.Struct):
        yield from _check_struct(path, value)
    elif isinstance(value, dict):
        for key, member in value.items():
            yield from _check((*path, str(key)), member, may_be_empty=may_be_empty)
    elif isinstance(value, tuple):
        for index, member in enumerate(value):
            yield from _check((*path, str(index)), member, may_be_empty=may_be_empty)
    elif isinstance(value, str):
        if "\0" in value:
            yield Problem(path, f"{_key(path)}: has a NUL character, which no program can be given. Remove it.")
        elif not value.strip() and not may_be_empty:
            yield Problem(path, f"{_key(path)} = {_shown(value)}: is empty. Write something, or remove it.")


def _check_variables(at: tuple[str, ...], env: Mapping[str, str], secrets: tuple[str, ...]) -> Iterator[Problem]:
    named = [((*at, "env", name), name) for name in env]
    named += [((*at, "secrets", str(index)), name) for index, name in enumerate(secrets) if name.strip()]
    for path, name in named:
        if not name or "=" in name or "\0" in name or any(character.isspace() for character in name):
            message = f"{path[2]}: {_shown(name)} is no name of a variable: it has a character, and no "
            yield Problem(path, message + '"=", space or NUL.')


def _check_reports(at: tuple[str, ...], job: Job) -> Iterator[Problem]:
    for key in job.reports.__struct_fields__:
        name: str | None = getattr(job.reports, key)
        if name and (name.startswith("/") or ".." in PurePosixPath(name).parts):
            message = f"reports.{key} = {_shown(name)}: a report is a file in {{out}}; write its path from there."
            yield Problem((*at, "reports", key), message)


def _check_command(path: tuple[str, ...], command: str) -> Iterator[Problem]:
    """A service is started without a shell: its words must be clear."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        message = f"{_key(path)}: {str(error).lower()} in {_shown(command)}. Close it, or put a backslash before it."
        yield Problem(path, message)
        return
    if command.strip() and not (words and words[0]):
        yield Problem(path, f"{_key(path)} = {_shown(command)}: its first word is empty; name a program.")


def _check_job_placeholders(at: tuple[str, ...], job: Job, project: Project) -> Iterator[Problem]:
    known = (*JOB_PLACEHOLDERS, *(SHARD_PLACEHOLDERS if job.shards > 1 else ()), *names(job))
    if job.stage not in COMMIT_STAGES:
        known = (*DEPLOYED_PLACEHOLDERS, *names(job), *address_placeholders(project))
    yield from _check_placeholders((*at, "run"), job.run, known)
    for name in ("artifacts", "history"):
        # They are fetched for commands that name them.
        known = known if name in placeholders(job.run) else tuple(other for other in known if other != name)
    for name, value in job.env.items():
        yield from _check_placeholders((*at, "env", name), value, known)
    for index, tool in enumerate(job.tools):
        yield from _check_placeholders((*at, "tools", str(index)), tool, names(job))


def _check_placeholders(path: tuple[str, ...], text: str, known: tuple[str, ...]) -> Iterator[Problem]:
    for name in dict.fromkeys(placeholders(text)):
        if name not in known:
            nearest = suggest(name.lower(), dict.fromkeys(known))
            yield Problem(
                path,
                f"{_key(path)}: unknown placeholder {{{name}}}.{nearest} Known here: {', '.join(known) or 'none'}. "
                f"Write {{{{{name}}}}} for the literal text.",
            )


def _check_unfilled(path: tuple[str, ...], env: Mapping[str, str]) -> Iterator[Problem]:
    for variable, value in env.items():
        for name in dict.fromkeys(placeholders(value)):
            if name in SERVICE_PLACEHOLDERS:
                message = f"env.{variable}: {{{name}}} is filled in in run only. The process has {SERVICE_VARIABLES}."
                yield Problem((*path, variable), message)


def _key(path: tuple[str, ...]) -> str:
    """The key as it is written below its table, which messages have in front; without places in lists."""
    below, table = ([part for part in parts if not part.isdigit()] for parts in (path[2:], path[:2]))
    return ".".join(below or table[-1:])


def _shown(text: str) -> str:
    """Quote a text on one line, shortened; control characters are escaped."""
    shown = text if len(text) <= 60 else text[:57] + "..."
    return '"' + shown.encode("unicode_escape").decode() + '"'
