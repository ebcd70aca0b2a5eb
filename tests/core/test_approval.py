"""An approval counts only for exactly this release, from someone allowed, who did not author it."""

import pytest

from openbell.core.approval import refusal, same_person


@pytest.mark.parametrize(
    ("by", "digest", "given", "words"),
    [
        ("grace@example.com", "sha256:a", (), None),
        ("Grace <grace@example.com>", "sha256:a", (), None),
        ("grace@example.com", "sha256:b", (), "approve what is rolled out"),
        ("ada@example.com", "sha256:a", (), "is the author"),
        ("ADA <ada@example.com>", "sha256:a", (), "is the author"),
        ("mallory", "sha256:a", (), "may not approve here; allowed: grace@example.com, ada@example.com"),
        ("grace@example.com", "sha256:a", ("grace@example.com",), "has approved already"),
    ],
)
def test_refusals(by: str, digest: str, given: tuple[str, ...], words: str | None) -> None:
    answer = refusal(
        by=by,
        digest=digest,
        wanted_digest="sha256:a",
        author="Ada <ada@example.com>",
        approvers=("grace@example.com", "ada@example.com"),
        given=given,
    )
    assert answer is None if words is None else words in (answer or "")


def test_nobody_named_means_anyone_but_the_author() -> None:
    assert refusal(by="x", digest="d", wanted_digest="d", author="y", approvers=(), given=()) is None
    assert not same_person("", "")
