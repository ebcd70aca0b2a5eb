"""pytest-benchmark: medians, and nothing that nobody measured."""

from pathlib import Path

import pytest

from openbell.adapters import pytest_benchmark
from openbell.core.report import Benchmark
from openbell.ports import AdapterError


def write(tmp_path: Path, content: str) -> Path:
    file = tmp_path / "b.json"
    file.write_text(content)
    return file


def test_medians(tmp_path: Path) -> None:
    text = """{"machine_info": {}, "benchmarks": [
      {"name": "test_a", "fullname": "t.py::test_a", "stats": {"median": 6.07e-07, "min": 1}, "extra_info": {}},
      {"name": "test_b", "stats": {"median": -1}}, {"name": "test_c", "stats": {"median": 0}}]}"""
    assert pytest_benchmark.read(write(tmp_path, text)) == (Benchmark("t.py::test_a", 6.07e-07),)


@pytest.mark.parametrize(
    "content",
    ["", "{}", "[]", "NaN", '{"benchmarks": [{"stats": {"median": NaN}}]}', '{"benchmarks": [{}]}', "[" * 100_000],
)
def test_what_is_none_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(AdapterError, match="no file of pytest-benchmark"):
        pytest_benchmark.read(write(tmp_path, content))
