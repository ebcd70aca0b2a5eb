"""A rollout on the screen: live on a terminal, plain lines elsewhere. The facts come from `core.narrative`."""

import sys
import time
from textwrap import wrap
from typing import TYPE_CHECKING

from openbell.cli.terminal import console, harmless, is_lively, paint, say
from openbell.core.analysis.limits import Sample, Tick, quantile_ms, total
from openbell.core.events import AnyEvent
from openbell.core.narrative import describe, duration, headline, milliseconds, step_text
from openbell.core.rollout_state import Rollout
from openbell.core.strategy import Hold, Watch

if TYPE_CHECKING:
    from rich.live import Live
    from rich.text import Text

BARS = "▁▂▃▄▅▆▇█"
TREND_TICKS = 12
LABEL, LIMIT = 12, 8
"""Widths of the screen's first and last column; the two between share what is left."""
COLUMN_MIN, COLUMN_MAX = 14, 26


class RolloutProgress:
    """Shows a rollout as it goes on; `observe` is a host's observer. Use as a context manager."""

    def __init__(self) -> None:
        self._live: Live | None = None
        self._lively = is_lively(sys.stderr)
        self._ticks: list[Tick] = []

    def __enter__(self) -> "RolloutProgress":
        if self._lively:
            from rich.live import Live

            self._live = Live(console=console(), refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def observe(self, before: Rollout | None, event: AnyEvent, after: Rollout) -> None:
        """Show what an event changed."""
        if after.window and (not self._ticks or after.window[-1] is not self._ticks[-1]):
            self._ticks = [*self._ticks, after.window[-1]][-TREND_TICKS:]
        for line in describe(before, event, after):
            self._say(f"{clock(event.at_s)}  {line}")
        if self._live:
            self._live.update(self._screen(after, self._live))

    def _say(self, line: str) -> None:
        if self._live:
            self._live.console.print(harmless(line, colours=False), markup=False)
        else:
            say(line)

    def _screen(self, state: Rollout, live: "Live") -> "Text":
        from rich.text import Text

        lines = screen_lines(state, self._ticks, width=live.console.width)
        return Text(harmless("\n".join(lines), colours=False))


def clock(at_s: float) -> str:
    """Write the local time of an event."""
    return time.strftime("%H:%M:%S", time.localtime(at_s))


def screen_lines(state: Rollout, ticks: list[Tick], *, width: int = 100) -> list[str]:
    """Write the live screen: where the rollout stands, and both sides beside each other, in lines of `width`."""
    plan = state.plan
    lines = _fit(*_head(state), width=width)
    if not ticks:
        return lines
    lines += _table(state, ticks, max(COLUMN_MIN, min(COLUMN_MAX, (width - LABEL - LIMIT) // 2)))
    if state.waiting_for:
        lines += _fit(
            f"  waits for {headline(state.waiting_for)}", f"openbell approve {plan.id} --by NAME", width=width
        )
    return lines + _fit(f"  abort: openbell abort {plan.id}", f"why: openbell why {plan.id}", width=width)


def _head(state: Rollout) -> tuple[str, str]:
    plan, step = state.plan, state.step
    where = "ended" if step is None else f"step {state.position + 1} of {len(state.steps)}: {step_text(state, step)}"
    if isinstance(step, (Hold, Watch)):
        where += f", {duration(max(0.0, step.duration_s - state.held_s))} left"
    old = plan.stable.version if plan.stable else "nothing"
    return f"{plan.environment}  {old} -> {plan.candidate.version}  {plan.strategy}", where


def _table(state: Rollout, ticks: list[Tick], column: int) -> list[str]:
    plan, now = state.plan, ticks[-1]
    stable = f"{plan.stable.slot} {plan.stable.version} {100 - state.weight_pct} %" if plan.stable else "-"
    both = [[tick.stable for tick in ticks], [tick.candidate for tick in ticks]]
    limits = plan.triggers
    rows = [
        ("", stable, f"{plan.candidate.slot} {plan.candidate.version} {state.weight_pct} %", "limit"),
        ("requests", *(_rate(side, ticks) for side in both), ""),
        ("errors", *(_errors(side, column) for side in both), f"{limits.error_rate_pct_max:g} %"),
        ("p95", *(_p95(side, column) for side in both), f"{limits.p95_ms_max:g} ms"),
        ("restarts", f"{now.stable_health.restarts}", f"{now.candidate_health.restarts}", f"{limits.restarts_max}"),
    ]
    return [
        f"  {name:<{LABEL - 2}}{_cut(left, column - 1):<{column}}{_cut(right, column - 1):<{column}}{limit}".rstrip()
        for name, left, right, limit in rows
    ]


def _fit(text: str, more: str, *, width: int) -> list[str]:
    """Put two texts into one line; where it is too long, into two, and those at spaces into as many as it takes."""
    if len(text) + 3 + len(more) <= width:
        return [f"{text}   {more}"]
    return [part for line in (text, f"  {more}") for part in wrap(line, width, subsequent_indent="    ")]


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def ending(state: Rollout) -> list[str]:
    """Write what a person needs when a rollout has ended or waits."""
    plan = state.plan
    if state.outcome == "promoted":
        return [
            paint(f"✓ {plan.candidate.version} is in {plan.environment} on {plan.candidate.slot}.", "green", sys.stderr)
        ]
    if state.outcome == "rolled-back":
        return _taken_back(state)
    if state.waiting_for:
        return [
            f"{plan.candidate.version} waits for {headline(state.waiting_for)}.",
            f"  Approve: openbell approve {plan.id}     Take back: openbell abort {plan.id}     Go on: openbell resume",
        ]
    remedy = f"Go on: openbell resume. Take back: openbell abort {plan.id}"
    return [f"{plan.id} is left as it is at {state.weight_pct} %. {remedy}"]


def _taken_back(state: Rollout) -> list[str]:
    plan = state.plan
    late = f", {duration(state.detected_s)} after its first answer" if state.detected_s is not None else ""
    lines = [paint(f"✗ {plan.candidate.version} was taken back from {plan.environment}{late}.", "red", sys.stderr)]
    lines.append(f"  Because: {headline(state.reason)} (openbell why {plan.id}).")
    if state.routed:
        lines.append(f"  {state.candidate_errors} of {state.candidate_requests} requests that it answered failed.")
    if plan.stable is not None:
        took = f" (switch took {milliseconds(state.switch_ms)})" if state.switch_ms is not None and state.routed else ""
        lines.append(f"  Traffic is on {plan.stable.slot} {plan.stable.version}{took}.")
    return lines


def _rate(side: list[Sample], ticks: list[Tick]) -> str:
    duration_s = sum(tick.duration_s for tick in ticks[: len(side)])
    requests = sum(sample.requests for sample in side)
    return f"{requests / duration_s:,.0f}/s" if duration_s else "-"


def _errors(side: list[Sample], column: int) -> str:
    seen = total(side)
    trend = [100 * s.errors / s.requests if s.requests else 0.0 for s in side]
    return _with_trend(f"{seen.error_rate_pct:.2f} %", trend, column) if seen.requests else "no requests"


def _p95(side: list[Sample], column: int) -> str:
    value = quantile_ms(total(side).latency_counts, 0.95)
    trend = [quantile_ms(sample.latency_counts, 0.95) or 0.0 for sample in side]
    return "-" if value is None else _with_trend(f"{value:,.0f} ms", trend, column)


def _with_trend(text: str, values: list[float], column: int) -> str:
    """Add as many of the newest values as bars as the column has room for."""
    room = column - len(text) - 4
    top = max(values, default=0.0)
    bars = "".join(BARS[round(value / top * (len(BARS) - 1))] if top else BARS[0] for value in values)
    return f"{text}  {bars[-room:]}" if room > 0 else text
