"""SARIF: severities, places, suppressions, files that are none, what a later run recognises, and what we write."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbell import report_file
from openbell.adapters import sarif
from openbell.adapters.sarif import Written
from openbell.core.sightings import SEVERITIES, Look, Sighting, context_of, key_of_text
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


# --------------------------------------------------------------------------------- what a later run recognises it by


def at(uri: str, line: int | None = None, **other: Any) -> dict[str, Any]:
    region = {"region": {"startLine": line}} if line else {}
    return {"physicalLocation": {"artifactLocation": {"uri": uri, **other}, **region}}


def sightings(tmp_path: Path, *results: dict[str, Any], **run: Any) -> tuple[Sighting, ...]:
    file = write(tmp_path, *({"ruleId": "R", "message": {"text": "m"}, **result} for result in results))
    content = json.loads(file.read_text())
    content["runs"][0] |= run
    file.write_text(json.dumps(content))
    return sarif.read(file, root=tmp_path / "tree").sightings


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "tree/src").mkdir(parents=True)
    (tmp_path / "tree/src/a b.py").write_text("import os\n\n  eval(x)\nprint()\n")
    return tmp_path / "tree"


@pytest.mark.parametrize("uri", ["src/a%20b.py", "./src/a b.py", "file://{tree}/src/a%20b.py", "{tree}/src/a b.py"])
def test_paths_are_those_of_the_tree(tmp_path: Path, tree: Path, uri: str) -> None:
    (one,) = sightings(tmp_path, {"locations": [at(uri.format(tree=tree), 3)]})
    assert (one.place, one.key) == ("src/a b.py:3", key_of_text("eval(x)"))
    assert one.context == context_of(["import os", "", "", "print()"], 3)


def test_paths_may_be_relative_to_a_base_that_is_named(tmp_path: Path, tree: Path) -> None:
    bases = {"ROOT": {"uri": f"file://{tree}/"}, "SRC": {"uri": "src/", "uriBaseId": "ROOT"}}
    (one,) = sightings(tmp_path, {"locations": [at("a%20b.py", 3, uriBaseId="SRC")]}, originalUriBaseIds=bases)
    assert one.place == "src/a b.py:3"
    endless = {"A": {"uri": "x", "uriBaseId": "B"}, "B": {"uri": "y", "uriBaseId": "A"}}
    assert sightings(tmp_path, {"locations": [at("a.py", uriBaseId="A")]}, originalUriBaseIds=endless)


def test_a_path_may_be_that_of_a_file_named_elsewhere(tmp_path: Path, tree: Path) -> None:
    located = {"physicalLocation": {"artifactLocation": {"index": 0}, "region": {"startLine": 3}}}
    (one,) = sightings(tmp_path, {"locations": [located]}, artifacts=[{"location": {"uri": "src/a%20b.py"}}])
    assert one.place == "src/a b.py:3"


@pytest.mark.parametrize(
    "uri", ["../secret.txt", "link.txt", "/etc/hostname", "pipe", "src", "a\0b", "no.py", "x" * 5000]
)
def test_files_outside_of_the_tree_are_not_read(tmp_path: Path, tree: Path, uri: str) -> None:
    (tmp_path / "secret.txt").write_text("hunter2\n")
    (tree / "link.txt").symlink_to(tmp_path / "secret.txt")
    os.mkfifo(tree / "pipe")
    (one,) = sightings(tmp_path, {"locations": [at(uri, 1)]})
    assert (one.key, one.context) == (key_of_text("m"), "")


def test_the_fingerprints_of_the_tool_come_first_and_empty_ones_are_none(tmp_path: Path, tree: Path) -> None:
    found = sightings(
        tmp_path,
        {"ruleId": "A", "partialFingerprints": {"x/v1": "1"}, "locations": [at("src/a%20b.py", 3)]},
        {"ruleId": "B", "partialFingerprints": {"x/v1": "", "y": 3}, "locations": [at("src/a%20b.py", 3)]},
        {"ruleId": "C", "partialFingerprints": {"x/v1": "1"}, "fingerprints": {"z": "2"}},
    )
    by_rule = {one.rule: one.key for one in found}
    assert by_rule["A"].startswith("own:")
    assert by_rule["B"] == key_of_text("eval(x)")
    assert by_rule["C"] not in (by_rule["A"], "")


def test_without_a_line_that_can_be_read_the_snippet_or_the_message_counts(tmp_path: Path, tree: Path) -> None:
    located = at("gone.py", 3)
    located["physicalLocation"]["region"]["snippet"] = {"text": "eval(x)"}
    found = sightings(tmp_path, {"locations": [located]}, {"locations": [at("src/a%20b.py", 99)]}, {})
    assert [one.key for one in found] == [key_of_text("m"), key_of_text("eval(x)"), key_of_text("m")]


def test_what_passed_or_is_suppressed_without_doubt_is_no_result(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        {"ruleId": "A", "kind": "pass"},
        {"ruleId": "B", "kind": "notApplicable"},
        {"ruleId": "C", "suppressions": [{"kind": "external", "status": "accepted"}]},
        {"ruleId": "D", "suppressions": [{"kind": "external", "status": "underReview"}]},
        {"ruleId": "E", "kind": "fail", "suppressions": []},
    )
    assert [one.rule for one in sarif.read(file).sightings] == ["D", "E"]


def test_rules_may_be_those_of_an_extension(tmp_path: Path) -> None:
    extension = {"name": "queries", "rules": [{"id": "other"}, security("9.8")]}
    tool = {"driver": {"name": "CodeQL"}, "extensions": [extension]}
    (one,) = sightings(tmp_path, {"rule": {"id": "R", "index": 1, "toolComponent": {"index": 0}}}, tool=tool)
    assert (one.tool, one.severity) == ("CodeQL", "critical")


def test_it_is_known_which_tool_has_looked_at_what(tmp_path: Path) -> None:
    target = {"location": {"uri": "src/a.py"}, "roles": ["analysisTarget"]}
    runs = [
        {"tool": {"driver": {"name": "one"}}, "results": []},
        {"tool": {"driver": {"name": "two"}}, "results": [], "artifacts": [target, {"location": {"uri": "other"}}]},
        {"tool": {"driver": {"name": "three"}}, "invocations": [{"executionSuccessful": False}]},
        {"tool": {"driver": {"name": "two"}}, "artifacts": [{**target, "location": {"uri": "b.py"}}]},
    ]
    file = tmp_path / "x.sarif"
    file.write_text(json.dumps({"runs": runs}))
    assert sarif.read(file).looks == (
        Look("one"), Look("two", files=("src/a.py", "b.py")), Look("three", whole=False),
    )  # fmt: skip


def test_who_found_more_than_is_kept_has_not_looked_at_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sarif, "SIGHTINGS_MAX", 2)
    results = [{"ruleId": str(n), "level": "error" if n == 2 else "note"} for n in range(3)]
    found = sarif.read(write(tmp_path, *results))
    assert found.total == 3
    assert [one.rule for one in found.sightings] == ["2", "0"]
    assert not found.looks[0].whole


# ------------------------------------------------------------------------------------------------------------ writing

WRITTEN = st.builds(
    Sighting,
    tool=st.text(min_size=1, max_size=5),
    rule=st.text(min_size=1, max_size=5),
    severity=st.sampled_from(SEVERITIES),
    message=st.text(alphabet='ab \u2028é"', min_size=1).filter(lambda text: text == text.strip() and "\n" not in text),
    path=st.sampled_from(["", "src/a b.py", "/usr/lib/x.so", "é#?.py"]),
    line=st.one_of(st.none(), st.integers(1, 9)),
)


@given(st.lists(WRITTEN, max_size=6))
def test_what_is_written_reads_as_it_was(tmp_path_factory: pytest.TempPathFactory, found: list[Sighting]) -> None:
    file = tmp_path_factory.mktemp("written") / "x.sarif"
    file.write_bytes(sarif.write([Written(str(n), one, "unchanged") for n, one in enumerate(found)], "1"))

    def facts(one: Sighting) -> tuple[object, ...]:
        return (one.tool, one.rule, one.severity, one.message, one.path, one.path and one.line)

    assert sorted(map(facts, sarif.read(file).sightings), key=str) == sorted(map(facts, found), key=str)


def test_what_is_waived_is_suppressed_in_it(tmp_path: Path) -> None:
    seen = Sighting("t", "R", "high", "m", "a.py", 3, 7)
    content = sarif.write(
        [Written("0", seen, "new"), Written("1", seen, "unchanged", "until 2027-01-01: test data (Ada)")], "1"
    )
    first, second = json.loads(content)["runs"][0]["results"]
    assert first["suppressions"] == []
    assert second["suppressions"] == [
        {"kind": "external", "status": "accepted", "justification": "until 2027-01-01: test data (Ada)"}
    ]
    assert first["locations"][0]["physicalLocation"]["region"] == {"startLine": 3, "startColumn": 7}
    assert first["partialFingerprints"] == {"openbell/v1": "0"}
    file = tmp_path / "x.sarif"
    file.write_bytes(content)
    assert sarif.read(file).total == 1
    assert json.loads(sarif.write([], "1"))["runs"][0]["results"] == []


def test_a_file_beside_the_report_is_named_from_there(tmp_path: Path) -> None:
    """Its folder is another one in each run, and the finding is the same."""
    file = write(tmp_path, {"locations": [at(f"file://{tmp_path}/rendered/chart.yaml", 3)]})
    assert [one.path for one in sarif.read(file).sightings] == ["rendered/chart.yaml"]


@pytest.mark.parametrize(
    ("result", "rules", "severity"),
    [
        ({}, [], "critical"),
        ({"ruleId": "R"}, [{"id": "R"}], "critical"),
        ({"level": "note"}, [], "low"),
        ({"ruleId": "R"}, [security("5.0")], "medium"),
        ({"ruleId": "R"}, [{"id": "R", "defaultConfiguration": {"level": "error"}}], "high"),
    ],
)
def test_a_tool_without_severities_gets_that_of_its_job(
    tmp_path: Path, result: dict[str, Any], rules: list[dict[str, Any]], severity: str
) -> None:
    file = write(tmp_path, result, rules=rules)
    assert [one.severity for one in sarif.read(file, severity="critical").sightings] == [severity]
