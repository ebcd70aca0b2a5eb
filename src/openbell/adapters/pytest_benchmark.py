"""The JSON of pytest-benchmark: the median time of each benchmark.

Source: https://pytest-benchmark.readthedocs.io
"""

import math
from pathlib import Path

import msgspec

from openbell import report_file
from openbell.core.report import Benchmark

MEDIAN_S_MAX = 1e9


class _Stats(msgspec.Struct):
    median: float


class _Entry(msgspec.Struct):
    stats: _Stats
    fullname: str = ""
    name: str = ""


class _Document(msgspec.Struct):
    benchmarks: list[_Entry]


def read(file: Path) -> tuple[Benchmark, ...]:
    """Read the benchmarks of a file; raises `AdapterError` when it is missing, too large or none of pytest-benchmark.

    A time that nobody measured (none, negative, without end) is left out.
    """
    document = report_file.read_json(file, "pytest-benchmark", _Document, kind="file of pytest-benchmark")
    return tuple(
        Benchmark(entry.fullname or entry.name, entry.stats.median)
        for entry in document.benchmarks
        if math.isfinite(entry.stats.median) and 0 < entry.stats.median < MEDIAN_S_MAX
    )
