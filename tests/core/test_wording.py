"""Times and messages as people write them."""

import pytest

from openbell.core.wording import duration, headline, milliseconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (0.44, "0.4 s"), (9.96, "10.0 s"), (41.4, "41 s"), (60, "1:00"), (301, "5:01"), (3723, "1:02:03")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(("value_ms", "text"), [(0.0861, "0.086 ms"), (9.5, "9.5 ms"), (119.6, "120 ms")])
def test_short_times(value_ms: float, text: str) -> None:
    assert milliseconds(value_ms) == text


def test_a_headline_is_the_first_line() -> None:
    assert headline("it failed\nand this is the log") == "it failed"
