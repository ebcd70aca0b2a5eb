"""k6: both shapes of its summary."""

import json
import subprocess
from pathlib import Path

import pytest

from openbell.adapters import k6
from openbell.core.report import Threshold
from openbell.ports import AdapterError

SCRIPT = """
import { Trend } from 'k6/metrics';
const order = new Trend('order');
export const options = { vus: 1, iterations: 2, thresholds: { order: ['p(95)<5'], iterations: ['count>1'] } };
export default function () { order.add(10); }
"""


def write(tmp_path: Path, metrics: object) -> Path:
    file = tmp_path / "k6.json"
    file.write_text(json.dumps({"metrics": metrics}))
    return file


def test_the_exported_summary_says_true_for_a_crossed_threshold(tmp_path: Path) -> None:
    found = k6.read(
        write(
            tmp_path,
            {
                "http_req_duration": {"p(95)": 41.5, "p(99)": 80, "thresholds": {"p(95)<500": False}},
                "http_req_failed": {"value": 0.004, "thresholds": {"rate<0.01": True}},
                "http_reqs": {"count": 1200, "rate": 60},
            },
        )
    )
    assert found.thresholds == (
        Threshold("http_req_duration", "p(95)<500", kept=True),
        Threshold("http_req_failed", "rate<0.01", kept=False),
    )
    assert (found.requests, found.error_pct, found.p95_ms, found.p99_ms) == (1200, 0.4, 41.5, 80.0)


def test_the_handled_summary_says_ok(tmp_path: Path) -> None:
    metric = {"values": {"p(95)": 7.0}, "thresholds": {"p(95)<500": {"ok": True}, "p(99)<1": {"ok": False}, "x": {}}}
    found = k6.read(write(tmp_path, {"http_req_duration": metric}))
    assert [threshold.kept for threshold in found.thresholds] == [True, False, False]
    assert found.p95_ms == 7.0
    assert found.requests is None


def test_figures_that_are_none_are_left_out(tmp_path: Path) -> None:
    found = k6.read(
        write(tmp_path, {"http_req_duration": {"p(95)": "fast", "values": 3}, "http_reqs": {"count": True}})
    )
    assert (found.p95_ms, found.requests, found.thresholds) == (None, None, ())


@pytest.mark.parametrize(
    ("metrics", "requests"),
    [
        ({"http_reqs": {"count": 0}}, 0),
        ({"http_req_failed": {"passes": 0, "fails": 0, "value": 0}}, 0),
        ({"http_req_failed": {"values": {"passes": 1, "fails": 8, "rate": 0.1}}}, 9),
        ({"http_req_failed": {"rate": 0.0}}, None),
    ],
)
def test_a_load_that_made_no_request_is_known(tmp_path: Path, metrics: dict[str, object], requests: int | None) -> None:
    assert k6.read(write(tmp_path, metrics)).requests == requests


@pytest.mark.parametrize("figure", ["1" + "0" * 400, "1e308", "-1e308"])
def test_figures_that_nobody_measured_are_left_out(tmp_path: Path, figure: str) -> None:
    file = tmp_path / "k6.json"
    file.write_text(f'{{"metrics": {{"http_reqs": {{"count": {figure}}}, "http_req_failed": {{"rate": {figure}}}}}}}')
    found = k6.read(file)
    assert (found.requests, found.error_pct) == (None, None)


def test_what_is_no_summary(tmp_path: Path) -> None:
    for text in ("", "{}", '{"metrics": 3}', "[" * 100_000):
        (tmp_path / "k6.json").write_text(text)
        with pytest.raises(AdapterError, match="no k6 summary"):
            k6.read(tmp_path / "k6.json")
    with pytest.raises(AdapterError, match="was not written"):
        k6.read(tmp_path / "gone.json")


def test_what_k6_itself_writes(tmp_path: Path, k6_program: str) -> None:
    (tmp_path / "load.js").write_text(SCRIPT)
    command = [k6_program, "run", "--quiet", "--summary-export", "out.json", "load.js"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, timeout=60)
    assert ended.returncode == 99, "k6 says with 99 that a threshold was crossed"
    kept = {threshold.metric: threshold.kept for threshold in k6.read(tmp_path / "out.json").thresholds}
    assert kept == {"order": False, "iterations": True}


@pytest.fixture
def k6_program() -> str:
    import shutil
    import sys

    program = shutil.which("k6", path=str(Path(sys.executable).parent)) or shutil.which("k6")
    if program is None:
        pytest.skip("k6 is not installed (openbell[load])")
    return program
