"""Where a release comes from, as a statement that can be signed, and whether a statement says what is wanted of it.

One statement is about everything that a release consists of: the release itself, its files, its images, each by digest.
What it says is judged here; that it is signed, and by whom, is found out before (`openbell.adapters.dsse`).

Source: https://slsa.dev/spec/v1.0/provenance; https://github.com/in-toto/attestation/tree/main/spec/v1
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

STATEMENT = "https://in-toto.io/Statement/v1"
PROVENANCE = "https://slsa.dev/provenance/v1"
BILL_OF_MATERIALS = "https://cyclonedx.org/bom"
BUILD_TYPE = "urn:openbell:pipeline:1"
"""What `externalParameters` mean: docs/images.md says it."""
LOCAL_BUILDER = "urn:openbell:builder:local"


class Protocol(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A document of the standards: camel case, what is empty is left out."""


class Resource(Protocol, frozen=True, rename="camel", omit_defaults=True):
    """Something by its digest: a subject, a dependency, a by-product."""

    name: str = ""
    uri: str = ""
    digest: dict[str, str] = {}


class BuildDefinition(Protocol, frozen=True, rename="camel", omit_defaults=True):
    """What was asked for, and from what it was built."""

    build_type: str
    external_parameters: dict[str, Any]
    internal_parameters: dict[str, Any] = {}
    resolved_dependencies: tuple[Resource, ...] = ()


class Builder(Protocol, frozen=True, rename="camel", omit_defaults=True):
    """Who built it."""

    id: str
    version: dict[str, str] = {}


class BuildMetadata(Protocol, frozen=True, rename="camel", omit_defaults=True):
    """Which run built it, and when."""

    invocation_id: str = ""
    started_on: str = ""
    finished_on: str = ""


class RunDetails(Protocol, frozen=True, rename="camel", omit_defaults=True):
    """What is particular to one run."""

    builder: Builder
    metadata: BuildMetadata = BuildMetadata()
    byproducts: tuple[Resource, ...] = ()


class Provenance(Protocol, frozen=True, rename="camel", omit_defaults=True):
    """The predicate of SLSA, version 1."""

    build_definition: BuildDefinition
    run_details: RunDetails


class Statement(msgspec.Struct, frozen=True, rename={"type": "_type", "predicate_type": "predicateType"}):
    """A predicate about subjects."""

    type: str
    subject: tuple[Resource, ...]
    predicate_type: str
    predicate: msgspec.Raw

    @property
    def digests(self) -> dict[str, str]:
        """The SHA-256 of every subject, and its name."""
        return {one.digest["sha256"]: one.name or one.uri for one in self.subject if "sha256" in one.digest}


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """What a run knows of where its release comes from."""

    project: str
    source: str
    commit: str
    ref: str
    trigger: str
    run: str
    builder: str
    openbell: str
    started_at: str
    finished_at: str


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a statement must say; an empty text wants nothing."""

    digest: str
    commit: str = ""
    source: str = ""
    builder: str = ""


def source_of(remote: str) -> str:
    """Write a remote's address as one that everybody reads: HTTPS, without a login; empty for a folder."""
    shell = re.fullmatch(r"(?:ssh://)?[\w.-]+@([\w.-]+)(?::\d+)?[:/](.+)", remote)
    web = re.fullmatch(r"https?://(?:[^@/]*@)?([^/]+)/(.+)", remote)
    match = shell or web
    return f"https://{match[1]}/{match[2].removesuffix('.git').strip('/')}" if match else ""


def resource(name: str, digest: str) -> Resource:
    """Name something by its SHA-256, with or without the prefix."""
    return Resource(name=name, digest={"sha256": digest.removeprefix("sha256:")})


def compose(
    origin: Origin,
    subjects: Sequence[Resource],
    *,
    dependencies: Sequence[Resource] = (),
    byproducts: Sequence[Resource] = (),
    jobs: Mapping[str, str] | None = None,
) -> bytes:
    """Compose the provenance of a release; `jobs` are its jobs and their fingerprints."""
    commit = Resource(uri=f"git+{origin.source}" if origin.source else "git", digest={"gitCommit": origin.commit})
    parameters = {
        "project": origin.project,
        "source": origin.source,
        "commit": origin.commit,
        "ref": origin.ref,
        "trigger": origin.trigger,
    }
    definition = BuildDefinition(BUILD_TYPE, parameters, {"jobs": dict(jobs or {})}, (commit, *dependencies))
    details = RunDetails(
        Builder(origin.builder, {"openbell": origin.openbell}),
        BuildMetadata(origin.run, origin.started_at, origin.finished_at),
        tuple(byproducts),
    )
    return state(subjects, PROVENANCE, msgspec.json.encode(Provenance(definition, details), order="deterministic"))


def state(subjects: Sequence[Resource], predicate_type: str, predicate: bytes) -> bytes:
    """Compose a statement about subjects."""
    statement = Statement(STATEMENT, tuple(subjects), predicate_type, msgspec.Raw(predicate))
    return msgspec.json.encode(statement, order="deterministic")


def read_statement(content: bytes) -> Statement:
    """Read a statement; raises `ValueError` when it is none."""
    try:
        found = msgspec.json.decode(content, type=Statement)
    except msgspec.DecodeError as error:
        raise ValueError(f"it is no statement: {error}") from error
    if found.type != STATEMENT:
        raise ValueError(f"it is a statement of another kind: {found.type}")
    return found


def refusals(statement: Statement, wanted: Wanted) -> Iterator[str]:
    """Return in which ways a provenance does not say what is wanted of it."""
    if statement.predicate_type != PROVENANCE:
        yield f"it is no provenance but {statement.predicate_type}"
        return
    try:
        found = msgspec.json.decode(statement.predicate, type=Provenance)
    except msgspec.DecodeError as error:
        yield f"its provenance cannot be read: {error}"
        return
    if wanted.digest.removeprefix("sha256:") not in statement.digests:
        named = ", ".join(statement.digests.values()) or "nothing"
        yield f"it is about another content: {wanted.digest[:19]} is not among {named}"
    if found.build_definition.build_type != BUILD_TYPE:
        yield f"it was built in another way: {found.build_definition.build_type}"
    parameters = found.build_definition.external_parameters
    said = {
        "commit": parameters.get("commit"),
        "source": parameters.get("source"),
        "builder": found.run_details.builder.id,
    }
    for name, want in (("commit", wanted.commit), ("source", wanted.source), ("builder", wanted.builder)):
        if want and said[name] != want:
            yield f"its {name} is {said[name] or 'not named'}, and must be {want}"
