"""Statements of where a release comes from, and what is said of one that is not what is wanted."""

import json
from typing import Any

import msgspec
import pytest

from openbell.core.provenance import Origin, Wanted, compose, read_statement, refusals, resource, source_of

DIGEST = "sha256:" + "a" * 64
ORIGIN = Origin(
    project="engine", source="https://example.com/a", commit="c" * 40, ref="main", trigger="push", run="4f2c",
    builder="https://ci.example.com", openbell="0.1.0", started_at="2026-01-01T00:00:00Z",
    finished_at="2026-01-01T00:01:00Z",
)  # fmt: skip
WANTED = Wanted(digest=DIGEST, commit="c" * 40, source="https://example.com/a", builder="https://ci.example.com")


def composed(**changes: Any) -> bytes:
    origin = msgspec.structs.replace(ORIGIN, **changes)
    return compose(origin, [resource("release", DIGEST)], byproducts=[resource("s", DIGEST)], jobs={"image": "f1"})


def test_a_statement_is_that_of_the_standards() -> None:
    found = json.loads(composed())
    assert found["_type"] == "https://in-toto.io/Statement/v1"
    assert found["predicateType"] == "https://slsa.dev/provenance/v1"
    assert found["subject"] == [{"name": "release", "digest": {"sha256": "a" * 64}}]
    definition, details = found["predicate"]["buildDefinition"], found["predicate"]["runDetails"]
    assert definition["externalParameters"]["commit"] == "c" * 40
    assert definition["internalParameters"] == {"jobs": {"image": "f1"}}
    source = {"uri": "git+https://example.com/a", "digest": {"gitCommit": "c" * 40}}
    assert definition["resolvedDependencies"] == [source]
    assert details["builder"]["id"] == "https://ci.example.com"
    assert details["metadata"]["invocationId"] == "4f2c"
    assert details["byproducts"][0]["name"] == "s"


def test_what_is_wanted_is_said() -> None:
    assert list(refusals(read_statement(composed()), WANTED)) == []
    assert list(refusals(read_statement(composed()), Wanted(digest=DIGEST))) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"commit": "d" * 40}, "its commit is ddd"),
        ({"source": "https://example.com/fork"}, "its source is https://example.com/fork, and must be"),
        ({"source": ""}, "its source is not named"),
        ({"builder": "urn:other"}, "its builder is urn:other"),
    ],
)
def test_another_origin_is_refused(changes: dict[str, str], said: str) -> None:
    (reason,) = refusals(read_statement(composed(**changes)), WANTED)
    assert said in reason


def test_another_content_is_refused() -> None:
    (reason,) = refusals(read_statement(composed()), msgspec.structs.replace(WANTED, digest="sha256:" + "b" * 64))
    assert "about another content" in reason


def test_another_way_to_build_and_another_statement_are_refused() -> None:
    other = json.loads(composed())
    other["predicate"]["buildDefinition"]["buildType"] = "urn:other"
    (reason,) = refusals(read_statement(json.dumps(other).encode()), WANTED)
    assert "in another way" in reason
    other["predicateType"] = "https://cyclonedx.org/bom"
    (reason,) = refusals(read_statement(json.dumps(other).encode()), WANTED)
    assert "it is no provenance" in reason
    other = json.loads(composed()) | {"predicate": {}}
    (reason,) = refusals(read_statement(json.dumps(other).encode()), WANTED)
    assert "cannot be read" in reason


@pytest.mark.parametrize("content", [b"", b"{}", b'{"_type": "x", "subject": [], "predicateType": "", "predicate": 1}'])
def test_what_is_no_statement_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="statement"):
        read_statement(content)


@pytest.mark.parametrize(
    ("remote", "source"),
    [
        ("git@git.example.com:acme/engine.git", "https://git.example.com/acme/engine"),
        ("ssh://git@git.example.com:2222/acme/engine.git", "https://git.example.com/acme/engine"),
        ("https://me:secret@git.example.com/acme/engine.git", "https://git.example.com/acme/engine"),
        ("https://git.example.com/acme/engine/", "https://git.example.com/acme/engine"),
        ("/srv/git/engine", ""),
        ("", ""),
    ],
)
def test_a_source_is_named_without_a_login(remote: str, source: str) -> None:
    assert source_of(remote) == source
