"""The ledger: one entry per finding, whatever moves; nothing is fixed that nobody has looked for."""

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from openbell.core.findings import Change, Entry, JobScan, Moment, Scan, record
from openbell.core.sightings import Look, Sighting, context_of, keep_worst, key_of_text, place_of

TREE = ("a.py", "b.py")
SOURCE = [
    "import os", "", "try:", "    run()", "except Error:", "    pass",
    "", "try:", "    stop()", "except Error:", "    pass",
]  # fmt: skip


def sighting(line: int, lines: Sequence[str] = SOURCE, **other: Any) -> Sighting:
    key, context = key_of_text(lines[line - 1]), context_of(lines, line)
    given: dict[str, Any] = {"tool": "bandit", "rule": "B110", "severity": "high", "message": "m", "path": "a.py"}
    return Sighting(**{**given, "line": line, "key": key, "context": context, **other})


def scan(*found: Sighting, at_s: float = 1.0, job: str = "sast", **other: Any) -> Scan:
    ran = JobScan(job, found, other.pop("looks", (Look("bandit"),)), other.pop("files", TREE))
    return Scan(Moment(at_s, f"run{at_s:g}", "c"), other.pop("tree", TREE), (ran,), ("sast", "other"), **other)


def kinds(changes: Sequence[Change]) -> list[str]:
    return [change.kind for change in changes]


def open_ids(entries: dict[str, Entry]) -> set[str]:
    return {id_ for id_, entry in entries.items() if entry.is_open}


def test_a_finding_is_new_once_and_fixed_once_and_comes_back() -> None:
    entries, changes = record({}, scan(sighting(5), at_s=1))
    assert kinds(changes) == ["new"]
    entries, changes = record(entries, scan(sighting(5), at_s=2))
    assert changes == ()
    entries, changes = record(entries, scan(at_s=3))
    assert kinds(changes) == ["fixed"]
    entries, changes = record(entries, scan(at_s=4))
    assert changes == ()
    entries, changes = record(entries, scan(sighting(5), at_s=5))
    assert kinds(changes) == ["reopened"]
    (entry,) = entries.values()
    assert (entry.first.at_s, entry.last.at_s, entry.counts_from_s, entry.reopened) == (1, 5, 5, 1)
    assert entry.jobs == ("sast",)
    assert entry.fixed is None


def test_equal_lines_are_two_findings_and_the_right_one_is_fixed() -> None:
    entries, _ = record({}, scan(sighting(5), sighting(10)))
    assert len(entries) == 2
    by_line = {entry.seen.line: id_ for id_, entry in entries.items()}
    left = SOURCE[6:]
    entries, changes = record(entries, scan(sighting(4, left), at_s=2))
    assert [(change.kind, change.entry.id) for change in changes] == [("fixed", by_line[5])]
    assert entries[by_line[10]].seen.line == 4


def test_a_neighbour_may_change_and_lines_may_move() -> None:
    entries, _ = record({}, scan(sighting(5)))
    edited = ["# new", *SOURCE[:3], "    run_it()", *SOURCE[4:]]
    entries, changes = record(entries, scan(sighting(6, edited)))
    assert changes == ()
    assert [entry.seen.line for entry in entries.values()] == [6]


def test_a_finding_goes_with_its_file() -> None:
    entries, _ = record({}, scan(sighting(5)))
    (id_,) = entries
    entries, changes = record(entries, scan(sighting(5, path="b.py"), tree=("b.py",), files=("b.py",)))
    assert changes == ()
    assert entries[id_].seen.path == "b.py"


def test_where_the_file_is_still_there_the_same_text_elsewhere_is_new() -> None:
    entries, _ = record({}, scan(sighting(5)))
    _, changes = record(entries, scan(sighting(5, path="b.py")))
    assert sorted(kinds(changes)) == ["fixed", "new"]


def test_a_file_that_is_gone_takes_its_findings_along() -> None:
    entries, _ = record({}, scan(sighting(5)))
    _, changes = record(entries, scan(tree=("b.py",), files=("b.py",)))
    assert kinds(changes) == ["fixed"]


