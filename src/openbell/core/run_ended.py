"""What the journal keeps of a run that has ended, for the reports that look over weeks: its outcome and its times.

The document of a run is forgotten when a hundred newer ones are there; this stays. Kept in the stream `runs`.
"""

import msgspec

from openbell.core.project import TriggerKind

STREAM = "runs"
KIND = "RunEnded"


class RunEnded(msgspec.Struct, frozen=True, kw_only=True):
    """One run: what it was of, how it ended and when (Unix seconds), and how long each stage took.

    `executed` jobs ran, `known` ones had their result already; `failed` names those that did not pass.
    """

    run: str
    trigger: TriggerKind
    ref: str
    commit: str
    dirty: bool
    outcome: str
    begin_at_s: float
    end_at_s: float
    stages_s: dict[str, float] = {}
    executed: int = 0
    known: int = 0
    failed: tuple[str, ...] = ()
    release: str | None = None
