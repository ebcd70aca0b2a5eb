"""What a command says when it cannot be carried out, and the exit code that belongs to it."""

from openbell.adapters.toml import ConfigurationError
from openbell.cli.terminal import FAILED, USAGE, complain
from openbell.ports import AdapterError
from openbell.wiring.pipeline import RUNS_KEPT, UsageError
from openbell.wiring.project import OpenProject

REFUSALS = (ConfigurationError, UsageError, AdapterError)
"""What keeps a command that is about a commit from being carried out."""


def refuse(error: Exception) -> int:
    """Say why one of `REFUSALS` was raised; what git refuses is usage, for it was asked for what is not there."""
    if isinstance(error, AdapterError):
        return complain(f"{error.system}: {error.message}", code=USAGE if error.system == "git" else FAILED)
    return complain(str(error))


def refuse_run(place: OpenProject, run: str) -> int:
    """Say that there is no run of that name, and why there may be none any more."""
    return complain(f'there is no run "{run}" in {place.state.root}. Runs are kept until {RUNS_KEPT} are newer.')
