"""CycloneDX: components are counted, also those in components, and what is none is refused."""

from pathlib import Path

import msgspec
import pytest

from openbell.adapters import cyclonedx_report
from openbell.core.report import Components
from openbell.ports import AdapterError


def write(tmp_path: Path, content: bytes) -> Path:
    file = tmp_path / "bom.json"
    file.write_bytes(content)
    return file


def test_components_and_vulnerabilities_are_counted(tmp_path: Path) -> None:
    inner = {"name": "b", "components": [{"name": "c"}, "no component"]}
    bill = {"bomFormat": "CycloneDX", "specVersion": "1.6", "components": [{"name": "a"}, inner, {"components": 3}],
            "vulnerabilities": [{"id": "CVE-2024-1"}]}  # fmt: skip
    assert cyclonedx_report.read(write(tmp_path, msgspec.json.encode(bill))) == Components(4, 1)


@pytest.mark.parametrize("content", [b"", b"{}", b'{"bomFormat": "SPDX"}', b"[" * 100_000, b"\xff"])
def test_what_is_no_bill_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(AdapterError, match="no CycloneDX file"):
        cyclonedx_report.read(write(tmp_path, content))
