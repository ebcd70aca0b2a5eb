"""The fingerprint of a job: SHA-256 over a manifest of all that its result can depend on.

The manifest is kept beside the result, so that a miss can say what changed. Files count by the content hashes that the
repository already has (git's blob ids). Values of secrets are not part of it, only their names: a result must not
depend on which credential fetched it, and a hash of a short secret would give the secret away.
"""

import hashlib
from collections.abc import Mapping
from typing import Literal

import msgspec

from openbell.core.pipeline import JobNode
from openbell.core.project import Job

SCHEMA = 3
"""Raised when jobs are run differently than before, so that older results are not taken for new ones."""


class Manifest(msgspec.Struct, frozen=True):
    """All that a job's result can depend on. `files` maps path to content hash, `upstream` job id to fingerprint."""

    schema: int
    command: str
    axes: dict[str, str]
    env: dict[str, str]
    secrets: tuple[str, ...]
    services: tuple[str, ...]
    settings: dict[str, str]
    tools: dict[str, str]
    platform: str
    files: dict[str, str]
    upstream: dict[str, str]


def write_manifest(
    node: JobNode,
    files: Mapping[str, str],
    tools: Mapping[str, str],
    upstream: Mapping[str, str],
    *,
    platform: str,
    env: Mapping[str, str],
    settings: Mapping[str, str] | None = None,
) -> Manifest:
    """Write down what a job's result can depend on.

    `env` is what every job is given besides its own, `upstream` the
    fingerprints of those jobs whose outputs it takes, `settings` what else decides how it is judged.
    """
    job = node.job
    return Manifest(
        schema=SCHEMA,
        command=job.run,
        axes=dict(node.axes),
        env={**env, **job.env},
        secrets=tuple(sorted(job.secrets)),
        services=tuple(sorted(job.services)),
        settings={**_settings(job), **(settings or {})},
        tools=dict(tools),
        platform=platform,
        files={printable_path(path): entry for path, entry in files.items()},
        upstream=dict(upstream),
    )


def printable_path(path: str) -> str:
    """Write a path whose bytes are no UTF-8 down with escapes; JSON has no other way."""
    return path.encode("utf-8", "backslashreplace").decode()


def _settings(job: Job) -> dict[str, str]:
    """The fields that decide how the same command is judged."""
    names = (
        "outputs",
        "reports",
        "shards",
        "tests",
        "regression_max_pct",
        "rounds_max",
        "coverage_min_pct",
        "coverage_changed_min_pct",
        "not_checked_exit_codes",
        "findings_exit_codes",
        "findings_severity",
    )
    settings = {name: msgspec.json.encode(getattr(job, name), order="deterministic").decode() for name in names}
    return {**settings, "strict": "true"} if job.strict else settings


def fingerprint(manifest: Manifest) -> str:
    """Return the SHA-256 of a manifest's canonical JSON, as hexadecimal."""
    return hashlib.sha256(msgspec.json.encode(manifest, order="deterministic")).hexdigest()


Kind = Literal[
    "schema", "platform", "command", "matrix", "secrets", "services", "settings", "env", "tool", "file", "job"
]


class Difference(msgspec.Struct, frozen=True):
    """One thing in which two manifests differ: what it was and what it is, empty where it was not or is not there."""

    kind: Kind
    name: str
    before: str
    after: str

    @property
    def words(self) -> str:
        """The difference in a few words: "src/book.py changed"."""
        match self.kind:
            case "schema":
                return "openbell runs jobs differently now"
            case "platform" | "command" | "secrets" | "services":
                return f"the {self.kind} changed"
            case "matrix":
                return "the axes changed"
            case "settings":
                return "the settings changed"
        noun = {"tool": "tool ", "job": "job "}.get(self.kind, "")
        return f"{noun}{self.name} {'is new' if not self.before else 'is gone' if not self.after else 'changed'}"


def compare(before: Manifest, after: Manifest) -> tuple[Difference, ...]:
    """Return all in which two manifests differ; empty exactly when their fingerprints are the same."""
    found: list[Difference] = []
    if before.schema != after.schema:
        found.append(Difference("schema", "", str(before.schema), str(after.schema)))
    if before.platform != after.platform:
        found.append(Difference("platform", "", before.platform, after.platform))
    if before.command != after.command:
        found.append(Difference("command", "", before.command, after.command))
    found += _differences("matrix", before.axes, after.axes)
    if before.secrets != after.secrets:
        found.append(Difference("secrets", "", ", ".join(before.secrets), ", ".join(after.secrets)))
    if before.services != after.services:
        found.append(Difference("services", "", ", ".join(before.services), ", ".join(after.services)))
    found += _differences("settings", before.settings, after.settings)
    found += _differences("env", before.env, after.env)
    found += _differences("tool", before.tools, after.tools)
    found += _differences("file", before.files, after.files)
    found += _differences("job", before.upstream, after.upstream)
    return tuple(found)


def explain_difference(before: Manifest, after: Manifest, *, shown_max: int = 3) -> str:
    """Say why a result could not be reused: "src/book.py changed", "the command changed"."""
    parts = list(dict.fromkeys(difference.words for difference in compare(before, after)))
    more = f" and {len(parts) - shown_max} more" if len(parts) > shown_max else ""
    return ", ".join(parts[:shown_max]) + more


def _differences(kind: Kind, before: Mapping[str, str], after: Mapping[str, str]) -> list[Difference]:
    """Compare by name. A value that is there but empty is told from none: it is written with quotation marks."""

    def shown(values: Mapping[str, str], name: str) -> str:
        return (values[name] or '""') if name in values else ""

    names = sorted({**before, **after}) if before != after else []
    return [
        Difference(kind, name, shown(before, name), shown(after, name))
        for name in names
        if before.get(name) != after.get(name)
    ]
