"""References, documents, and what an image must have."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbell.core.image import (
    OCI_CONFIG,
    OCI_MANIFEST,
    ContainerConfig,
    Descriptor,
    HealthCheck,
    ImageConfig,
    ImageIndex,
    ImageManifest,
    Platform,
    Reference,
    compose_index,
    digest_of,
    faults,
    labels,
    normalise,
    parse_platform,
    parse_reference,
    tag_of,
    timestamp,
)

DIGEST = "sha256:" + "a" * 64
WELL = ContainerConfig(user="65532:65532", healthcheck=HealthCheck(("CMD", "/x")))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("ghcr.io/acme/engine:v1", Reference("ghcr.io", "acme/engine", "v1")),
        (f"127.0.0.1:5000/engine@{DIGEST}", Reference("127.0.0.1:5000", "engine", "", DIGEST)),
        (f"localhost/engine:main@{DIGEST}", Reference("localhost", "engine", "main", DIGEST)),
    ],
)
def test_references(text: str, wanted: Reference) -> None:
    assert parse_reference(text) == wanted


@pytest.mark.parametrize(
    "text",
    ["engine", "acme/engine", "ghcr.io/Acme", "ghcr.io/a:b c", "ghcr.io/a@sha256:12", "ghcr.io/", "ghcr.io/../a"],
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match='"'):
        parse_reference(text)


def test_a_reference_is_written_by_digest_if_it_has_one() -> None:
    assert str(Reference("ghcr.io", "a", "v1", DIGEST)) == f"ghcr.io/a@{DIGEST}"
    assert str(Reference("ghcr.io", "a")) == "ghcr.io/a:latest"


@given(st.text(max_size=200))
def test_every_name_makes_a_tag(name: str) -> None:
    assert parse_reference(f"localhost/a:{tag_of(name)}").tag == tag_of(name)


def test_tags_keep_what_may_be_kept() -> None:
    assert tag_of("feature/order-book") == "feature-order-book"
    assert tag_of("v1.2.3") == "v1.2.3"


def test_platforms() -> None:
    assert parse_platform("linux/arm64") == Platform("arm64", "linux")
    assert parse_platform("linux/arm/v7").name == "linux/arm/v7"
    with pytest.raises(ValueError, match="linux/amd64"):
        parse_platform("arm64")


def test_an_index_has_one_order() -> None:
    one = Descriptor(OCI_MANIFEST, DIGEST, 1, Platform("amd64", "linux"))
    other = Descriptor(OCI_MANIFEST, DIGEST, 1, Platform("arm64", "linux"))
    assert compose_index([one, other]) == compose_index([other, one])
    assert msgspec.json.decode(compose_index([one, other]), type=ImageIndex).manifests == (one, other)


@given(st.integers(0, 4_000_000_000))
def test_times_are_utc(epoch_s: int) -> None:
    assert timestamp(epoch_s).endswith("Z")
    assert len(timestamp(epoch_s)) == len("2020-02-02T00:00:00Z")


def test_labels_are_those_of_the_standard() -> None:
    found = labels(title="engine", epoch_s=1580601600, source="https://example.com/a", licences="Apache-2.0")
    assert found == {
        "org.opencontainers.image.title": "engine",
        "org.opencontainers.image.source": "https://example.com/a",
        "org.opencontainers.image.created": "2020-02-02T00:00:00Z",
        "org.opencontainers.image.licenses": "Apache-2.0",
    }


def docker_config(host: str, parent: str) -> bytes:
    return json.dumps({
        "architecture": "arm64", "os": "linux", "created": "2020-02-02T00:00:00Z", "container": host,
        "docker_version": "1", "id": parent, "rootfs": {"type": "layers", "diff_ids": [DIGEST]},
        "history": [{"created_by": "COPY", "comment": f"FROM {parent}"}, {"created_by": "USER", "empty_layer": True}],
        "config": {
            "Hostname": host, "User": "65532", "Healthcheck": {"Test": ["CMD", "/x"]}, "AttachStdin": False,
            "Labels": {"io.buildah.version": "1", "a": "b"}, "Entrypoint": ["/x"], "Cmd": [],
        },
    }).encode()  # fmt: skip


def test_what_differs_by_build_is_left_out_and_the_health_check_kept() -> None:
    layer = Descriptor("application/vnd.docker.image.rootfs.diff.tar.gzip", DIGEST, 5)
    manifest = ImageManifest(2, Descriptor("docker", DIGEST, 1), (layer,), "docker")
    one, two = (normalise(manifest, docker_config(host, host)) for host in ("a1", "b2"))
    assert one == two
    written = msgspec.json.decode(one[0], type=ImageManifest)
    assert (written.media_type, written.config.media_type) == (OCI_MANIFEST, OCI_CONFIG)
    assert written.config.digest == digest_of(one[1])
    assert written.layers[0].media_type == "application/vnd.oci.image.layer.v1.tar+gzip"
    assert written.layers[0].digest == DIGEST
    config = msgspec.json.decode(one[1], type=ImageConfig)
    assert config.config == ContainerConfig("65532", HealthCheck(("CMD", "/x")), {"a": "b"})
    assert config.platform == Platform("arm64", "linux")
    assert b"Hostname" not in one[1]


@pytest.mark.parametrize("user", ["", "0", "root", "0:0", "root:staff"])
def test_root_is_refused(user: str) -> None:
    config = ImageConfig("amd64", "linux", config=msgspec.structs.replace(WELL, user=user))
    (fault,) = faults(config)
    assert "USER" in fault
    assert faults(config, allowed=("root",)) == ()


@pytest.mark.parametrize("check", [None, HealthCheck(), HealthCheck(("NONE",))])
def test_no_health_check_is_refused(check: HealthCheck | None) -> None:
    config = ImageConfig("amd64", "linux", config=msgspec.structs.replace(WELL, healthcheck=check))
    (fault,) = faults(config)
    assert "HEALTHCHECK" in fault
    assert faults(config, allowed=("no-health-check",)) == ()


def test_nothing_is_said_of_an_image_that_is_well() -> None:
    assert faults(ImageConfig("amd64", "linux", config=WELL)) == ()
