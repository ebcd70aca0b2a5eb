"""Who may approve: an approval counts only for exactly this release, from someone allowed, who did not author it."""

from collections.abc import Sequence


def refusal(
    *, by: str, digest: str, wanted_digest: str, author: str, approvers: Sequence[str], given: Sequence[str]
) -> str | None:
    """Say why an approval does not count, with the remedy; None when it does."""
    if digest != wanted_digest:
        return f"the approval is for {digest[:19]}, the rollout brings {wanted_digest[:19]}: approve what is rolled out"
    if same_person(by, author):
        return f"{by} is the author of the release; somebody else must approve it"
    if approvers and not any(same_person(by, approver) for approver in approvers):
        return f"{by} may not approve here; allowed: {', '.join(approvers)}"
    if any(same_person(by, earlier) for earlier in given):
        return f"{by} has approved already; another person is needed"
    return None


def same_person(one: str, other: str) -> bool:
    """Whether two ways to name a person ("Ada <ada@example.com>", "ada@example.com", "Ada") mean the same one."""
    return bool(_names(one) & _names(other))


def _names(person: str) -> frozenset[str]:
    name, _, address = person.partition("<")
    parts = (name.strip().casefold(), address.rstrip("> ").strip().casefold())
    return frozenset(part for part in parts if part)
