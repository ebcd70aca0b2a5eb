"""A first `openbell.toml` for a project: from what was found in its folder to text that a person can read and change.

Pure: what is in the folder was found by adapters (`python_project`, `go_project`). Every job that is proposed runs on a
machine that has the project's language and openbell, nothing else.
"""

import json
import shlex
from typing import Literal

import msgspec

from openbell.core.pattern import escape

TestSource = Literal["extra", "group", "file"]


class PythonFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a Python project. `versions` are Pythons that it supports and this machine has, oldest first.

    `test_needs` says what its tests need, as arguments of `uv pip install`, `type_needs` the same of the check of
    types. `ruff` is the version that `ruff_source` names, empty when none is named. `scm_version` is set when the
    version comes from version control, which a job's copy of the tree does not have.
    """

    name: str
    found: tuple[str, ...]
    versions: tuple[str, ...]
    packages: tuple[str, ...] = ()
    is_installable: bool = True
    tests: str | None = None
    test_needs: tuple[str, ...] = ()
    type_needs: tuple[str, ...] = ()
    ruff: str | None = None
    ruff_source: str = ""
    formats_with_ruff: bool = False
    checks_types: bool = False
    scm_version: str | None = None


class GoFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a Go module."""

    name: str
    found: tuple[str, ...]
    has_tests: bool = True
    has_programs: bool = False
    can_detect_races: bool = False
    has_golangci: bool = False


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What was found in a folder; at most one language is proposed for."""

    python: PythonFacts | None = None
    go: GoFacts | None = None
    dockerfile: str | None = None


class ProposedJob(msgspec.Struct, frozen=True, kw_only=True):
    """One job of the proposal, with a comment that says why it is there."""

    name: str
    stage: str
    run: tuple[str, ...]
    comment: str = ""
    settings: tuple[tuple[str, str], ...] = ()


class Proposal(msgspec.Struct, frozen=True):
    """The text of an `openbell.toml`, what is in it, and in sentences what a person should know of it."""

    text: str
    jobs: tuple[ProposedJob, ...]
    notes: tuple[str, ...] = ()

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages that have jobs, in order."""
        return tuple(dict.fromkeys(job.stage for job in self.jobs))


def propose(facts: Facts) -> Proposal | None:
    """Propose a configuration, or None when nothing was found that openbell knows."""
    if facts.python is not None:
        name, jobs, notes = facts.python.name, python_jobs(facts.python), _python_notes(facts.python)
    elif facts.go is not None:
        name, jobs, notes = facts.go.name, go_jobs(facts.go), _go_notes(facts.go)
    else:
        return None
    if facts.dockerfile:
        jobs = (*jobs, _image_job(name, facts.dockerfile))
    return Proposal(_write(name, jobs, notes), jobs, notes)


def _python_notes(facts: PythonFacts) -> tuple[str, ...]:
    """Say which tools are taken in which version, and what could not be proposed."""
    notes = []
    if facts.ruff:
        notes.append(f"ruff is {facts.ruff}, as {facts.ruff_source or 'the project'} says.")
    else:
        notes.append("ruff is the newest: the project names no version of it.")
    if facts.checks_types:
        notes.append(_note("mypy", facts.type_needs))
    if facts.tests is not None:
        notes.append(_note("pytest", facts.test_needs))
    else:
        notes.append("No test job: there is no folder tests or test, and no test_*.py. Add one: [jobs.unit].")
    return tuple(notes)


def _note(tool: str, needs: tuple[str, ...]) -> str:
    if not needs:
        return f"{tool} is the newest: the project does not say what it needs."
    return f"{tool} is the newest that goes with {', '.join(needs)}."


def _go_notes(facts: GoFacts) -> tuple[str, ...]:
    notes = ["go is the one of this machine; go.mod may ask for a newer one."]
    if facts.has_golangci:
        notes.append("golangci-lint is the one of this machine; without it the job says that it could not check.")
    if not facts.has_tests:
        notes.append("No test job: there is no *_test.go. Add one: [jobs.unit].")
    return tuple(notes)


def python_jobs(facts: PythonFacts) -> tuple[ProposedJob, ...]:
    """Propose the jobs of a Python project."""
    newest = facts.versions[-1]
    jobs = []
    if facts.ruff is not None:
        ruff = f"uvx --python {newest} ruff{'@' + facts.ruff if facts.ruff else ''}"
        if facts.formats_with_ruff:
            jobs.append(_job("format", "quality", f"{ruff} format --check ."))
        lint = f"{ruff} check --output-format sarif --output-file {{out}}/ruff.sarif ."
        jobs.append(_job("lint", "quality", lint, settings=(("reports", '{ sarif = "ruff.sarif" }'),)))
    else:
        rules = "E9,F63,F7"
        lint = f"uvx --python {newest} ruff check --isolated --select {rules}"
        lint += " --output-format sarif --output-file {out}/ruff.sarif ."
        comment = "Only what is certainly wrong, such as syntax errors. Configure ruff, and drop --select."
        jobs.append(_job("lint", "quality", lint, comment=comment, settings=(("reports", '{ sarif = "ruff.sarif" }'),)))
    if facts.checks_types:
        jobs.append(_types_job(facts, newest))
    if facts.tests is not None:
        jobs.append(_test_job(facts))
    if facts.is_installable:
        jobs.append(_job("wheel", "build", "uv build --wheel --out-dir {out} .", "rm -f {out}/.gitignore",
                         settings=(*_environment(facts), ("outputs", '["*.whl"]'))))  # fmt: skip
    return tuple(jobs)


