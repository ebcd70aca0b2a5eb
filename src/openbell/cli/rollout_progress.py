"""A rollout on the screen: live on a terminal, plain lines elsewhere. The facts come from `core.narrative`."""

import sys
import time
from typing import TYPE_CHECKING

from openbell.cli.terminal import console, harmless, is_lively, paint, say
from openbell.core.analysis.limits import Sample, Tick, quantile_ms, total
from openbell.core.events import AnyEvent
from openbell.core.narrative import describe, duration, headline, step_text
from openbell.core.rollout_state import Rollout
from openbell.core.strategy import Hold, Watch

if TYPE_CHECKING:
    from rich.live import Live

BARS = "▁▂▃▄▅▆▇█"
TREND_TICKS = 12


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
            self._live.update(self._screen(after))

    def _say(self, line: str) -> None:
        if self._live:
            self._live.console.print(harmless(line, colours=False), markup=False)
        else:
            say(line)

    def _screen(self, state: Rollout) -> str:
        from rich.markup import escape

        return escape(harmless("\n".join(screen_lines(state, self._ticks)), colours=False))


def clock(at_s: float) -> str:
    """Write the local time of an event."""
    return time.strftime("%H:%M:%S", time.localtime(at_s))


def screen_lines(state: Rollout, ticks: list[Tick]) -> list[str]:
    """Write the live screen: where the rollout stands, and both sides beside each other."""
    plan, stable = state.plan, state.plan.stable
    step = state.step
    where = "ended" if step is None else f"step {state.position + 1} of {len(state.steps)}: {step_text(state, step)}"
    if isinstance(step, (Hold, Watch)):
        where += f", {duration(max(0.0, step.duration_s - state.held_s))} left"
    old = stable.version if stable else "nothing"
    lines = [f"{plan.environment}  {old} -> {plan.candidate.version}  {plan.strategy}  {where}"]
    if not ticks:
        return lines
    now = ticks[-1]
    triggers = plan.triggers
    left = f"{stable.slot} {stable.version} {100 - state.weight_pct} %" if stable else "-"
    lines.append(
        f"  {'':<10}{left:<26}{f'{plan.candidate.slot} {plan.candidate.version} {state.weight_pct} %':<26}limit"
    )
    both = [[tick.stable for tick in ticks], [tick.candidate for tick in ticks]]
    lines.append(f"  {'requests':<10}" + "".join(f"{_rate(side, ticks):<26}" for side in both))
    lines.append(
        f"  {'errors':<10}" + "".join(f"{_errors(side):<26}" for side in both) + f"{triggers.error_rate_pct_max:g} %"
    )
    lines.append(f"  {'p95':<10}" + "".join(f"{_p95(side):<26}" for side in both) + f"{triggers.p95_ms_max:g} ms")
    restarts = (now.stable_health.restarts, now.candidate_health.restarts)
    lines.append(f"  {'restarts':<10}" + "".join(f"{count:<26}" for count in restarts) + f"{triggers.restarts_max}")
    if state.waiting_for:
        lines.append(f"  waits for {headline(state.waiting_for)}   openbell approve {plan.id} --by NAME")
    lines.append(f"  abort: openbell abort {plan.id}   why: openbell why {plan.id}")
    return lines


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
        took = f" (switch took {state.switch_ms:.2g} ms)" if state.switch_ms is not None and state.routed else ""
        lines.append(f"  Traffic is on {plan.stable.slot} {plan.stable.version}{took}.")
    return lines


def _rate(side: list[Sample], ticks: list[Tick]) -> str:
    duration_s = sum(tick.duration_s for tick in ticks[: len(side)])
    requests = sum(sample.requests for sample in side)
    return f"{requests / duration_s:,.0f}/s" if duration_s else "-"


def _errors(side: list[Sample]) -> str:
    seen = total(side)
    trend = [100 * s.errors / s.requests if s.requests else 0.0 for s in side]
    return f"{seen.error_rate_pct:.2f} %  {_trend(trend)}" if seen.requests else "no requests"


def _p95(side: list[Sample]) -> str:
    value = quantile_ms(total(side).latency_counts, 0.95)
    trend = [quantile_ms(sample.latency_counts, 0.95) or 0.0 for sample in side]
    return "-" if value is None else f"{value:,.0f} ms  {_trend(trend)}"


def _trend(values: list[float]) -> str:
    top = max(values, default=0.0)
    return "".join(BARS[round(value / top * (len(BARS) - 1))] if top else BARS[0] for value in values)
