"""A run on the screen: on a terminal one line per stage that changes in place, elsewhere one line per outcome.

Both say the same facts in the same order. What they end with when something failed is in `openbell.cli.failures`.
"""

import sys
import time
from typing import TYPE_CHECKING, Protocol

from openbell.cli.terminal import console, counted, harmless, paint, say
from openbell.core.pipeline import JobNode, JobResult
from openbell.core.wording import duration, headline
from openbell.wiring.pipeline import FIRST_TIME, PreparedRun, RunDocument

if TYPE_CHECKING:
    from rich.text import Text

    from openbell.wiring.run_history import RunSummary

GLYPHS = {"success": "✓", "failure": "✗", "timeout": "✗", "cached": "=", "not-checked": "–", "skipped": "·"}
COLOURS = {
    "success": "green", "failure": "red", "timeout": "red", "cached": "dim", "not-checked": "yellow", "skipped": "dim",
}  # fmt: skip
RUNNING, WAITING = "●", "○"
_ENDS = {"success": (GLYPHS["success"], COLOURS["success"]), "waiting": (WAITING, "yellow")}
_COUNTED = {"failure": "failed", "timeout": "timed out", "not-checked": "not checked"}
REASONS_SHOWN = 3


class Progress(Protocol):
    """What shows a run while it goes on; also a `RunObserver`."""

    def job_started(self, node: JobNode, attempt: int) -> None:
        """An attempt at a job begins."""

    def job_ended(self, result: JobResult) -> None:
        """A job has its outcome."""

    def close(self) -> None:
        """The run has ended."""


def heading(prepared: PreparedRun) -> str:
    """Name the run: its id, trigger, commit and the commit's subject."""
    commit = prepared.snapshot.commit
    changed = len(prepared.snapshot.dirty)
    dirty = f" with {counted(changed, 'changed file')}" if changed else ""
    return f'run {prepared.workplace.run}  {prepared.plan.trigger.words}  {commit.short}{dirty} "{commit.subject}"'


def because(prepared: PreparedRun) -> list[str]:
    """Say why jobs run again that have run before, reason by reason: "src/book.py changed: lint, unit (3.12)"."""
    reasons: dict[str, list[str]] = {}
    for node in prepared.graph:
        if node.id not in prepared.hits and prepared.request.use_cache:
            reasons.setdefault(prepared.misses.get(node.id, FIRST_TIME), []).append(node.short)
    reasons.pop(FIRST_TIME, None)
    shown = [f"  {reason}: {', '.join(names)}" for reason, names in reasons.items()]
    more = len(shown) - REASONS_SHOWN
    return [*shown[:REASONS_SHOWN], *([f"  ... and {counted(more, 'other reason')}"] if more > 0 else [])]


def describe(result: JobResult, short: str) -> str:
    """Say in a line how a job ended: "unit (3.12) 41 s, 902 tests"."""
    if result.outcome == "cached":
        return f"{short} (cached: {result.reason}{'; flaky then' if result.flaky else ''})"
    if result.outcome == "not-checked":
        return f"{short} (not checked: {result.reason})"
    if result.outcome == "skipped":
        return f"{short} ({result.reason})"
    if result.outcome in ("failure", "timeout"):
        return f"{short} failed after {duration(result.duration_s)}: {result.reason}"
    words = f", {result.reason}" if result.reason else ""
    return f"{short}{' (flaky)' if result.flaky else ''} {duration(result.duration_s)}{words}"


def _mark(result: JobResult, *, allowed: bool) -> tuple[str, str]:
    """The glyph and the colour of a result; a failure that holds nothing up has its own."""
    if allowed and result.outcome in ("failure", "timeout"):
        return "!", "yellow"
    return GLYPHS[result.outcome], COLOURS[result.outcome]


class PlainProgress:
    """One line per outcome, as it comes."""

    def __init__(self, prepared: PreparedRun) -> None:
        self.shorts = {node.id: node.short for node in prepared.graph}
        self.allowed = {node.id: node.job.allow_failure for node in prepared.graph}
        for line in (heading(prepared), *because(prepared)):
            say(line)

    def job_started(self, node: JobNode, attempt: int) -> None:
        """Say so only when it is another try; a start is no news."""
        if attempt > 1:
            say(f"  {node.stage:<8} {RUNNING} {node.short}: try {attempt}")

    def job_ended(self, result: JobResult) -> None:
        """Print the outcome."""
        glyph = paint(*_mark(result, allowed=self.allowed.get(result.id, False)), sys.stderr)
        say(f"  {result.stage:<8} {glyph} {describe(result, self.shorts[result.id])}")

    def close(self) -> None:
        """Nothing is left to say."""


