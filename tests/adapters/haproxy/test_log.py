"""The access log as a source of metrics: what a line says, and reading on through rotations."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbell.adapters.haproxy.log import HaproxyLog, parse
from openbell.core.analysis.limits import LATENCY_EDGES_MS
from openbell.programs.log_rotation import rotate


async def running() -> bool:
    return True


def line(
    slot: str = "blue", status: int = 200, duration_ms: int = 7, end: str = "--", at_ms: int = 1_700_000_000_123
) -> str:
    return f"openbell {at_ms} api_{slot} {slot}-api-1 {status} {duration_ms} {end}\n"


@pytest.mark.parametrize(
    ("status", "end", "failed"),
    [
        (200, "--", False),
        (404, "--", False),
        (429, "--", False),
        (500, "--", True),
        (503, "SC", True),
        (504, "sH", True),
        (502, "PH", True),
        (200, "SD", True),
        (200, "DD", True),
        (200, "CD", False),
        (-1, "CH", False),
        (400, "PR", False),
        (101, "--", False),
        (101, "K-", False),
    ],
)
def test_only_what_the_service_is_to_blame_for_is_an_error(status: int, end: str, failed: bool) -> None:
    found = parse(line(status=status, end=end))
    assert found is not None
    assert found.failed is failed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[NOTICE]   (17) : New worker (18) forked",
        "openbell-session 1700000000123 fix-gateway_blue blue-fix-gateway-1 1234 --",
        "openbell 1700000000123 api <NOSRV> 503 0 SC",
        "openbell x api_blue s 200 1 --",
        "openbell 1 api_blue s 200",
        "--- 2026-01-01T00:00:00Z start, process 1",
    ],
)
def test_what_is_no_routed_request_is_passed_over(text: str) -> None:
    assert parse(text) is None


def test_a_line_says_when_where_and_how_long() -> None:
    found = parse("openbell 1700000000123 fix-gateway_x_green s 200 +31 --")
    assert found is not None
    assert (found.at_s, found.slot, found.duration_ms, found.timed) == (1_700_000_000.123, "green", 31, True)
    upgrade = parse(line(status=101))
    assert upgrade is not None
    assert not upgrade.timed


@given(st.text(max_size=200))
def test_no_text_breaks_it(text: str) -> None:
    parse(text)
    parse(f"openbell {text}")


async def test_it_counts_from_its_beginning_and_reads_on(tmp_path: Path) -> None:
    log = tmp_path / "haproxy.log"
    log.write_text(line() * 5)
    source = HaproxyLog(log, running)
    assert (await source.sample("blue")).requests == 0, "what was there before is passed over"
    with log.open("a") as file:
        file.write(line(at_ms=1000) + line(at_ms=3000) + line("green", 500, at_ms=2000) + line()[:20])
    blue, green = await source.sample("blue"), await source.sample("green")
    assert (blue.requests, blue.errors, blue.first_at_s, blue.last_at_s) == (2, 0, 1.0, 3.0)
    assert (green.requests, green.errors, green.first_at_s, green.last_at_s) == (1, 1, 2.0, 2.0)
    with log.open("a") as file:
        file.write(line()[20:])
    assert (await source.sample("blue")).requests == 1, "half a line is completed by the next call"


async def test_latencies_fall_into_the_edges_of_the_judge(tmp_path: Path) -> None:
    log = tmp_path / "haproxy.log"
    log.touch()
    source = HaproxyLog(log, running)
    await source.begin()
    durations = [0, 1, 2, 10, 11, 60000, 60001]
    log.write_text("".join(line(duration_ms=duration) for duration in durations) + line(status=101, duration_ms=5))
    sample = await source.sample("blue")
    expected = [0] * (len(LATENCY_EDGES_MS) + 1)
    for edge in (1, 1, 2, 10, 13, 60000):
        expected[LATENCY_EDGES_MS.index(edge)] += 1
    expected[-1] += 1
    assert list(sample.latency_counts) == expected
    assert sample.requests == len(durations) + 1


async def test_nothing_is_lost_when_the_log_is_rotated(tmp_path: Path) -> None:
    log = tmp_path / "haproxy.log"
    log.touch()
    source = HaproxyLog(log, running)
    await source.begin()
    total = 0
    for turn in range(6):
        with log.open("a") as file:
            file.write(line() * (turn + 1) + line()[:9])
        if turn % 2:
            total += (await source.sample("blue")).requests
        with log.open("a") as file:
            file.write(line()[9:])
        if turn in (1, 4):
            assert rotate(str(log), bytes_max=1)
        total += (await source.sample("blue")).requests
    assert total == sum(range(1, 7)) + 6


async def test_nothing_is_lost_when_the_log_is_replaced(tmp_path: Path) -> None:
    log = tmp_path / "haproxy.log"
    log.write_text(line())
    source = HaproxyLog(log, running)
    await source.begin()
    with log.open("a") as file:
        file.write(line())
    log.rename(tmp_path / "haproxy.log.1")
    log.write_text(line() * 2)
    assert (await source.sample("blue")).requests == 3


async def test_a_log_that_appears_later_is_read_from_its_beginning(tmp_path: Path) -> None:
    log = tmp_path / "haproxy.log"
    source = HaproxyLog(log, running)
    missing = await source.sample("blue")
    assert not missing.observed
    assert "haproxy.log" in missing.source
    log.write_text(line())
    assert (await source.sample("blue")).requests == 1


async def test_without_haproxy_nothing_is_observed_and_nothing_forgotten(tmp_path: Path) -> None:
    up = False

    async def state() -> bool:
        return up

    log = tmp_path / "haproxy.log"
    log.touch()
    source = HaproxyLog(log, state)
    await source.begin()
    log.write_text(line())
    assert not (await source.sample("blue")).observed
    up = True
    assert (await source.sample("blue")).requests == 1
