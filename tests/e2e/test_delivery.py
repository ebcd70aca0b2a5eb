"""Approvals, aborts, rollbacks, explanations: what a release manager and an on-call engineer do."""

import subprocess
from pathlib import Path

import pytest

from openbell.wiring.demo import ENGINEER
from tests.e2e.product import APPROVER, Product

pytestmark = [pytest.mark.slow, pytest.mark.e2e]

APPROVAL = """
[environments.production]
approval = { required = 1, from = ["release-managers"] }
"""


def test_a_release_waits_for_the_right_person(product: Product, tmp_path: Path) -> None:
    policy = tmp_path / "approval.toml"
    policy.write_text(APPROVAL)
    waiting = product.json("deploy", "production", "v1.0.0", "--policy", str(policy), expect=3)
    assert (waiting["outcome"], waiting["reason"]) == ("waiting", f"an approval from {APPROVER}")
    rollout = waiting["id"]
    for name in ENGINEER:
        author = product.run("approve", rollout, "--by", name, expect=1)
        assert "is the author of the release; somebody else must approve it" in author.stderr
    stranger = product.run("approve", rollout, "--by", "mallory@example.com", expect=1)
    assert f"may not approve here; allowed: {APPROVER}" in stranger.stderr
    again = product.run("deploy", "production", "v1.1.0", expect=1)
    assert f"Go on with it: openbell resume. Take it back: openbell abort {rollout}" in again.stderr
    product.run("approve", rollout, "--by", APPROVER)
    (ended,) = product.json("resume")
    assert (ended["outcome"], ended["version"]) == ("promoted", "v1.0.0")


def test_back_and_forth(product: Product, tmp_path: Path) -> None:
    """Promote two releases, bring the first back, explain it, and refuse what makes no sense."""
    assert product.json("deploy", "production", "v1.0.0")["outcome"] == "promoted"
    same = product.run("deploy", "production", "v1.0.0")
    assert "production runs v1.0.0 already" in same.stderr
    # Nobody trades, so the judge has nothing to see: it must not promote by itself, and a person takes it back.
    process = product.start("deploy", "production", "v1.1.0", "--json")
    aborted = abort_when_routed(product, process)
    assert (aborted["outcome"], aborted["reason"]) == ("rolled-back", "aborted by grace: drill")
    weights = product.weights()
    assert weights.get("blue") == 100
    assert not weights.get("green")
    why = product.run("why", aborted["id"]).stdout
    assert why.startswith("v1.1.0 was taken back from production because aborted by grace: drill.")
    assert "rollback decided: aborted by grace: drill" in why
    refused = product.run("rollback", "production", expect=1)
    assert "name one with --to" in refused.stderr
    never = product.run("rollback", "production", "--to", "v1.1.0", expect=1)
    assert "v1.1.0 was never promoted in production" in never.stderr
    policy = tmp_path / "rolling.toml"
    policy.write_text('[environments.production]\nstrategy = "rolling"\n')
    assert product.json("deploy", "production", "v1.1.0", "--policy", str(policy))["outcome"] == "promoted"
    assert product.json("rollback", "production")["version"] == "v1.0.0"
    assert product.json("rollback", "production", "--to", "v1.1.0")["version"] == "v1.1.0"


def abort_when_routed(product: Product, process: "subprocess.Popen[str]") -> dict[str, str]:
    """Wait until the candidate has weight, then abort as another person; returns the rollout's document."""
    for _ in range(200):
        if product.weights().get("green") == 5:
            break
    else:
        pytest.fail("the candidate got no weight")
    ended: dict[str, str] = product.json("abort", "r-2", "--by", "grace", "--reason", "drill", expect=1)
    output, errors = process.communicate()
    assert process.returncode == 1, errors
    assert '"rolled-back"' in output
    return ended


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("deploy", "nowhere"), 2, 'there is no environment "nowhere"; there are: staging, production'),
        (("deploy", "production", "v9"), 2, 'no release is called "v9"; known: v1.3.0, v1.2.0, v1.1.0, v1.0.0'),
        (("rollback", "production"), 1, "nothing was deployed to production yet"),
        (("approve", "r-9"), 2, 'there is no rollout "r-9"; known: none'),
        (("abort", "r-9"), 2, 'there is no rollout "r-9"; known: none'),
        (("why",), 1, "there is no rollout yet"),
        (("deploy",), 2, "ENVIRONMENT"),
        (("deploy", "production", "--wat"), 2, "--wat"),
        (("frobnicate",), 2, "frobnicate"),
    ],
)
def test_what_cannot_be_done_is_said(product: Product, arguments: tuple[str, ...], code: int, words: str) -> None:
    done = product.run(*arguments, expect=code)
    assert words in done.stderr
    assert done.stdout == ""


def test_nothing_left_to_resume(product: Product) -> None:
    assert product.json("resume") == []


def test_two_at_once_do_not_meet(product: Product, tmp_path: Path) -> None:
    """One begins, the other is refused; what serves is never cleared by a plan that has grown old.

    Both deploy: a second rollback would abort the first, as it must. Nobody trades, so the one that begins waits (3).
    """
    product.run("deploy", "production", "v1.0.0")
    policy = tmp_path / "impatient.toml"
    policy.write_text("[environments.production.rollout]\nundecided_s = 1\n")
    both = [product.start("deploy", "production", tag, "--policy", str(policy)) for tag in ("v1.1.0", "v1.2.0")]
    ends = [(process.communicate()[1], process.returncode) for process in both]
    assert sorted(code for _, code in ends) == [1, 3], ends
    (refused,) = [errors for errors, code in ends if code == 1]
    assert "production is driven by" in refused
    assert sum(product.weights().values()) == 100