class LiveProgress:
    """One line per stage, redrawn in place four times a second while jobs run."""

    def __init__(self, prepared: PreparedRun) -> None:
        from rich.live import Live

        self.prepared = prepared
        self.results: dict[str, JobResult] = {}
        self.started: dict[str, float] = {}
        self.began_s = time.monotonic()
        for line in because(prepared):
            say(line)
        self.live = Live(get_renderable=self._draw, console=console(), refresh_per_second=4)
        self.live.start()

    def job_started(self, node: JobNode, attempt: int) -> None:
        """Show it as running from now on."""
        del attempt
        self.started[node.id] = time.monotonic()

    def job_ended(self, result: JobResult) -> None:
        """Show its outcome from now on."""
        self.results[result.id] = result

    def close(self) -> None:
        """Draw the last state and let the terminal go."""
        self.live.stop()

    def _draw(self) -> "Text":
        from rich.text import Text

        text = Text(overflow="fold")
        text.append(f"{harmless(heading(self.prepared), colours=False)}  {duration(time.monotonic() - self.began_s)}")
        for stage in dict.fromkeys(node.stage for node in self.prepared.graph):
            text.append(f"\n  {stage:<8}")
            for node in self.prepared.graph:
                if node.stage == stage:
                    self._draw_job(text, node)
        return text

    def _draw_job(self, text: "Text", node: JobNode) -> None:
        result = self.results.get(node.id)
        if result is not None:
            glyph, colour = _mark(result, allowed=node.job.allow_failure)
            text.append(f"  {glyph} ", style=colour)
            words = {
                "success": f"{node.short} {duration(result.duration_s)}",
                "cached": f"{node.short} (cached)",
                "skipped": node.short,
                "not-checked": f"{node.short} (not checked: {result.reason})",
            }
            text.append(harmless(words.get(result.outcome, f"{node.short} {result.reason}"), colours=False))
        elif node.id in self.started:
            text.append(f"  {RUNNING} ", style="blue")
            took_s, limit_s = time.monotonic() - self.started[node.id], node.job.timeout_s
            limit = f" of at most {duration(limit_s)}" if took_s > limit_s / 2 else ""
            text.append(f"{node.short} {duration(took_s)}{limit}")
        else:
            text.append(f"  {WAITING} {node.short}", style="dim")


def summary_line(summary: "RunSummary") -> str:
    """Say in a line what a run was and how it went, as `openbell runs` lists it."""
    glyph, colour = _ENDS.get(summary.state, (RUNNING if summary.state == "running" else GLYPHS["failure"], "red"))
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(summary.began_s)) if summary.began_s else " " * 16
    took = "" if summary.duration_s is None else f" in {duration(summary.duration_s)}"
    parts = [
        f"{paint(glyph, colour, sys.stdout)} {summary.run:<4}  {when}  {summary.state:<11}  {summary.ref}",
        f"{summary.commit[:7]}{' with changes' if summary.dirty else ''}",
        f"{summary.done} of {counted(summary.jobs, 'job')}{took}",
    ]
    parts += [f"failed: {', '.join(summary.failed)}"] if summary.failed else []
    parts += [f"goes on with {summary.resumes}"] if summary.resumes else []
    parts += [f"superseded by {summary.superseded_by}"] if summary.superseded_by else []
    parts += [f"{summary.repeats} again"] if summary.repeats else []
    return "  ".join(parts)


def closing(found: RunDocument, version: str) -> list[str]:
    """Compose the last lines of a run: its outcome, its release, and what came of its deployments."""
    count: dict[str, int] = {}
    for job in found.jobs:
        allowed = job.allowed_to_fail and job.outcome in ("failure", "timeout")
        word = "allowed to fail" if allowed else _COUNTED.get(job.outcome, job.outcome)
        count[word] = count.get(word, 0) + 1
    parts = ", ".join(f"{number} {outcome}" for outcome, number in count.items() if outcome != "success")
    jobs = counted(len(found.jobs), "job") + (f" ({parts})" if parts else "")
    glyph, colour = _ENDS.get(found.outcome, (GLYPHS["failure"], COLOURS["failure"]))
    lines = [
        paint(f"{glyph} run {found.run}: {found.outcome}, {jobs} in {duration(found.duration_s)}", colour, sys.stderr)
    ]
    if found.superseded_by:
        lines.append(f"  Superseded by run {found.superseded_by} of the same concurrency group.")
    if all(job.from_run for job in found.jobs) and found.jobs:
        runs = ", ".join(dict.fromkeys(job.from_run for job in found.jobs))
        lines.append(f"  Nothing was executed: every job has the same fingerprint as in run {runs}.")
    if found.release:
        lines.append(f"  Release {version}  {found.release[:23]}")
    if found.outcome in ("failure", "cancelled") and any(job.outcome in ("success", "cached") for job in found.jobs):
        lines.append(f"  Go on from there: openbell run --resume {found.run}")
    for entry in found.deployments:
        lines += [f"  {entry.environment}: {entry.outcome}" + (f": {headline(entry.reason)}" if entry.reason else "")]
    lines += [f"  {note}" for note in found.notes]
    return lines
