"""A release is named by its manifest, also by one that another openbell wrote."""

import json

import msgspec
import pytest

from openbell.core.project import Project, ProjectInfo
from openbell.core.release import Artifact, Release, digest_in

RELEASE = Release(Project(project=ProjectInfo(name="engine")), "c0ffee", (Artifact("a.whl", "a" * 64, 5),))


def test_a_manifest_has_the_digest_of_its_release() -> None:
    manifest = msgspec.json.encode(RELEASE, order="deterministic")
    assert digest_in(manifest) == RELEASE.digest
    other = msgspec.json.encode(msgspec.structs.replace(RELEASE, commit="d0d0"), order="deterministic")
    assert digest_in(other) == RELEASE.digest


def test_fields_that_this_openbell_does_not_know_count_as_they_were_written() -> None:
    manifest = json.loads(msgspec.json.encode(RELEASE, order="deterministic"))
    manifest["project"]["of_another_openbell"] = {"b": 1}
    with_field = json.dumps(manifest, separators=(",", ":")).encode()
    assert digest_in(with_field) != RELEASE.digest
    assert msgspec.json.decode(with_field, type=Release).project == RELEASE.project


@pytest.mark.parametrize("content", [b"", b"[]", b"{}"])
def test_what_is_no_manifest_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        digest_in(content)