def test_what_nobody_has_looked_for_stays() -> None:
    entries, _ = record({}, scan(sighting(5)))
    blind = [
        scan(looks=()),
        scan(looks=(Look("ruff"),)),
        scan(looks=(Look("bandit", whole=False),)),
        scan(looks=(Look("bandit", files=("b.py",)),)),
        scan(files=("b.py",)),
        scan(job="other"),
        replace(scan(), jobs=()),
    ]
    for one in blind:
        assert record(entries, one) == (entries, ())
    assert kinds(record(entries, scan(looks=(Look("bandit", files=("a.py",)),)))[1]) == ["fixed"]


def test_two_jobs_must_both_have_looked() -> None:
    entries, _ = record({}, scan(sighting(5)))
    entries, changes = record(entries, scan(sighting(5), job="other"))
    assert changes == ()
    assert [entry.jobs for entry in entries.values()] == [("other", "sast")]
    entries, changes = record(entries, scan())
    assert changes == ()
    assert [entry.jobs for entry in entries.values()] == [("other",)]
    assert kinds(record(entries, scan(job="other"))[1]) == ["fixed"]


def test_a_job_that_is_renamed_does_not_leave_its_findings_open_for_ever() -> None:
    entries, _ = record({}, scan(sighting(5), job="sast"))
    renamed = replace(scan(job="other"), jobs_known=("other",))
    assert kinds(record(entries, renamed)[1]) == ["fixed"]


def test_what_two_jobs_report_is_one_finding_as_the_worse_calls_it() -> None:
    one, two = scan(sighting(5, severity="low")), scan(sighting(5, severity="critical"), job="other")
    entries, changes = record({}, replace(one, jobs=(*one.jobs, *two.jobs)))
    assert [(change.kind, change.entry.seen.severity) for change in changes] == [("new", "critical")]
    assert len(entries) == 1


def test_time_counts_anew_when_it_gets_worse_and_goes_on_when_it_gets_better() -> None:
    entries, _ = record({}, scan(sighting(5), at_s=1))
    entries, changes = record(entries, scan(sighting(5, severity="critical"), at_s=2))
    assert (kinds(changes), [entry.counts_from_s for entry in entries.values()]) == (["raised"], [2])
    entries, changes = record(entries, scan(sighting(5, severity="low"), at_s=3))
    assert (kinds(changes), [entry.counts_from_s for entry in entries.values()]) == (["lowered"], [2])


def test_what_has_no_place_is_looked_for_wherever_the_job_looks() -> None:
    found = Sighting("audit", "PYSEC-1", "high", "urllib3 1.0", key="own:1")
    entries, _ = record({}, scan(found))
    assert kinds(record(entries, scan(looks=(Look("audit"),), files=()))[1]) == ["fixed"]


def test_a_ledger_that_begins_anew_names_the_same_things_the_same() -> None:
    one, _ = record({}, scan(sighting(5), sighting(10), at_s=1))
    edited = ["# moved", *SOURCE]
    other, _ = record({}, scan(sighting(6, edited), sighting(11, edited), at_s=9))
    assert set(one) == set(other)


# ---------------------------------------------------------------------------------------------------------- properties

SIGHTINGS = st.builds(
    Sighting,
    tool=st.sampled_from(["bandit", "ruff"]),
    rule=st.sampled_from(["R1", "R2"]),
    severity=st.sampled_from(["critical", "high", "low"]),
    message=st.sampled_from(["m", "n"]),
    path=st.sampled_from(["", "a.py", "b.py", "gone.py"]),
    line=st.sampled_from([None, 1, 2, 3]),
    key=st.sampled_from(["k1", "k2"]),
    context=st.sampled_from(["x", "y"]),
)
LOOKS = st.lists(st.builds(Look, st.sampled_from(["bandit", "ruff"]), st.booleans()), max_size=2).map(tuple)
JOBS = st.builds(
    JobScan,
    job=st.sampled_from(["sast", "other"]),
    sightings=st.lists(SIGHTINGS, max_size=6).map(tuple),
    looks=LOOKS,
    files=st.sampled_from([TREE, ("a.py",), ()]),
)
SCANS = st.builds(
    Scan,
    moment=st.builds(Moment, st.floats(0, 100), st.just("r"), st.just("c")),
    tree=st.sampled_from([TREE, ("a.py",)]),
    jobs=st.lists(JOBS, max_size=2, unique_by=lambda job: job.job).map(tuple),
    jobs_known=st.just(("sast", "other")),
)


