"""Bills of materials keep to the standard, and are the same bytes for the same content."""

import json
from importlib.util import find_spec

import pytest

from openbell.adapters import cyclonedx
from openbell.core.sbom import Component

if find_spec("cyclonedx") is None:
    pytest.skip("needs openbell[images]", allow_module_level=True)
DIGEST = "sha256:" + "a" * 64
COMPONENTS = (
    Component("deb/debian", "libc6", "2.36-9+b1"),
    Component("golang", "golang.org/x/time", "v0.12.0"),
    Component("golang", "example.org/main", ""),
    Component("pypi", "Flask_Login", "1.0", "MIT OR Apache-2.0"),
    Component("pypi", "odd", "1.0", "whatever they call it"),
)


def written(digest: str = DIGEST) -> bytes:
    return cyclonedx.write("engine", digest, COMPONENTS, epoch_s=1580601600, container=True)


def test_it_keeps_to_the_standard() -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(written().decode()) is None


def test_it_names_what_it_is_about_and_every_component() -> None:
    found = json.loads(written())
    assert found["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": "a" * 64}]
    assert found["metadata"]["timestamp"] == "2020-02-02T00:00:00+00:00"
    assert {one["purl"] for one in found["components"]} == {one.purl for one in COMPONENTS}
    named = {one["name"]: one for one in found["components"]}
    assert named["Flask_Login"]["licenses"] == [{"expression": "MIT OR Apache-2.0"}]


def test_it_is_the_same_for_the_same_content() -> None:
    assert written() == written()
    other = json.loads(written("sha256:" + "b" * 64))
    assert other["serialNumber"] != json.loads(written())["serialNumber"]
