"""betterleaks' report: secrets, how sure it is of them, and scans that did not come to their end."""

import json
from pathlib import Path
from typing import Any

import pytest

from openbell.adapters import betterleaks
from openbell.ports import AdapterError


def finding(confidence: str, path: str = "./src/settings.py") -> dict[str, Any]:
    return {
        "rule_id": "github-pat", "description": "Uncovered a token.", "confidence": confidence,
        "match": {"full": "REDACTED", "fingerprint": "c38d66"},
        "location": {"path": path, "start_line": 3, "start_column": 10},
    }  # fmt: skip


def write(tmp_path: Path, *findings: object, state: str = "complete") -> Path:
    file = tmp_path / "secrets.json"
    file.write_text(json.dumps({"schema_version": "1", "findings": findings, "scan": {"state": state}}))
    return file


@pytest.mark.parametrize(
    ("confidence", "severity"), [("high", "critical"), ("medium", "high"), ("low", "medium"), ("other", "high")]
)
def test_a_secret_is_as_severe_as_it_is_sure(tmp_path: Path, confidence: str, severity: str) -> None:
    (one,), incomplete = betterleaks.read(write(tmp_path, finding(confidence)), None)
    assert not incomplete
    assert (one.severity, one.rule, one.place, one.key) == (severity, "github-pat", "src/settings.py:3", "c38d66")


def test_paths_are_those_of_the_folder_that_was_scanned(tmp_path: Path) -> None:
    (one,), _ = betterleaks.read(write(tmp_path, finding("high", "/tree/a.py")), Path("/tree"))
    assert one.path == "a.py"


def test_a_scan_that_did_not_end_has_not_looked_at_everything(tmp_path: Path) -> None:
    assert betterleaks.read(write(tmp_path, state="canceled"), None) == ((), "the scan ended in state canceled")


def test_another_report_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "secrets.json"
    file.write_text("[]")
    with pytest.raises(AdapterError, match="no JSON report of betterleaks"):
        betterleaks.read(file, None)
