"""`fingerprint`: the name under which another system may keep a job's result."""

import sys
from pathlib import Path

from openbell.adapters.toml import ConfigurationError
from openbell.cli.terminal import DONE, complain, say
from openbell.ports import AdapterError
from openbell.wiring.pipeline import UsageError
from openbell.wiring.project import open_project
from openbell.wiring.result_key import result_key


def fingerprint(job: str, /, *, policy: list[str] | None = None) -> int:
    """Print the name under which a job's result may be kept elsewhere: the hash of all that it can depend on.

    It is about the tree that is checked out. Nothing is printed for a job whose result is never reused.

    Parameters
    ----------
    job
        The job's name, or one leg such as "test (python=3.12)".
    policy
        A file laid over openbell.toml; may be repeated.
    """
    try:
        say(result_key(open_project(Path.cwd(), tuple(policy or ())), job), stream=sys.stdout)
    except (ConfigurationError, UsageError) as error:
        return complain(str(error))
    except AdapterError as error:
        return complain(f"{error.system}: {error.message}")
    return DONE
