"""What is written down of a run while it goes on, so that it can be resumed, repeated and listed whatever kills it.

`progress.jsonl` in the run's folder is only ever appended to, one event a line: what was asked for and of what, each
result as it comes, how it ended. A line counts when it is whole, so a reader sees a true beginning of the run at every
moment. Results reach the disk before anything follows from them.
"""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from openbell.core.fingerprint import printable_path
from openbell.core.pipeline import JobNode, JobResult
from openbell.core.trigger import Trigger
from openbell.ports import RunObserver
from openbell.wiring.pipeline import PreparedRun, RunDocument, RunRequest
from openbell.wiring.run_folder import unrecordable
from openbell.wiring.state import StateFolder

FILE_NAME = "progress.jsonl"
_APPENDING = os.O_WRONLY | os.O_APPEND | os.O_CREAT
RunState = Literal["running", "interrupted", "success", "failure", "cancelled", "waiting"]


class Text(msgspec.Struct, frozen=True):
    """A file of the configuration as it was: its name and its text."""

    name: str
    text: str


class Began(msgspec.Struct, frozen=True, kw_only=True, tag="began"):
    """A run began: who carries it out, what was asked for, of which commit, under which configuration.

    `changed` are the files of the working tree that differed from the commit, by "mode blob" (empty: it was gone), and
    `jobs` the graph: each job's fingerprint. `resumes` and `repeats` name the run that it goes on with or does again.
    """

    run: str
    at_s: float
    pid: int
    request: RunRequest
    trigger: Trigger
    commit: str
    changed: dict[str, str] = {}
    configuration: tuple[Text, ...] = ()
    jobs: dict[str, str] = {}
    deploys: bool = True
    resumes: str = ""
    repeats: str = ""
    group: str = ""


class JobDone(msgspec.Struct, frozen=True, tag="job"):
    """A job has its result."""

    result: JobResult


class Closed(msgspec.Struct, frozen=True, tag="closed"):
    """The run has ended, deployments included."""

    outcome: Literal["success", "failure", "cancelled", "waiting"]


class RunRecord(msgspec.Struct, frozen=True):
    """What is known of a run: how it began, the results it got to, and its outcome if it came that far."""

    began: Began
    results: dict[str, JobResult]
    outcome: Literal["success", "failure", "cancelled", "waiting"] | None = None

    @property
    def state(self) -> RunState:
        """Its outcome; without one, whether somebody is still carrying it out."""
        return self.outcome or ("running" if is_carried_out(self.began) else "interrupted")


class Recorder:
    """Writes the record of one run; as a `RunObserver` it writes each result down before it tells another observer.

    Every method raises `AdapterError` when nothing can be written.
    """

    def __init__(self, prepared: PreparedRun, *, deploys: bool, group: str = "") -> None:
        self._prepared = prepared
        self._observer: RunObserver | None = None
        seen, configuration = prepared.snapshot, prepared.place.configuration
        began = Began(
            run=prepared.workplace.run,
            at_s=time.time(),
            pid=os.getpid(),
            request=prepared.request,
            trigger=prepared.plan.trigger,
            commit=seen.commit.id,
            changed={printable_path(path): seen.files.get(path, "") for path in seen.dirty},
            configuration=tuple(Text(layer.name, layer.text) for layer in configuration.layers),
            jobs={node.id: prepared.inputs[node.id].fingerprint for node in prepared.graph},
            deploys=deploys,
            resumes=prepared.resumes,
            repeats=prepared.repeats,
            group=group,
        )
        self._append(began)

    def telling(self, observer: RunObserver) -> "Recorder":
        """Have everything told to another observer as well."""
        self._observer = observer
        return self

    def job_started(self, node: JobNode, attempt: int) -> None:
        """Tell it on; a start is no news to who reads the record."""
        if self._observer:
            self._observer.job_started(node, attempt)

    def job_ended(self, result: JobResult) -> None:
        """Write it down, then tell it on."""
        self._append(JobDone(result))
        if self._observer:
            self._observer.job_ended(result)

    def all_known(self, results: Sequence[JobResult]) -> None:
        """Write down the results of a run that executes nothing, which nobody has to be told."""
        self._append(*map(JobDone, results))

    def close(self, found: RunDocument) -> None:
        """Write down how the run ended."""
        self._append(Closed(found.outcome))

    def _append(self, *events: Began | JobDone | Closed) -> None:
        """Add lines in one write, so that whoever is killed meanwhile leaves a whole line or none that counts."""
        # A run in which everything is known is over before a disk has answered; what is lost can be had again.
        lasting = not self._prepared.is_known
        try:
            descriptor = os.open(self._prepared.workplace.folder / FILE_NAME, _APPENDING, 0o600)
            try:
                content = memoryview(b"".join(msgspec.json.encode(event) + b"\n" for event in events))
                while content:
                    content = content[os.write(descriptor, content) :]
                if lasting:
                    os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise unrecordable(self._prepared.place, error) from error


def read(state: StateFolder, run: str) -> RunRecord | None:
    """Read the record of a run up to its last whole line; None when there is none."""
    try:
        lines = (state.run(run) / FILE_NAME).read_bytes().split(b"\n")[:-1]
    except (OSError, ValueError):
        return None
    began: Began | None = None
    results: dict[str, JobResult] = {}
    outcome = None
    for line in lines:
        try:
            event = msgspec.json.decode(line, type=Began | JobDone | Closed)
        except (msgspec.DecodeError, UnicodeDecodeError):
            break
        match event:
            case Began():
                began = event
            case JobDone(result):
                results[result.id] = result
            case Closed(found):
                outcome = found
    return RunRecord(began, results, outcome) if began else None


def newest_first(state: StateFolder) -> list[str]:
    """Name the runs that have a folder, the newest first."""
    found: Mapping[str, float] = {}
    if (state.root / "runs").is_dir():
        found = {entry.name: _began_s(Path(entry.path)) for entry in os.scandir(state.root / "runs") if entry.is_dir()}
    return sorted(found, key=lambda run: (found[run], run), reverse=True)


def is_carried_out(began: Began) -> bool:
    """Say whether the process that began a run still lives; another one that got its number began later."""
    import psutil

    try:
        process = psutil.Process(began.pid)
        return bool(process.create_time() <= began.at_s and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _began_s(folder: Path) -> float:
    """When a run began; of a run without a record, when its folder last changed."""
    try:
        with (folder / FILE_NAME).open("rb") as stream:
            return msgspec.json.decode(stream.readline(), type=Began).at_s
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return folder.stat().st_mtime
