"""What `go test` says: events (`-json`), coverage profiles (`-coverprofile`), and benchmarks (`-bench`).

All three are lines, of which there may be millions and some that are no such lines: what is tested prints, too. Such
lines are passed over, numbers beyond all bounds refused. A test that was run again (`-count`, gotestsum) is judged by
its last try. A test that began and never ended failed: the process died under it.

Source: https://pkg.go.dev/cmd/test2json, https://go.dev/src/cmd/cover, https://go.dev/design/14313-benchmark-format
"""

import re
import statistics
from collections.abc import Iterator
from pathlib import Path

import msgspec

from openbell import report_file
from openbell.core.coverage import LINES_MAX, LineCoverage
from openbell.core.report import Benchmark
from openbell.core.suite import Case
from openbell.ports import AdapterError

DURATION_S_MAX = 1e9
LINE_BYTES_MAX = 1_000_000
"""A longer line is no event and no benchmark, whatever it begins with."""

OUTPUT_LINES_KEPT = 50
"""So many lines of a test's output are looked at for what it complained of."""

_ENDS = {"pass": "passed", "fail": "failed", "skip": "skipped"}
_NOISE = ("=== ", "--- ", "panic: test timed out")
_PLACE = re.compile(r"^\s*(?P<place>[\w./-]+\.go:\d+): ?(?P<message>.*)")
_BLOCK = re.compile(rb"(?P<file>[^\n]+):(\d+)\.\d+,(\d+)\.(\d+) (\d+) (\d+)")
_BENCHMARK = re.compile(rb"(Benchmark\S*)\s+\d+\s(?:.*?\s)?([0-9.eE+]+) ns/op")


class _Event(msgspec.Struct, rename="pascal"):
    action: str = ""
    package: str = ""
    test: str = ""
    output: str = ""
    elapsed: float = 0.0  # unit-ok: seconds, by the format