@given(st.lists(SCANS, max_size=5), st.randoms(use_true_random=False))
def test_neither_the_order_of_results_nor_that_of_jobs_matters(scans: list[Scan], random: Any) -> None:
    def shuffled(items: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(random.sample(items, len(items)))

    one: dict[str, Entry] = {}
    other: dict[str, Entry] = {}
    for each in scans:
        jobs = tuple(replace(job, sightings=shuffled(job.sightings)) for job in shuffled(each.jobs))
        one, changes = record(one, each)
        other, same = record(other, replace(each, jobs=jobs))
        assert (one, changes) == (other, same)


@given(st.lists(SCANS, max_size=4), SCANS)
def test_the_same_scan_again_changes_nothing(scans: list[Scan], last: Scan) -> None:
    entries: dict[str, Entry] = {}
    for number, each in enumerate((*scans, last)):
        last = replace(each, moment=Moment(number, "r", "c"))
        entries, _ = record(entries, last)
    again, changes = record(entries, last)
    assert changes == ()
    assert again == entries


@given(st.lists(SCANS, max_size=6))
def test_every_result_has_one_open_entry_and_ids_stay(scans: list[Scan]) -> None:
    entries: dict[str, Entry] = {}
    for number, drawn in enumerate(scans):
        each = replace(drawn, moment=Moment(number, "r", "c"))
        before = set(entries)
        entries, changes = record(entries, each)
        assert before <= set(entries)
        assert all(id_ == entry.id for id_, entry in entries.items())
        reported = keep_worst(one for job in each.jobs for one in job.sightings)
        now = [entry.seen for entry in entries.values() if entry.last == each.moment and entry.is_open]
        assert len({place_of(one) for one in reported}) == len(now)
        assert all(bool(entry.jobs) == entry.is_open for entry in entries.values())
        assert {change.entry.id for change in changes if change.kind == "new"} == set(entries) - before


@given(st.lists(SCANS, max_size=5), st.sampled_from(["sast", "other"]), st.sampled_from(["bandit", "ruff"]))
def test_nothing_is_fixed_by_a_tool_that_did_not_look(scans: list[Scan], job: str, tool: str) -> None:
    entries: dict[str, Entry] = {}
    for each in scans:
        entries, _ = record(entries, each)
    looked = JobScan(job, (), (Look(tool),), TREE)
    after, changes = record(entries, Scan(Moment(101, "r", "c"), TREE, (looked,), ("sast", "other")))
    assert {change.kind for change in changes} <= {"fixed"}
    for change in changes:
        assert change.entry.seen.tool == tool
        assert entries[change.entry.id].jobs == (job,)
    assert open_ids(after) <= open_ids(entries)
    left = [entry for entry in after.values() if entry.is_open and entry.seen.tool == tool]
    assert all(job not in entry.jobs for entry in left)


@given(st.lists(st.sampled_from(["x = 1", "eval(y)", "", "# note"]), min_size=1, max_size=12), st.integers(0, 5))
def test_lines_that_move_are_no_news(lines: list[str], shift: int) -> None:
    def found(source: list[str]) -> list[Sighting]:
        return [sighting(number, source) for number, line in enumerate(source, start=1) if line == "eval(y)"]

    entries, _ = record({}, scan(*found(lines)))
    moved = ["import x"] * shift + lines
    after, changes = record(entries, scan(*found(moved), at_s=2))
    assert changes == ()
    assert {id_: entry.seen.line for id_, entry in after.items()} == {
        id_: (entry.seen.line or 0) + shift for id_, entry in entries.items()
    }
