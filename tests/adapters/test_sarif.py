"""SARIF: severities, places, suppressions, and files that are none."""

import json
from pathlib import Path
from typing import Any

import pytest

from openbell import report_file
from openbell.adapters import sarif
from openbell.ports import AdapterError


def write(tmp_path: Path, *results: dict[str, Any], rules: list[dict[str, Any]] | None = None) -> Path:
    run = {"tool": {"driver": {"name": "x", "rules": rules or []}}, "results": list(results)}
    file = tmp_path / "x.sarif"
    file.write_text(json.dumps({"version": "2.1.0", "runs": [run]}))
    return file


def security(score: object, *, tags: list[str] | None = None) -> dict[str, Any]:
    return {"id": "R", "properties": {"security-severity": score, "tags": ["security"] if tags is None else tags}}


@pytest.mark.parametrize(
    ("result", "rule", "severity"),
    [
        ({"level": "error"}, {}, "high"),
        ({"level": "warning"}, {}, "medium"),
        ({"level": "note"}, {}, "low"),
        ({"level": "none"}, {}, "note"),
        ({}, {}, "medium"),
        ({}, {"id": "R", "defaultConfiguration": {"level": "error"}}, "high"),
        ({"level": "note"}, {"id": "R", "defaultConfiguration": {"level": "error"}}, "low"),
        ({"level": "note"}, security("9.0"), "critical"),
        ({"level": "note"}, security("8.9"), "high"),
        ({"level": "note"}, security(7.0), "high"),
        ({"level": "error"}, security("4.0"), "medium"),
        ({"level": "error"}, security("3.9"), "low"),
        ({"level": "error"}, security("nonsense"), "high"),
        ({"level": "error"}, security(10**400), "high"),
        ({"level": "error"}, security("1.0", tags=["style"]), "high"),
    ],
)
def test_severities(tmp_path: Path, result: dict[str, Any], rule: dict[str, Any], severity: str) -> None:
    file = write(tmp_path, {"ruleId": "R", "message": {"text": "m"}, **result}, rules=[rule] if rule else [])
    assert [finding.severity for finding in sarif.read(file).first] == [severity]


def test_a_rule_may_be_named_by_its_index(tmp_path: Path) -> None:
    file = write(tmp_path, {"ruleIndex": 0, "message": {"text": "m"}}, {"ruleIndex": 7}, rules=[security("9.5")])
    found = sarif.read(file)
    assert [(finding.rule, finding.severity) for finding in found.first] == [("R", "critical"), ("", "medium")]


def test_places_messages_counts_and_order(tmp_path: Path) -> None:
    location = {"physicalLocation": {"artifactLocation": {"uri": "file://src/a.py"}, "region": {"startLine": 7}}}
    file = write(
        tmp_path,
        {"ruleId": "A", "level": "note", "message": {"text": "small"}},
        {"ruleId": "B", "level": "error", "message": {"text": "big\nand more"}, "locations": [location]},
        {"ruleId": "C", "level": "error", "message": {"text": "known"}, "suppressions": [{"kind": "inSource"}]},
    )
    found = sarif.read(file)
    assert found.total == 2
    assert found.counts == {"critical": 0, "high": 1, "medium": 0, "low": 1, "note": 0}
    assert (found.first[0].rule, found.first[0].message, found.first[0].place) == ("B", "big", "src/a.py:7")


def test_only_the_worst_are_kept(tmp_path: Path) -> None:
    many = [{"ruleId": "N", "level": "note", "message": {"text": str(n)}} for n in range(50)]
    found = sarif.read(write(tmp_path, *many, {"ruleId": "E", "level": "error", "message": {"text": "e"}}))
    assert found.total == 51
    assert len(found.first) == 20
    assert found.first[0].rule == "E"


def test_no_results_is_no_finding(tmp_path: Path) -> None:
    file = tmp_path / "x.sarif"
    file.write_text('{"runs": [{"tool": {"driver": {"name": "x"}}, "results": null}]}')
    assert sarif.read(file).total == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "x.sarif was not written"),
        (b"", "no SARIF file"),
        (b"{}", "no SARIF file"),
        (b'{"runs": 3}', "no SARIF file"),
        (b'{"runs": [{"results": [{"locations": [{"physicalLocation": 3}]}]}]}', "no SARIF file"),
        (b"[" * 100_000, "no SARIF file"),
        (b'{"runs": [{"results": [{"message": {"text": "\xff"}}]}]}', "no SARIF file"),
        (b'{"runs": [{"results": [{"ruleIndex": ' + b"9" * 5000 + b"}]}]}", "no SARIF file"),
        (b'{"runs": [{"results": [], "x": ' + b"[" * 100_000, "no SARIF file"),
    ],
)
def test_what_is_no_sarif_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    file = tmp_path / "x.sarif"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(AdapterError, match=message):
        sarif.read(file)


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.sarif"
    with file.open("wb") as stream:
        stream.truncate(report_file.SIZE_BYTES_MAX + 1)
    with pytest.raises(AdapterError, match="larger than 50 MB"):
        sarif.read(file)
