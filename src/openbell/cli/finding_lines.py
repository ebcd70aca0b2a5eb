"""Findings in words, for the end of a run and for the commands that list them; the facts come from documents."""

from openbell.cli.terminal import counted
from openbell.core.findings_documents import RunFindings, describe

SHOWN = 5


def finding_lines(found: RunFindings, *, blocks_merge: bool = False) -> list[str]:
    """Compose what a run says of its findings: what is new, whether that fails it, and what leads on."""
    lines: list[str] = []
    if found.added:
        shown = sorted(found.added, key=lambda one: one.id not in found.failing)
        against = f" beside {found.branch}" if not found.recorded else f" in {found.branch}"
        lines.append(f"{counted(len(found.added), 'new finding')}{against}:")
        lines += [f"    {describe(one)}" for one in shown[:SHOWN]]
        lines += [f"    ... and {len(shown) - SHOWN} more" if len(shown) > SHOWN else ""]
    if found.fixed:
        lines.append(f"{counted(found.fixed, 'finding')} fixed{'' if found.recorded else f' beside {found.branch}'}.")
    if found.added and not found.compared and not found.recorded:
        lines.append(
            f"Nothing is known of {found.branch} here, so everything counts as new. "
            f"Scan it once: openbell run --trigger push --ref {found.branch}"
        )
    if found.failing:
        lines.append(
            f"{counted(len(found.failing), 'new finding')} severe enough to fail this run. Fix what is wrong, or "
            f"live with it until a day: openbell findings waive {found.failing[0]} --reason WHY --until DAY"
        )
        lines += ["The pull request is not to be merged."] if blocks_merge else []
    if found.note:
        lines.append(found.note)
    return [line for line in lines if line]
