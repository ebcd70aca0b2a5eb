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
from openbell.core.project import Project
from openbell.core.schedule import plan_run
from openbell.hosts.pipeline import drive
from openbell.ports import AdapterError
from openbell.wiring.jobs import LocalJobRunner
from openbell.wiring.state import StateFolder
from openbell.wiring.surroundings import Inputs, Workplace, search_path, select_files


class Source(msgspec.Struct, frozen=True):
    """Where a job of an environment comes from: the project's folder, its state, the release's commit and folder."""

    root: Path
    state: StateFolder
    commit: str
    release: Path


class _Silent:
    """Nobody watches; the caller gets the result."""

    def job_started(self, node: JobNode, attempt: int) -> None:
        """An attempt at a job begins."""

    def job_ended(self, result: JobResult) -> None:
        """A job has its outcome."""


async def run_environment_job(
    project: Project,
    job_name: str,
    placeholders: Mapping[str, str],
    *,
    source: Source,
    folder: Path,
    secret: Callable[[str], str | None] = os.environ.get,
    stop: asyncio.Event | None = None,
    on_line: Callable[[str], None] | None = None,
) -> JobResult:
    """Run one smoke or load job with its time limit and retries; its log is `folder/logs/JOB.log`.

    The job is `project`'s, its tree and its programs are the release's; `secret` says where secrets are kept. When
    `stop` is set the job is ended, with outcome "skipped". The result says what failed; only a defect raises.
    """
    node = JobNode(job_name, job_name, project.jobs[job_name])
    tree = folder / "tree"
    try:
        files = await asyncio.to_thread(_lay_out, source, node, tree)
        runner = LocalJobRunner(
            Workplace(
                folder.name, folder, tree, source.state.root / "cache", search_path(source.release / "runtime" / "bin")
            ),
            Store(source.state.store),
            {node.id: Inputs("", files)},
            values={**placeholders, "release": str(source.release)},
            env={_variable(name): value for name, value in placeholders.items()},
            secret=secret,
            on_line=(lambda _, line: on_line(line)) if on_line else None,
        )
        end = await drive(plan_run((node,), 1), {}, runner, _Silent(), cancel=stop or asyncio.Event())
    except AdapterError as error:
        return JobResult(node.id, node.name, node.stage, "failure", error.message)
    finally:
        for left in (tree, folder / "work"):
            await asyncio.to_thread(shutil.rmtree, left, ignore_errors=True)
    return end.results[0]


def _lay_out(source: Source, node: JobNode, tree: Path) -> tuple[str, ...]:
    seen = git.snapshot(source.root, commit=source.commit)
    git.check_out(source.root, source.commit, tree)
    return tuple(select_files(list(seen.files), node.job.inputs))


def _variable(placeholder: str) -> str:
    return "OPENBELL_" + placeholder.upper().replace("-", "_")
