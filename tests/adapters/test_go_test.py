"""What go test says: events, profiles and benchmarks, written by Go itself, and by nobody friendly."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from openbell.adapters import go_test
from openbell.core.coverage import sum_up
from openbell.core.suite import Case, CaseOutcome
from openbell.ports import AdapterError


def write(tmp_path: Path, content: str | bytes) -> Path:
    file = tmp_path / "report"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def events(*entries: tuple[str, str] | tuple[str, str, str], package: str = "m/p") -> str:
    """Write events: action and test, with an output."""
    lines = []
    for action, test, *output in entries:
        event = {"Action": action, "Package": package, "Test": test, "Output": output[0] if output else ""}
        lines.append(json.dumps({key: value for key, value in event.items() if value}))
    return "\n".join(lines)


def outcomes(cases: tuple[Case, ...]) -> dict[str, CaseOutcome]:
    return {case.name: case.outcome for case in cases}


def test_events_become_tests(tmp_path: Path) -> None:
    text = events(
        ("start", ""),
        ("run", "A"), ("output", "A", "=== RUN   A\n"), ("pass", "A"),
        ("run", "B"), ("run", "B/x"), ("output", "B/x", "    b_test.go:7: boom: 3 != 2\n"),
        ("output", "B/x", "--- FAIL: B/x (0.00s)\n"), ("fail", "B/x"), ("output", "B", "--- FAIL: B\n"), ("fail", "B"),
        ("run", "C"), ("output", "C", "    c_test.go:9: no\n"), ("skip", "C"),
        ("fail", ""),
    )  # fmt: skip
    cases = go_test.read_events(write(tmp_path, text))
    assert outcomes(cases) == {"m/p::A": "passed", "m/p::B/x": "failed", "m/p::C": "skipped"}
    broken = cases[1]
    assert (broken.message, broken.place, broken.file) == ("boom: 3 != 2", "b_test.go:7", "m/p")


def test_a_test_that_passed_when_it_was_run_again(tmp_path: Path) -> None:
    text = events(("run", "A"), ("fail", "A"), ("run", "A"), ("pass", "A"), ("run", "B"), ("pass", "B"), ("run", "B"))
    assert outcomes(go_test.read_events(write(tmp_path, text))) == {"m/p::A": "flaky", "m/p::B": "failed"}


def test_a_test_that_never_ended_failed(tmp_path: Path) -> None:
    text = events(("run", "A"), ("output", "A", "panic: runtime error\n"), ("fail", ""))
    (case,) = go_test.read_events(write(tmp_path, text))
    assert (case.outcome, case.message) == ("failed", "began and never ended: panic: runtime error")


def test_a_package_that_does_not_compile_failed(tmp_path: Path) -> None:
    text = events(
        ("output", "", "p/p.go:3:1: undefined: x\n"), ("output", "", "FAIL\tm/p [build failed]\n"), ("fail", "")
    )
    (case,) = go_test.read_events(write(tmp_path, text))
    assert (case.name, case.outcome, case.message) == ("m/p", "failed", "1: undefined: x")


def test_what_tests_print_is_no_event(tmp_path: Path) -> None:
    deep = "{" * 100_000
    text = b"\xff\xfe\n{broken\n" + deep.encode() + b"\n" + events(("run", "A"), ("pass", "A")).encode() + b"\nhello"
    assert outcomes(go_test.read_events(write(tmp_path, text))) == {"m/p::A": "passed"}


@pytest.mark.parametrize("content", [b"", b"x" * 5_000_000, b"[" * 1000, b"\x00" * 1000])
def test_a_file_without_events_is_none(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(AdapterError, match="has no event"):
        go_test.read_events(write(tmp_path, content))


PROFILE = """mode: atomic
example.com/m/p/p.go:4.24,5.11 1 1
example.com/m/p/p.go:5.11,7.3 2 0
example.com/m/p/p.go:8.2,8.10 1 12
example.com/m/q/q.go:1.1,2.2 4 0
example.com/m/q/q.go:1.1,2.2 4 7
"""


def test_a_profile_is_counted_as_go_counts_it(tmp_path: Path) -> None:
    found = go_test.read_profile(write(tmp_path, PROFILE))
    assert found.counts == {"example.com/m/p/p.go": (2, 4), "example.com/m/q/q.go": (4, 4)}
    assert found.hits["example.com/m/p/p.go"] == {4: True, 5: True, 6: False, 7: False, 8: True}
    coverage = sum_up(found)
    assert coverage.lines_pct == 75.0
    assert [(share.name, share.covered, share.valid) for share in coverage.packages] == [
        ("example.com/m/p", 2, 4),
        ("example.com/m/q", 4, 4),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "does not begin with its mode"),
        ("<coverage/>", "does not begin with its mode"),
        ("mode: set\n", "has no block"),
        ("mode: set\nx.go:1.1,2.2 1\n", ":2 is no block"),
        ("mode: set\nx.go:1.1,9999999999.2 1 1\n", "lines 1 to 9999999999; that is no file"),
        ("mode: set\nx.go:9.1,2.2 1 1\n", "lines 9 to 2; that is no file"),
        (f"mode: set\nx.go:1.1,2.2 {'9' * 5000} 1\n", "is no block"),
    ],
)
def test_what_is_no_profile_is_refused(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(AdapterError, match=message):
        go_test.read_profile(write(tmp_path, content))


BENCHMARKS = """goos: linux
pkg: example.com/m/p
cpu: AMD EPYC
BenchmarkMax-2   \t44299404\t         0.7194 ns/op
BenchmarkMax-2   \t34974002\t         0.6883 ns/op\t 0 B/op
BenchmarkMax-2   \t34974002\t         5 ns/op
BenchmarkTable/rows=10-2 \t 10 \t 12.5 MB/s \t 2e3 ns/op
BenchmarkBroken-2 \t 10 \t nan ns/op
BenchmarkBroken-2 \t 10 \t 1e999 ns/op
BenchmarkLogs
PASS
"""


def test_benchmarks_are_the_median_of_their_lines(tmp_path: Path) -> None:
    found = {one.name: one.median_s for one in go_test.read_benchmarks(write(tmp_path, BENCHMARKS))}
    assert found == {
        "example.com/m/p.BenchmarkMax": pytest.approx(0.7194e-9),
        "example.com/m/p.BenchmarkTable/rows=10": pytest.approx(2e-6),
    }
    assert go_test.read_benchmarks(write(tmp_path, "PASS\n")) == ()


SOURCE = "package p\n\nfunc Max(a, b int) int {\n\tif a > b {\n\t\treturn a\n\t}\n\treturn b\n}\n"
TESTS = """package p