def _install(facts: PythonFacts, python: str, declared: tuple[str, ...], tool: str) -> list[str]:
    """The commands that make an environment for this job alone; uv's cache makes it cheap."""
    needs = [escape(need) for need in declared]
    if facts.is_installable and not any(need.startswith("-e ") for need in needs):
        needs.insert(0, "-e .")
    return [f"uv venv --quiet --python {python} .venv", f"uv pip install --quiet {' '.join([*needs, tool])}"]


def _test_job(facts: PythonFacts) -> ProposedJob:
    versions = ", ".join(f'"{version}"' for version in facts.versions)
    commands = [*_install(facts, "{python}", facts.test_needs, "pytest")]
    commands.append(f".venv/bin/python -m pytest --junitxml {{out}}/junit.xml {_word(facts.tests or '.')}")
    settings = (
        ("matrix", f"{{ python = [{versions}] }}"),
        ("reports", '{ junit = "junit.xml" }'),
        ("tools", '["uv", "python{python}"]'),
        *_environment(facts),
    )
    return _job("unit", "test", *commands, settings=settings)


def _types_job(facts: PythonFacts, newest: str) -> ProposedJob:
    commands = _install(facts, newest, facts.type_needs, "mypy")
    target = " ".join(map(_word, facts.packages)) or "."
    comment = "What mypy finds depends on the stubs that are installed. Remove allow_failure once it passes."
    settings = (("allow_failure", "true"), ("tools", f'["uv", "python{newest}"]'), *_environment(facts))
    check = f".venv/bin/python -m mypy --cache-dir {{cache}}/mypy {target}"
    return _job("types", "quality", *commands, check, comment=comment, settings=settings)


def _environment(facts: PythonFacts) -> tuple[tuple[str, str], ...]:
    if facts.scm_version is None:
        return ()
    return (("env", f"{{ SETUPTOOLS_SCM_PRETEND_VERSION = {quote(escape(facts.scm_version))} }}"),)


def go_jobs(facts: GoFacts) -> tuple[ProposedJob, ...]:
    """Propose the jobs of a Go module."""
    tools = ("tools", '["go"]')
    jobs = [
        _job("format", "quality", 'unformatted="$(gofmt -l .)"', 'echo "$unformatted"', 'test -z "$unformatted"',
             settings=(tools,)),
        _job("vet", "quality", "go vet ./...", settings=(tools,)),
    ]  # fmt: skip
    if facts.has_golangci:
        missing = 'command -v golangci-lint > /dev/null || { echo "golangci-lint is not installed"; exit 75; }'
        settings = (("not_checked_exit_codes", "[75]"), tools)
        jobs.append(_job("lint", "quality", missing, "golangci-lint run ./...", settings=settings))
    if facts.has_tests:
        race = "-race " if facts.can_detect_races else ""
        jobs.append(_job("unit", "test", f"go test {race}./...", settings=(tools,)))
    if facts.has_programs:
        build = "go build -trimpath -o {out}/ ./..."
        jobs.append(_job("programs", "build", build, settings=(("env", '{ CGO_ENABLED = "0" }'), tools)))
    return tuple(jobs)


def _image_job(name: str, dockerfile: str) -> ProposedJob:
    tag = "".join(character if character.isalnum() else "-" for character in name.lower())
    missing = 'command -v buildah > /dev/null || { echo "buildah is not installed"; exit 75; }'
    build = f"buildah build --timestamp 0 --file {dockerfile} --tag {tag} ."
    push = f"buildah push {tag} oci-archive:{{out}}/{tag}.tar"
    comment = "Where buildah is installed; elsewhere the image is not checked, which is shown and is no success."
    settings = (("timeout_s", "1800"), ("not_checked_exit_codes", "[75]"))
    return _job("image", "build", missing, build, push, comment=comment, settings=settings)


def _word(path: str) -> str:
    """Write a path as one word of a shell, whatever characters it has."""
    return escape(shlex.quote(path))


def _job(
    name: str, stage: str, *run: str, comment: str = "", settings: tuple[tuple[str, str], ...] = ()
) -> ProposedJob:
    return ProposedJob(name=name, stage=stage, run=run, comment=comment, settings=settings)


def _write(name: str, jobs: tuple[ProposedJob, ...], notes: tuple[str, ...]) -> str:
    """Write the configuration down, with what a person needs to go on."""
    lines = [
        "# How this project goes from a commit to its users. What is not written here has a sensible value.",
        "#   openbell check     what would run, and why",
        "#   openbell run       run it here",
        "#",
        *(f"# {_shown(note)}" for note in notes),
        "",
        "[project]",
        f"name = {quote(_shown(name))}",
    ]
    for job in jobs:
        lines.append("")
        if job.comment:
            lines.append(f"# {job.comment}")
        lines += [f"[jobs.{job.name}]", f'stage = "{job.stage}"', *_write_run(job.run)]
        lines += [f"{key} = {value}" for key, value in job.settings]
    lines += [
        "",
        "# Environments come next: services that run, and where releases go. For example",
        "#   [services.api]",
        '#   protocol = "http"',
        '#   run = "my-api --port {port}"',
        "#   [environments.staging]",
        '#   branch = "develop"',
    ]
    return "\n".join(lines) + "\n"


def _shown(name: str) -> str:
    """Leave out what no terminal should be given, whatever a project calls itself."""
    return "".join(character for character in name if character.isprintable()).strip() or "project"


def _write_run(commands: tuple[str, ...]) -> list[str]:
    if len(commands) == 1:
        return [f"run = {quote(commands[0])}"]
    if not all(command.isprintable() and "'''" not in command for command in commands):
        return [f"run = {quote(chr(10).join(commands))}"]
    return ["run = '''", *commands, "'''"]


def quote(text: str) -> str:
    """Write a string as TOML; JSON's escapes are a part of TOML's, which wants DEL escaped as well."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
