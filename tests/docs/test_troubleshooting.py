"""The page of what goes wrong shows the cases that tests make real, all of them and no other."""

import msgspec
import pytest

from docs import troubleshooting
from tests.adapters.kubernetes.broken import BROKEN
from tests.e2e.told import TOLD
from tests.troubleshooting import Case, normal, recordings

CASES: dict[str, Case] = {**{name: broken.case for name, broken in BROKEN.items()}, **TOLD}


def test_each_case_of_the_page_has_its_test_and_each_test_its_case() -> None:
    assert {name: seen.case for name, seen in recordings().items()} == CASES, (
        "run those tests with OPENBELL_TEST_RECORD=1"
    )


def test_the_ten_that_were_asked_for_are_there() -> None:
    asked = {
        "image", "crash-loop", "out-of-memory", "wrong-path", "no-room", "quota", "missing-secret", "no-eviction",
        "denied", "wrong-port",
    }  # fmt: skip
    assert asked <= BROKEN.keys()


@pytest.mark.parametrize("name", CASES)
def test_a_case_is_shown_with_what_was_seen(name: str) -> None:
    seen, page = recordings()[name], troubleshooting.page()
    assert f"### {seen.case.title}\n" in page
    assert seen.message in page
    assert seen.case.remedy in page
    assert normal(seen.message) == seen.message, "what differs each time is not kept"


def test_what_cannot_come_right_is_told_within_seconds() -> None:
    """All but the pod that no node can take: an autoscaler gets its time."""
    late = {name for name, seen in recordings().items() if seen.case.told == "at once" and seen.seconds > 15}
    assert late <= {"no-room"}


def test_the_page_reads_what_the_tests_write() -> None:
    for seen in recordings().values():
        assert msgspec.to_builtins(seen) == msgspec.to_builtins(
            msgspec.convert(msgspec.to_builtins(seen), troubleshooting.Seen)
        )
