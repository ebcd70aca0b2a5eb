"""The fingerprint of a job: SHA-256 over a manifest of all that its result can depend on.

The manifest is kept beside the result, so that a miss can say what changed. Files count by the content hashes that the
repository already has (git's blob ids). Values of secrets are not part of it, only their names: a result must not
depend on which credential fetched it, and a hash of a short secret would give the secret away.
"""

import hashlib
from collections.abc import Mapping, Sequence

import msgspec

from openbell.core.pipeline import JobNode
from openbell.core.project import Job

SCHEMA = 1
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
) -> Manifest:
    """Write down what a job's result can depend on.

    `env` is what every job is given besides its own, `upstream` the
    fingerprints of those jobs whose outputs it takes.
    """
    job = node.job
    return Manifest(
        schema=SCHEMA,
        command=job.run,
        axes=dict(node.axes),
        env={**env, **job.env},
        secrets=tuple(sorted(job.secrets)),
        services=tuple(sorted(job.services)),
        settings=_settings(job),
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
    names = ("outputs", "reports", "coverage_min_pct", "not_checked_exit_codes", "findings_exit_codes")
    return {name: msgspec.json.encode(getattr(job, name), order="deterministic").decode() for name in names}


def fingerprint(manifest: Manifest) -> str:
    """Return the SHA-256 of a manifest's canonical JSON, as hexadecimal."""
    return hashlib.sha256(msgspec.json.encode(manifest, order="deterministic")).hexdigest()


def explain_difference(before: Manifest, after: Manifest, *, shown_max: int = 3) -> str:
    """Say why a result could not be reused: "src/book.py changed", "the command changed"."""
    parts: list[str] = []
    for field, words in (("schema", "openbell runs jobs differently now"), ("platform", "the platform changed")):
        if getattr(before, field) != getattr(after, field):
            parts.append(words)
    fields = ("command", "axes", "secrets", "services", "settings")
    parts += [f"the {field} changed" for field in fields if getattr(before, field) != getattr(after, field)]
    parts += _differences(before.env, after.env)
    parts += [f"tool {text}" for text in _differences(before.tools, after.tools)]
    parts += _differences(before.files, after.files)
    parts += [f"job {text}" for text in _differences(before.upstream, after.upstream)]
    more = f" and {len(parts) - shown_max} more" if len(parts) > shown_max else ""
    return ", ".join(parts[:shown_max]) + more


def _differences(before: Mapping[str, str], after: Mapping[str, str]) -> Sequence[str]:
    names = sorted({**before, **after})
    return [
        f"{name} {'is new' if name not in before else 'is gone' if name not in after else 'changed'}"
        for name in names
        if before.get(name) != after.get(name)
    ]
