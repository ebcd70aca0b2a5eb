"""What of `[workflows]` is refused, and in which words."""

import pytest

from openbell.core.validation import validate
from openbell.core.workflow_rules import CRON
from tests.fakes.configurations import changed


def messages(lines: str) -> list[str]:
    return [problem.message for problem in validate(changed(lines))]


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("runs_on = []", "runs_on has no label, so no machine fits."),
        ('nightly = "2 AM"', 'nightly = "2 AM": cron has five fields'),
        ('weekly = "0 4 * * 1 extra"', "cron has five fields"),
        ('permissions = { lnt = { packages = "write" } }', '"lnt" is no job of a commit. Did you mean "lint"?'),
        ('permissions = { smoke = { packages = "write" } }', '"smoke" is no job of a commit.'),
        ('permissions = { lint = { package = "write" } }', '"package" is no permission. Did you mean "packages"?'),
    ],
)
def test_what_would_never_start_is_refused(written: str, message: str) -> None:
    assert any(message in found for found in messages(f"[workflows]\n{written}"))


def test_what_is_sound_is_not() -> None:
    sound = 'nightly = "*/15 2-4 1,15 * MON-FRI"\npermissions = { lint = { id-token = "write" } }\ndeploy_runs_on = []'
    assert messages(f"[workflows]\n{sound}") == []


@pytest.mark.parametrize("cron", ["0 2 * * *", "0 0 1 1 0", "5,10 */2 * JAN-MAR *"])
def test_cron(cron: str) -> None:
    assert CRON.fullmatch(cron)
