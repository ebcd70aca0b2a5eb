"""A bill of materials that a job left, in CycloneDX JSON: how many components and vulnerabilities it tells of.

Components may hold components; they are counted without recursion, because input is untrusted.

Source: https://cyclonedx.org/docs/1.6/json/
"""

from pathlib import Path
from typing import Any

import msgspec

from openbell import report_file
from openbell.core.report import Components
from openbell.ports import AdapterError


class _Bill(msgspec.Struct, rename="camel"):
    bom_format: str = ""
    components: list[dict[str, Any]] = []
    vulnerabilities: list[dict[str, Any]] = []


def read(file: Path) -> Components:
    """Read a bill of materials; raises `AdapterError` when it is missing, too large or no CycloneDX."""
    bill = report_file.read_json(file, "cyclonedx", _Bill, kind="CycloneDX file")
    if bill.bom_format != "CycloneDX":
        raise AdapterError("cyclonedx", "read", f"{file.name} is no CycloneDX file: it has no such bomFormat")
    pending: list[Any] = list(bill.components)
    total = 0
    while pending:
        component = pending.pop()
        if isinstance(component, dict):
            total += 1
            inner = component.get("components")
            pending += inner if isinstance(inner, list) else []
    return Components(total, len(bill.vulnerabilities))
