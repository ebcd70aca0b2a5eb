"""pip-audit's report: advisories with their place in the lock file, and what could not be looked up."""

import json
from pathlib import Path

import pytest

from openbell.adapters import pip_audit
from openbell.ports import AdapterError

VULNERABLE = {
    "name": "Jinja2", "version": "2.4.1",
    "vulns": [{"id": "PYSEC-2014-8", "fix_versions": ["2.7.2"], "aliases": ["CVE-2014-1402"], "description": "long"}],
}  # fmt: skip
FINE = {"name": "httpx", "version": "0.28.1", "vulns": []}
SKIPPED = {"name": "h11", "skip_reason": "could not be reached"}


def write(tmp_path: Path, *dependencies: object) -> Path:
    file = tmp_path / "audit.json"
    file.write_text(json.dumps({"dependencies": dependencies, "fixes": []}))
    return file


def test_an_advisory_is_a_finding_in_the_line_of_its_package(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("httpx==0.28.1 \\\n    --hash=sha256:0\njinja2==2.4.1\n")
    (one,), incomplete = pip_audit.read(write(tmp_path, FINE, VULNERABLE), lock)
    assert not incomplete
    assert (one.tool, one.rule, one.severity, one.line) == ("pip-audit", "PYSEC-2014-8", "high", 3)
    assert one.message == "Jinja2 2.4.1: PYSEC-2014-8, fixed in 2.7.2 (CVE-2014-1402)"
    assert one.key == "jinja2:PYSEC-2014-8", "another version of the package that is vulnerable is the same finding"


def test_without_a_fix_and_without_a_file(tmp_path: Path) -> None:
    unfixed = {"name": "x", "version": "1", "vulns": [{"id": "A"}]}
    (one,), _ = pip_audit.read(write(tmp_path, unfixed), None)
    assert (one.message, one.path, one.line) == ("x 1: A, fixed in no version yet", "", None)


@pytest.mark.parametrize(
    ("dependencies", "told"),
    [([FINE], ""), ([FINE, SKIPPED], "for 1 of 2 dependencies"), ([], "for 0 of 0 dependencies")],
)
def test_what_was_not_looked_up_is_no_pass(tmp_path: Path, dependencies: list[object], told: str) -> None:
    incomplete = f"advisory database unreachable {told}" if told else ""
    assert pip_audit.read(write(tmp_path, *dependencies), None) == ((), incomplete)


@pytest.mark.parametrize("content", ["", "[]", '{"dependencies": 3}', "[" * 100_000])
def test_what_is_no_report_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "audit.json"
    file.write_text(content)
    with pytest.raises(AdapterError, match=r"audit\.json is no JSON report of pip-audit"):
        pip_audit.read(file, None)
