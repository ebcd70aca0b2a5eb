"""Where Openbell keeps what it knows: `.openbell/` of the project, or the folder that OPENBELL_STATE names."""

import hashlib
import os
import tempfile
from pathlib import Path

import msgspec

from openbell.ports import AdapterError


class StateFolder(msgspec.Struct, frozen=True):
    """The folders of one project's state. Paths only: nothing is created before something is written."""

    root: Path

    @classmethod
    def of_project(cls, project_root: Path) -> "StateFolder":
        """Find the state folder of a project; OPENBELL_STATE wins over `.openbell/`."""
        named = os.environ.get("OPENBELL_STATE")
        return cls(Path(named).absolute() if named else project_root.absolute() / ".openbell")

    def make(self) -> None:
        """Make the folder, if it is not there; raises `AdapterError` when that cannot be done, or nobody may write."""
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            why = "" if os.access(self.root, os.W_OK | os.X_OK) else "permission denied"
        except OSError as error:
            why = error.strerror or str(error)
        if why:
            message = f"no state can be kept in {self.root}: {why}. Name a folder that can be written: OPENBELL_STATE"
            raise AdapterError("openbell", "state", message, effect="not_applied")

    @property
    def journal(self) -> Path:
        """The SQLite file that records every event."""
        return self.root / "journal.sqlite"

    @property
    def findings(self) -> Path:
        """The SQLite file with the ledgers of findings."""
        return self.root / "findings.sqlite"

    @property
    def history(self) -> Path:
        """The SQLite file that remembers tests and coverage of earlier runs."""
        return self.root / "history.sqlite"

    @property
    def store(self) -> Path:
        """Results of jobs and artifacts, by content."""
        return self.root / "store"

    def index(self, project_root: Path) -> Path:
        """What was read of a checkout's files; several checkouts may share a state folder."""
        return self.root / "index" / hashlib.sha256(os.fsencode(project_root.absolute())).hexdigest()[:16]

    def run(self, run_id: str) -> Path:
        """Logs and outputs of one run."""
        return self.root / "runs" / run_id

    def release(self, digest: str) -> Path:
        """`manifest.json` and `artifacts/` of one release; written once, never changed."""
        return self.root / "releases" / digest.removeprefix("sha256:")[:16]

    def environment(self, name: str) -> Path:
        """Ports, data and logs of one environment."""
        return self.root / "environments" / name

    def sockets(self, name: str) -> Path:
        """A short folder for an environment's Unix sockets, whose paths may have 107 bytes at most."""
        key = hashlib.sha256(str(self.environment(name)).encode()).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"openbell-{os.getuid()}" / key
