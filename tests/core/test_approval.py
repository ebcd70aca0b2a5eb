"""An approval counts only for exactly this release, from someone allowed, who did not author it."""

import pytest

from openbell.core.approval import refusal


@pytest.mark.parametrize(
    ("by", "digest", "given", "words"),
    [
        ("grace@example.com", "sha256:a", (), None),
        ("Grace <grace@example.com>", "sha256:a", (), None),
        ("grace@example.com", "sha256:b", (), "approve what is rolled out"),
        ("ada@example.com", "sha256:a", (), "is the author"),
        ("ADA <ada@example.com>", "sha256:a", (), "is the author"),
        ("mallory", "sha256:a", (), "may not approve here; allowed: grace@example.com, ada@example.com, Linus <"),
        ("Ada", "sha256:a", (), "is the author"),
        ("  ada ", "sha256:a", (), "is the author"),
        ("grace@example.com", "sha256:a", ("grace@example.com",), "has approved already"),
        ("Grace <grace@example.com>", "sha256:a", ("grace@example.com",), "has approved already"),
        ("linus", "sha256:a", ("linus@example.com",), "has approved already"),
        ("Linus <other@example.com>", "sha256:a", (), "may not approve here"),
        ("", "sha256:a", (), "say who approves with --by"),
        (" <> ", "sha256:a", (), "say who approves with --by"),
    ],
)
def test_refusals(by: str, digest: str, given: tuple[str, ...], words: str | None) -> None:
    answer = refusal(
        by=by,
        digest=digest,
        wanted_digest="sha256:a",
        author="Ada <ada@example.com>",
        approvers=("grace@example.com", "ada@example.com", "Linus <linus@example.com>"),
        given=given,
    )
    assert answer is None if words is None else words in (answer or "")


def test_nobody_named_means_anyone_but_the_author() -> None:
    assert refusal(by="x", digest="d", wanted_digest="d", author="y", approvers=(), given=()) is None
    assert refusal(by="x", digest="d", wanted_digest="d", author="", approvers=(), given=()) is None
    assert refusal(by="X <x@y>", digest="d", wanted_digest="d", author="x", approvers=(), given=())


def test_an_author_that_only_an_approvers_entry_connects_is_found() -> None:
    """An address is the author's, a name is what approves: the entry says that they are one person."""
    refused = refusal(
        by="Ada",
        digest="d",
        wanted_digest="d",
        author="ada@example.com",
        approvers=("Ada <ada@example.com>",),
        given=(),
    )
    assert refused is not None
    assert "is the author" in refused
