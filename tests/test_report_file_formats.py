"""Whatever stands in a report: a reader reads it, or refuses it in words; it neither falls over nor hangs."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openbell import report_file
from openbell.adapters import cobertura, cyclonedx_report, go_test, junit, pytest_benchmark
from openbell.ports import AdapterError

Read = Callable[[Path], object]
JUNIT = (
    b'<testsuite name="pytest"><testcase name="T" time="1"><failure>a.py:3: m</failure></testcase><testcase name="T"/>'
)
COBERTURA = (
    b'<coverage line-rate="0.5"><class filename="a"><lines><line number="1" hits="1"/></lines></class></coverage>'
)
EVENTS = b'{"Action":"run","Package":"p","Test":"T"}\n{"Action":"fail","Package":"p","Test":"T","Elapsed":1}\n'
READERS: dict[str, tuple[Read, bytes]] = {
    "junit": (junit.read, JUNIT + b"</testsuite>"),
    "cobertura": (cobertura.read, COBERTURA),
    "gotest": (go_test.read_events, EVENTS),
    "gocover": (go_test.read_profile, b"mode: set\na.go:1.2,3.4 5 6\na.go:1.2,3.4 5 0\n"),
    "gobench": (go_test.read_benchmarks, b"pkg: p\nBenchmarkA-2 10 5.5 ns/op 3 B/op\n"),
    "pytest_benchmark": (pytest_benchmark.read, b'{"benchmarks": [{"name": "a", "stats": {"median": 1e-6}}]}'),
    "cyclonedx": (cyclonedx_report.read, b'{"bomFormat": "CycloneDX", "components": [{"components": []}]}'),
}
PIECES = [
    b"",
    b"\x00",
    b"\xff\xfe",
    b"9" * 400,
    b"NaN",
    b"-1",
    b"<!--",
    b"<![CDATA[",
    b"&lt;",
    b"\n" * 5,
    b"{[" * 50,
    b"1e999",
]


@st.composite
def damaged(draw: st.DrawFn, good: bytes) -> bytes:
    """Cut, repeat and replace pieces of a good file."""
    content = good
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(content)))
        end = draw(st.integers(start, len(content)))
        piece = draw(st.sampled_from([*PIECES, content[start:end] * 3]) | st.binary(max_size=8))
        content = content[:start] + piece + content[end:]
    return content


@pytest.mark.parametrize("name", READERS)
@given(data=st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_damaged_is_read_or_refused(tmp_path: Path, name: str, data: st.DataObject) -> None:
    read, good = READERS[name]
    file = tmp_path / "report"
    file.write_bytes(data.draw(damaged(good) | st.binary(max_size=200)))
    with contextlib.suppress(AdapterError):
        read(file)


@pytest.mark.parametrize("name", READERS)
def test_a_good_one_is_read(tmp_path: Path, name: str) -> None:
    read, good = READERS[name]
    file = tmp_path / "report"
    file.write_bytes(good)
    assert read(file)


@pytest.mark.parametrize("name", READERS)
def test_one_endless_line_is_not_read_to_its_end(tmp_path: Path, name: str) -> None:
    """A gigabyte costs no more than a look: nothing is behind most of it."""
    file = tmp_path / "report"
    with file.open("wb") as stream:
        stream.write(READERS[name][1].rstrip(b"\n"))
        stream.truncate(1_000_000_000)
    with pytest.raises(AdapterError, match=f"larger than {report_file.SIZE_BYTES_MAX // 1_000_000} MB"):
        READERS[name][0](file)
