"""Jobs of the stages smoke and load: run against an environment that serves, in the tree of the release's commit.

They are never cached: what they look at is not in the tree. The addresses of the services reach them as placeholders of
their command and as variables (`{api_url}` is `OPENBELL_API_URL`), the release's own programs lead their PATH.
"""

import asyncio
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from openbell.adapters import git
from openbell.adapters.store import Store
from openbell.core.pipeline import JobNode, JobResult
from openbell.core.release import Release
from openbell.core.schedule import plan_run
from openbell.hosts.pipeline import drive
from openbell.ports import AdapterError
from openbell.wiring.jobs import LocalJobRunner
from openbell.wiring.project import OpenProject
from openbell.wiring.surroundings import Inputs, Workplace, search_path, select_files


class _Silent:
    """Nobody watches; the caller gets the result."""

    def job_started(self, node: JobNode, attempt: int) -> None:
        """An attempt at a job begins."""

    def job_ended(self, result: JobResult) -> None:
        """A job has its outcome."""


async def run_environment_job(
    place: OpenProject,
    job_name: str,
    placeholders: Mapping[str, str],
    *,
    digest: str,
    folder: Path,
    secret: Callable[[str], str | None] = os.environ.get,
    stop: asyncio.Event | None = None,
    on_line: Callable[[str], None] | None = None,
) -> JobResult:
    """Run one smoke or load job of a release with its time limit and retries; its log is `folder/logs/JOB.log`.

    The job, its tree and its programs are the release's, whatever the working tree is now. When `stop` is set the job
    is ended, with outcome "skipped". The result says what failed; only a defect raises.
    """
    release_folder = place.state.release(digest)
    tree = folder / "tree"
    try:
        release = _load(release_folder, digest)
        job = release.project.jobs[job_name]
        node = JobNode(job_name, job_name, job)
        files = await asyncio.to_thread(_lay_out, place.root, release.commit, node, tree)
        path = search_path(release_folder / "runtime" / "bin")
        runner = LocalJobRunner(
            Workplace(folder.name, folder, tree, place.state.root / "cache", path),
            Store(place.state.store),
            {node.id: Inputs("", files)},
            values={**placeholders, "release": str(release_folder)},
            env={_variable(name): value for name, value in placeholders.items()},
            secret=secret,
            on_line=(lambda _, line: on_line(line)) if on_line else None,
        )
        end = await drive(plan_run((node,), 1), {}, runner, _Silent(), cancel=stop or asyncio.Event())
    except AdapterError as error:
        return JobResult(job_name, job_name, place.project.jobs[job_name].stage, "failure", error.message)
    finally:
        for left in (tree, folder / "work"):
            await asyncio.to_thread(shutil.rmtree, left, ignore_errors=True)
    return end.results[0]


def _load(folder: Path, digest: str) -> Release:
    try:
        return msgspec.json.decode((folder / "manifest.json").read_bytes(), type=Release)
    except (OSError, msgspec.DecodeError) as error:
        message = f"release {digest[:19]} is not in {folder.parent}: {error}"
        raise AdapterError("openbell", "release", message, effect="not_applied") from error


def _lay_out(root: Path, commit: str, node: JobNode, tree: Path) -> tuple[str, ...]:
    seen = git.snapshot(root, commit=commit)
    git.check_out(root, commit, tree)
    return tuple(select_files(list(seen.files), node.job.inputs))


def _variable(placeholder: str) -> str:
    return "OPENBELL_" + placeholder.upper().replace("-", "_")