import "testing"

func TestMax(t *testing.T) {
	t.Run("a", func(t *testing.T) { if Max(1, 2) != 2 { t.Fatal("x") } })
	t.Run("b", func(t *testing.T) { t.Fatal("boom: 3 != 2") })
}
func TestSkip(t *testing.T) { t.Skip("no") }
func BenchmarkMax(b *testing.B) { for i := 0; i < b.N; i++ { Max(i, 3) } }
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("go") is None, reason="Go is not installed")
def test_what_go_itself_writes(tmp_path: Path) -> None:
    (tmp_path / "go.mod").write_text("module example.com/m\ngo 1.21\n")
    (tmp_path / "p.go").write_text(SOURCE)
    (tmp_path / "p_test.go").write_text(TESTS)
    command = ["go", "test", "-json", "-coverprofile=c.out", "-bench=.", "-benchtime=1ms", "./..."]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    cases = go_test.read_events(write(tmp_path, ran.stdout))
    assert outcomes(cases) | {"example.com/m::BenchmarkMax": "passed"} == {
        "example.com/m::TestMax/a": "passed",
        "example.com/m::TestMax/b": "failed",
        "example.com/m::TestSkip": "skipped",
        "example.com/m::BenchmarkMax": "passed",
    }
    assert {case.message for case in cases if case.outcome == "failed"} == {"boom: 3 != 2"}
    assert sum_up(go_test.read_profile(tmp_path / "c.out")).lines_pct == pytest.approx(66.67)
    text = "".join(json.loads(line).get("Output", "") for line in ran.stdout.splitlines())
    assert len(go_test.read_benchmarks(write(tmp_path, text))) <= 1
