"""JSON Schemas of what `--json` prints, derived from the structs that are printed."""

from typing import NamedTuple

import msgspec

from openbell.cli.cache import CacheDocument
from openbell.cli.project import CheckDocument
from openbell.core.regression import BenchDocument
from openbell.core.timing import Timing
from openbell.wiring.authenticity import Verdict
from openbell.wiring.demo import DemoReport
from openbell.wiring.doctor import Diagnosis
from openbell.wiring.environment_status import EnvironmentStatus
from openbell.wiring.explanation import Explained
from openbell.wiring.findings_overview import FindingsDocument
from openbell.wiring.images import BuiltImage
from openbell.wiring.pipeline import RunDocument
from openbell.wiring.release_overview import ReleaseDocument
from openbell.wiring.render import Rendering
from openbell.wiring.report_overview import ReportDocument
from openbell.wiring.rollouts import RolloutDocument
from openbell.wiring.run_history import RunsDocument
from openbell.wiring.scan import ScanDocument
from openbell.wiring.tests_overview import TestsDocument
from openbell.wiring.verification import Verification
from openbell.wiring.waves import WavesDocument

DIALECT = "https://json-schema.org/draft/2020-12/schema"


class Printed(NamedTuple):
    """A document, the commands that print it, and what it is in a few words."""

    struct: type
    commands: tuple[str, ...]
    what: str


PRINTED: dict[str, Printed] = {
    "explain": Printed(Explained, ("explain",), "why results of jobs would be reused, or not"),
    "cache": Printed(CacheDocument, ("cache",), "how much of what jobs left is kept, and what was removed"),
    "verify": Printed(Verification, ("verify",), "reused results that were executed again, and how they differ"),
    "check": Printed(CheckDocument, ("check",), "what would run, and why"),
    "run": Printed(RunDocument, ("run",), "a run and its jobs; `log` without a job prints it too"),
    "findings": Printed(FindingsDocument, ("findings",), "findings of a branch, and which of them keep releases back"),
    "scan": Printed(ScanDocument, ("scan",), "a scan, and what it found"),
    "runs": Printed(RunsDocument, ("runs",), "the runs that are known, the newest first"),
    "timing": Printed(Timing, ("timing",), "where the time of a run went"),
    "bench": Printed(BenchDocument, ("bench",), "benchmarks beside those of another commit"),
    "report": Printed(ReportDocument, ("report",), "what the jobs of a run reported"),
    "tests": Printed(TestsDocument, ("tests",), "what is known of the tests"),
    "rollout": Printed(
        RolloutDocument,
        ("deploy", "approve", "rollback", "abort", "watch"),
        "a rollout; `resume` prints a list of them, `why` one and its events",
    ),
    "waves": Printed(
        WavesDocument,
        ("deploy", "approve", "rollback", "abort", "watch"),
        "a run over the targets of an environment, instead of a rollout; also in the list of `resume`, and by `why`",
    ),
    "status": Printed(EnvironmentStatus, ("up", "down"), "an environment; a list without a name, or with targets"),
    "image": Printed(BuiltImage, ("image build",), "an image that was built; also NAME.image.json of a release"),
    "release": Printed(ReleaseDocument, ("release show",), "a release; `release list` prints a list of shorter ones"),
    "verification": Printed(
        Verdict, ("release verify", "image verify"), "the checks of a release or of an image, passed or not"
    ),
    "demo-report": Printed(DemoReport, ("demo",), "the demo's reckoning, also in build/demo/report.json"),
    "render": Printed(Rendering, ("render",), "files for another system, and whether they are what they should be"),
    "doctor": Printed(Diagnosis, ("doctor",), "what a machine has and lacks"),
}
PRINTED_OTHERWISE = ("release list", "log", "resume", "why", "status")
"""Commands whose document is put together from those above, as their rows say."""


def schema(name: str) -> str:
    """Compose one schema."""
    printed = PRINTED[name]
    head = {"$schema": DIALECT, "title": f"openbell {printed.commands[0]} --json"}
    content = {**head, **msgspec.json.schema(printed.struct)}
    return msgspec.json.format(msgspec.json.encode(content), indent=2).decode() + "\n"


def page() -> str:
    """Compose the list of the schemas."""
    rows = [
        f"| [{name}.json]({name}.json) | {', '.join(f'`{command}`' for command in printed.commands)} | {printed.what} |"
        for name, printed in PRINTED.items()
    ]
    return "\n".join(
        [
            "# Schemas\n",
            "What `openbell COMMAND --json` prints on standard output. A later version may add fields; it does not",
            "rename or remove them. [openbell.json](openbell.json) is the schema of the configuration.\n",
            "| schema | printed by | |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )
