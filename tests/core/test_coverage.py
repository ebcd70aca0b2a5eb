"""Coverage in all, per package and of the changed lines; and whose file a report means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbell.core.coverage import LineCoverage, count_changed, match_file, sum_up
from openbell.core.project import Job
from openbell.core.project import Reports as Declared
from openbell.core.report import ChangedLines, Coverage, Reports, Share, judge, words

HITS = {"src/a/x.py": {1: True, 2: False, 3: False, 7: True}, "src/b/y.py": {1: True}, "z.py": {4: False}}


def measured(hits: dict[str, dict[int, bool]], *, roots: tuple[str, ...] = ()) -> LineCoverage:
    return LineCoverage(hits, {name: (sum(lines.values()), len(lines)) for name, lines in hits.items()}, roots)


def test_packages_with_the_most_to_do_come_first() -> None:
    found = sum_up(measured(HITS))
    assert found.packages == (Share("src/a", 2, 4), Share(".", 0, 1), Share("src/b", 1, 1))
    assert found.lines_pct == 50.0


def test_the_figure_of_the_tool_is_kept() -> None:
    assert sum_up(LineCoverage({}, {}, lines_pct=12.5, branches_pct=3.0)) == Coverage(12.5, 3.0)
    assert sum_up(measured({})).lines_pct == 100.0


def test_changed_lines() -> None:
    changed = {"src/a/x.py": [range(2, 5), range(7, 9)], "src/c/new.py": [range(1, 90)], "z.py": [range(1, 3)]}
    found = count_changed(measured(HITS), changed, [*HITS, "src/c/new.py"], since="abc")
    assert found == ChangedLines(1, 3, "abc", ("src/a/x.py:2-3",))
    assert count_changed(measured(HITS), {}, list(HITS), since="abc").pct is None


@given(
    st.dictionaries(
        st.sampled_from(["a.py", "p/a.py", "p/q/b.py"]), st.dictionaries(st.integers(1, 40), st.booleans())
    ),
    st.dictionaries(
        st.sampled_from(["a.py", "p/a.py", "p/q/b.py"]),
        st.lists(st.tuples(st.integers(1, 40), st.integers(0, 5)).map(lambda p: range(p[0], p[0] + p[1])), max_size=1),
    ),
)
def test_changed_lines_are_counted_one_by_one(
    hits: dict[str, dict[int, bool]], changed: dict[str, list[range]]
) -> None:
    touched = [ran for name, lines in hits.items() for line, ran in lines.items() for part in changed.get(name, ())
               if line in part]  # fmt: skip
    found = count_changed(measured(hits), changed, ["a.py", "p/a.py", "p/q/b.py"], since="x")
    assert (found.covered, found.valid) == (sum(touched), len(touched))


FILES = dict.fromkeys(["src/p/a.py", "p/a.py", "lib/b.go", "cmd/b.go", "c.py"], True)


@pytest.mark.parametrize(
    ("name", "roots", "found"),
    [
        ("src/p/a.py", (), "src/p/a.py"),
        ("./c.py", (), "c.py"),
        ("p/a.py", (), "p/a.py"),
        ("a.py", ("/tmp/copy/3f/src/p",), "src/p/a.py"),
        ("/tmp/copy/3f/src/p/a.py", (), "src/p/a.py"),
        ("example.com/m/lib/b.go", (), "lib/b.go"),
        ("b.go", (), None),
        ("other/c.py", (), "c.py"),
        ("cc.py", (), None),
        ("src\\p\\a.py", (), "src/p/a.py"),
    ],
)
def test_whose_file_is_meant(name: str, roots: tuple[str, ...], found: str | None) -> None:
    assert match_file(name, roots, list(FILES), FILES) == found


BOUND = Job(stage="test", run="x", coverage_changed_min_pct=80, reports=Declared(cobertura="c.xml"))


@pytest.mark.parametrize(
    ("changed", "outcome", "reason"),
    [
        (ChangedLines(8, 10, "a"), "success", "coverage 50.0 % (+1.5), 80 % of 10 changed lines"),
        (ChangedLines(0, 0, "a"), "success", "coverage 50.0 % (+1.5)"),
        (
            ChangedLines(7, 10, "a", ("x.py:3-5",)),
            "failure",
            "coverage of the changed lines 70.0 % (7 of 10) is below 80 %, such as x.py:3-5",
        ),
    ],
)
def test_the_bound_of_the_changed_lines(changed: ChangedLines, outcome: str, reason: str) -> None:
    reports = Reports(coverage=Coverage(50.0, changed=changed, before_pct=48.5))
    assert judge(BOUND, 0, reports, "") == judge(BOUND, 0, reports, "x")
    assert (judge(BOUND, 0, reports, "").outcome, judge(BOUND, 0, reports, "").reason) == (outcome, reason)
    assert words(reports).startswith("coverage 50.0 % (+1.5)")
