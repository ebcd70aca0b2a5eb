"""Who may approve: an approval counts only for exactly this release, from someone allowed, who did not author it.

A person is named as git names one ("Ada <ada@example.com>"), by address or by name. To allow somebody the address
decides where both sides have one; to forbid somebody anything they share is enough.
"""

from collections.abc import Sequence


def refusal(
    *, by: str, digest: str, wanted_digest: str, author: str, approvers: Sequence[str], given: Sequence[str]
) -> str | None:
    """Say why an approval does not count, with the remedy; None when it does."""
    if digest != wanted_digest:
        return f"the approval is for {digest[:19]}, the rollout brings {wanted_digest[:19]}: approve what is rolled out"
    if not _names(by):
        return "nobody is named; say who approves with --by"
    known_as = _known_as(by, approvers)
    if known_as & _names(author):
        return f"{by} is the author of the release; somebody else must approve it"
    if approvers and not any(_is(by, approver) for approver in approvers):
        return f"{by} may not approve here; allowed: {', '.join(approvers)}"
    if any(known_as & _known_as(earlier, approvers) for earlier in given):
        return f"{by} has approved already; another person is needed"
    return None


def _is(by: str, approver: str) -> bool:
    (name, address), (allowed_name, allowed_address) = _parts(by), _parts(approver)
    if address and allowed_address:
        return address == allowed_address
    return bool({name, address} & {allowed_name, allowed_address} - {""})


def _known_as(by: str, approvers: Sequence[str]) -> frozenset[str]:
    """All names of a person: those given, and those of the approvers that it may be."""
    names = _names(by)
    return names.union(*(_names(approver) for approver in approvers if names & _names(approver)))


def _names(person: str) -> frozenset[str]:
    return frozenset(_parts(person)) - {""}


def _parts(person: str) -> tuple[str, str]:
    """Take name and address apart, in lower case; what is missing is empty."""
    name, _, address = person.casefold().partition("<")
    name, address = " ".join(name.split()), address.rstrip("> ").strip()
    return ("", name) if not address and "@" in name else (name, address)
