"""The page of what a run knows of failures, composed from the catalogue and the outputs of real tools in the tests."""

import json
import re
import tomllib
from pathlib import Path

from openbell.core.diagnosis import Entry
from openbell.wiring.diagnosis import CATALOGUE, catalogue

EXPECTED = Path(__file__).parents[1] / "tests" / "fixtures" / "outputs" / "expected.json"
HEAD = """\
# Failures of a pipeline

What `openbell run` says of a job that failed: its first real error, the likely cause, what to do, how to prevent it.
`openbell why RUN JOB` says it again later, with the lines of the log around the error. This page is the catalogue that
it chooses from. Where a line of output is shown, it is that of the real tool, from the tests.

Of all lines that the catalogue knows, the one that tells most counts, and of those the first: what comes later usually
follows from it. A full disk, a time limit and what lies deeper (a name that does not resolve, a certificate) go before
what a tool says; what passed before with exactly the same inputs is flaky; what fails on one leg of a matrix only is a
matter of the version.

A project adds what its people know in `openbell.toml`, and that goes before everything else:

```toml
[[diagnoses]]
match = "feed [a-z]+ is gone"
cause = "the exchange's test system sleeps at night"
fix = "wait until seven, or run with FEED=recorded"
jobs = ["integration"]
```

A pattern that takes longer than two seconds for the whole output is left out, and named.

Where a run is slow rather than broken, `openbell timing` says where the time went: places that jobs waited for, copies,
services, the critical path, how many results were known already, and what would make it shorter. What takes longer than
`[targets]` allows is said at the end of the run.
"""


def page() -> str:
    """Compose the page: a section per file of the catalogue, a paragraph per entry."""
    examples = {
        kind: line for _, _, kind, _, place, line in _expected() for line in [f"{place}  {line}".strip()] if line
    }
    known = {entry.name: entry for entry in catalogue()}
    parts = [HEAD]
    for file in sorted(CATALOGUE.glob("*.toml")):
        text = file.read_text(encoding="utf-8")
        title = re.sub(r"^# ", "", text.partition("\n")[0]).rstrip(".").partition(":")
        names = [entry["name"] for entry in tomllib.loads(text)["diagnoses"]]
        parts += [f"## {title[0]}\n", *(_entry(known[name], examples.get(name, "")) for name in names)]
    return "\n".join(parts)


def _expected() -> list[list[str]]:
    found: list[list[str]] = json.loads(EXPECTED.read_text(encoding="utf-8"))
    return found


def _entry(entry: Entry, example: str) -> str:
    shown = f"```text\n{example}\n```\n\n" if example else ""
    when = f"Exit codes {', '.join(map(str, entry.exit_codes))}.\n\n" if entry.exit_codes else ""
    said = [f"Cause: {_sentence(entry.cause)}", f"Fix: {_sentence(entry.fix)}"]
    said += [f"Prevention: {_sentence(entry.prevention)}"] if entry.prevention else []
    return f"### `{entry.name}`\n\n{shown}{when}" + "\n".join(f"- {one}" for one in said) + "\n"


def _sentence(text: str) -> str:
    escaped = text.replace("<", "&lt;")
    return escaped if escaped.endswith(".") else f"{escaped}."
