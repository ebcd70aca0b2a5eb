"""Bills of materials in CycloneDX: the same bytes for the same content. The library writes and checks the format.

Source: https://cyclonedx.org/docs/1.6/json; https://github.com/CycloneDX/cyclonedx-python-lib
"""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import openbell
from openbell.core.sbom import Component
from openbell.ports import AdapterError

if TYPE_CHECKING:
    from cyclonedx.model.component import Component as Part

SYSTEM = "cyclonedx"
REMEDY = "pip install 'openbell[images]'"
NAMESPACE = uuid.UUID("6f1d2c7e-5b0c-5d2e-9d6b-0b0f3a0c9a11")
"""Serial numbers are made of it and of the content's digest, so that they are the same each time."""


def is_installed() -> bool:
    """Say whether bills of materials can be written here."""
    from importlib.util import find_spec

    return find_spec("cyclonedx") is not None


def write(name: str, digest: str, components: Sequence[Component], *, epoch_s: int, container: bool) -> bytes:
    """Write the bill of materials of one content; raises `AdapterError` where the library is not installed."""
    try:
        from cyclonedx.model import HashAlgorithm, HashType
        from cyclonedx.model.bom import Bom, BomMetaData
        from cyclonedx.model.component import Component as Made
        from cyclonedx.model.component import ComponentType
        from cyclonedx.output.json import JsonV1Dot6
    except ImportError as error:
        message = f"no bill of materials can be written: {error}. {REMEDY}"
        raise AdapterError(SYSTEM, "write", message, effect="not_applied") from error
    subject = Made(
        name=name, type=ComponentType.CONTAINER if container else ComponentType.APPLICATION, version=digest,
        bom_ref=digest, hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest.removeprefix("sha256:"))],
    )  # fmt: skip
    tool = Made(name="openbell", type=ComponentType.APPLICATION, version=openbell.__version__, bom_ref="openbell")
    metadata = BomMetaData(component=subject, timestamp=datetime.fromtimestamp(epoch_s, UTC))
    metadata.tools.components.add(tool)
    parts = [_part(one) for one in components]
    bom = Bom(serial_number=uuid.uuid5(NAMESPACE, digest), metadata=metadata, components=parts)
    bom.register_dependency(subject, parts)
    return JsonV1Dot6(bom).output_as_string(indent=2).encode() + b"\n"


def _part(component: Component) -> "Part":
    from cyclonedx.contrib.license.factories import LicenseFactory
    from cyclonedx.model.component import Component as Made
    from cyclonedx.model.component import ComponentType
    from packageurl import PackageURL

    licences = [LicenseFactory().make_from_string(component.licence)] if component.licence else []
    return Made(
        name=component.name, type=ComponentType.LIBRARY, version=component.version or None, bom_ref=component.purl,
        purl=PackageURL.from_string(component.purl), licenses=licences,
    )  # fmt: skip
