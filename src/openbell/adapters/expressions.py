"""Regular expressions of strangers, matched in a process of its own that is ended when it takes too long.

Some expressions take longer than the universe is old for a line of thirty characters, and `re` has no time limit.
"""

import json
import subprocess
import sys
from collections.abc import Sequence

LIMIT_S = 2.0
LATE_MAX = 3
"""After so many expressions that took too long, the rest is not tried: a person waits."""

COMMAND = (sys.executable, "-I", "-m", "openbell.programs.pattern_search")
"""`-I`: the folder that it is called in may have a `re.py` of its own."""


def first_lines(patterns: Sequence[str], lines: Sequence[str], *, limit_s: float = LIMIT_S) -> list[int | None]:
    """Return for each pattern the number of the first line it matches, from 1; 0 for none, None if it took too long."""
    found: list[int | None] = []
    for _ in range(LATE_MAX):
        if len(found) == len(patterns):
            return found
        question = json.dumps({"lines": list(lines), "patterns": list(patterns[len(found) :])}).encode()
        try:
            done = subprocess.run(COMMAND, input=question, capture_output=True, timeout=limit_s, check=False)
            found += [int(text) for text in done.stdout.split()]
            break
        except subprocess.TimeoutExpired as late:
            found += [*(int(text) for text in (late.stdout or b"").split()), None]
    return [*found, *[None] * (len(patterns) - len(found))]