class _Open:
    """A test that has begun: what it printed until now, and what its earlier tries came to."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.failed_before = False
        self.duration_s = 0.0
        self.ended: Case | None = None


def read_events(file: Path) -> tuple[Case, ...]:
    """Read the tests of `go test -json`; raises `AdapterError` when the file is missing, too large or has no event."""
    tests: dict[tuple[str, str], _Open] = {}
    packages: dict[str, list[str]] = {}
    broken: dict[str, bool] = {}
    decoder = msgspec.json.Decoder(_Event)
    seen = 0
    for line in _lines(file):
        if not line.startswith(b"{"):
            continue
        try:
            event = decoder.decode(line)
        except (ValueError, RecursionError):
            continue
        seen += 1
        if event.test:
            _follow(tests.setdefault((event.package, event.test), _Open()), event)
        elif event.action == "output":
            _keep(packages.setdefault(event.package, []), event.output)
        elif event.action == "fail":
            broken[event.package] = True
    if not seen:
        raise AdapterError("go", "read", f"{file.name} has no event of go test -json")
    cases = [test.ended or _died(package, name, test) for (package, name), test in tests.items()]
    failed = {case.file: True for case in cases if case.outcome == "failed"}
    # A package that fails without a failed test did not compile, or died outside of every test.
    cases += [_lost(package, packages.get(package, [])) for package in broken if package not in failed]
    return tuple(_without_parents(cases))


def _follow(test: _Open, event: _Event) -> None:
    if event.action == "run":
        if test.ended is not None:
            test.failed_before |= test.ended.outcome == "failed"
            test.duration_s += test.ended.duration_s
        test.lines, test.ended = [], None
    elif event.action == "output":
        _keep(test.lines, event.output)
    elif event.action in _ENDS:
        outcome = _ENDS[event.action]
        message, place = _complaint(test.lines) if outcome == "failed" else ("", "")
        if outcome == "passed" and test.failed_before:
            outcome = "flaky"
        duration_s = test.duration_s + min(max(0.0, event.elapsed), DURATION_S_MAX)
        name = f"{event.package}::{event.test}" if event.package else event.test
        fields = {"name": name, "outcome": outcome, "duration_s": duration_s, "file": event.package}
        test.ended = msgspec.convert({**fields, "message": message, "place": place}, Case)


def _keep(lines: list[str], output: str) -> None:
    if output.strip() and not output.lstrip().startswith(_NOISE) and len(lines) < OUTPUT_LINES_KEPT:
        lines.append(output)


def _complaint(lines: list[str]) -> tuple[str, str]:
    """Take the last line that says where it comes from; else the last one that a test printed."""
    for line in reversed(lines):
        if found := _PLACE.match(line):
            return found["message"].strip(), found["place"]
    return (lines[-1].strip() if lines else "failed"), ""


def _died(package: str, name: str, test: _Open) -> Case:
    message, place = _complaint(test.lines)
    message = f"began and never ended: {message}" if test.lines else "began and never ended"
    return Case(f"{package}::{name}" if package else name, "failed", 0.0, message, place, package)


def _lost(package: str, lines: list[str]) -> Case:
    told = [line for line in lines if not line.startswith(("FAIL", "coverage:", "exit status"))]
    message, place = _complaint(told)
    return Case(package, "failed", 0.0, message, place, package)


def _without_parents(cases: list[Case]) -> Iterator[Case]:
    """Leave out tests that failed only because one of their subtests did."""
    failed = [case.name for case in cases if case.outcome == "failed" and "/" in case.name.rpartition("::")[2]]
    parents = {name[: match.start()] for name in failed for match in re.finditer("/", name)}
    for case in cases:
        if case.outcome != "failed" or case.message != "failed" or case.name not in parents:
            yield case


def read_profile(file: Path) -> LineCoverage:
    """Read a coverage profile; raises `AdapterError` when it is missing, too large, broken, or has no block.

    The share is that of statements, as `go tool cover` says it; a block that several tests measured counts once.
    """
    lines = _lines(file)
    if not next(lines, b"").startswith(b"mode: "):
        raise AdapterError("go", "read", f"{file.name} is no coverage profile: it does not begin with its mode")
    blocks: dict[tuple[bytes, int, int, bytes], tuple[int, bool]] = {}
    for number, line in enumerate(lines, 2):
        if not line.strip() or line.startswith(b"mode: "):
            continue
        found = _BLOCK.fullmatch(line.rstrip())
        if found is None or any(len(group) > 18 for group in found.groups()[1:]):
            raise AdapterError("go", "read", f"{file.name}:{number} is no block of a coverage profile")
        key = (found["file"], int(found[2]), int(found[3]), line[: found.start(5)])
        count, ran = blocks.get(key, (int(found[5]), False))
        blocks[key] = (count, ran or int(found[6]) > 0)
    if not blocks:
        raise AdapterError("go", "read", f"{file.name} has no block: no package was measured")
    return _profile(file, blocks)


def _profile(file: Path, blocks: dict[tuple[bytes, int, int, bytes], tuple[int, bool]]) -> LineCoverage:
    hits: dict[str, dict[int, bool]] = {}
    counts: dict[str, tuple[int, int]] = {}
    total = 0
    for (path, first, last, _), (statements, ran) in blocks.items():
        name = path.decode(errors="replace")
        total += max(0, last - first + 1)
        if total > LINES_MAX or last < first:
            raise AdapterError("go", "read", f"{file.name} has a block of lines {first} to {last}; that is no file")
        lines = hits.setdefault(name, {})
        for line in range(first, last + 1):
            lines[line] = lines.get(line, False) or ran
        covered, valid = counts.get(name, (0, 0))
        counts[name] = (covered + statements * ran, valid + statements)
    return LineCoverage(hits, counts)


def read_benchmarks(file: Path) -> tuple[Benchmark, ...]:
    """Read the benchmarks that `go test -bench` printed, each once by the median of its lines.

    Raises `AdapterError` when the file is missing or too large. A name is that of its package, a dot, and its own.
    """
    package = ""
    measured: dict[str, list[float]] = {}
    for line in _lines(file):
        if line.startswith(b"pkg: "):
            package = line[5:].strip().decode(errors="replace")
        elif found := _BENCHMARK.match(line):
            name = re.sub(r"-\d+$", "", found[1].decode(errors="replace"))
            try:
                nanoseconds = float(found[2])
            except ValueError:
                continue
            if 0 < nanoseconds < DURATION_S_MAX * 1e9:
                measured.setdefault(f"{package}.{name}" if package else name, []).append(nanoseconds / 1e9)
    return tuple(Benchmark(name, statistics.median(times)) for name, times in measured.items())


def _lines(file: Path) -> Iterator[bytes]:
    content = report_file.read_bytes(file, "go")
    start = 0
    while start < len(content):
        end = content.find(b"\n", start)
        end = len(content) if end < 0 else end
        if end - start <= LINE_BYTES_MAX:
            yield content[start:end].rstrip(b"\r")
        start = end + 1
