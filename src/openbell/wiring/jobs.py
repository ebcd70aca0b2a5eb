"""How one job runs on this machine: a copy of its inputs, a clean environment, its services, its reports, its result.

A job sees the files that its `inputs` name and no others, so a file it forgot to declare is missed at once and not
first when a stale result is reused. Its environment is that of `openbell.wiring.surroundings`.
"""

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from pathlib import Path

import msgspec

from openbell.adapters import shell
from openbell.adapters.copies import copy_files
from openbell.adapters.store import Store
from openbell.core.artifacts import lay_out_artifacts
from openbell.core.attempts import sum_up, words_of_limit
from openbell.core.masking import Masker
from openbell.core.pattern import fill
from openbell.core.pipeline import JobNode, JobResult, command_of, slug
from openbell.core.project import Job
from openbell.core.report import Judgement, judge
from openbell.ports import AdapterError
from openbell.wiring.laps import Laps
from openbell.wiring.left_secrets import job_masker, remove_secrets
from openbell.wiring.leftovers import JOB_VARIABLE, SCRATCH_PREFIX, end_processes, mark_owner
from openbell.wiring.reports import ReportReader
from openbell.wiring.strict import enclosure, not_strict_here, strict_environment, undeclared
from openbell.wiring.surroundings import Inputs, Workplace, base_environment, mark_border, select_files

TemporaryService = Callable[[Path], contextlib.AbstractAsyncContextManager[str]]


def _postgres(folder: Path) -> contextlib.AbstractAsyncContextManager[str]:
    from openbell.adapters import postgres

    return postgres.temporary(folder)


def _valkey(folder: Path) -> contextlib.AbstractAsyncContextManager[str]:
    from openbell.adapters import valkey

    return valkey.temporary(folder)


SERVICES: dict[str, tuple[str, TemporaryService]] = {
    "postgres": ("DATABASE_URL", _postgres),
    "valkey": ("VALKEY_URL", _valkey),
}
"""What a job can ask for in `services`: the variable it finds the address in, and what starts it."""


def secret_values(job: Job, secret: Callable[[str], str | None]) -> dict[str, str]:
    """Take a job's secrets from where they are kept; raises `AdapterError` naming those that are not there."""
    found = {name: secret(name) or "" for name in job.secrets}
    missing = [name for name, value in found.items() if not value]
    if missing:
        message = f"secret {', '.join(missing)} is not set in the environment of openbell"
        raise AdapterError("openbell", "secrets", message, effect="not_applied")
    return found


def output_files(job: Job, out: Path) -> list[str]:
    """Name the files of `{out}` that a job declares as outputs; of a build job that declares none, all but reports."""
    reports = {name for name in msgspec.structs.astuple(job.reports) if name}
    files = sorted(
        path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file() and not path.is_symlink()
    )
    if job.outputs:
        return select_files(files, job.outputs)
    return [name for name in files if name not in reports] if job.stage == "build" else []


class LocalJobRunner:
    """Runs jobs on this machine; a `JobRunner`."""

    def __init__(
        self,
        workplace: Workplace,
        store: Store,
        inputs: Mapping[str, Inputs],
        *,
        known: Mapping[str, JobResult] | None = None,
        values: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        env_of: Callable[[JobNode], Mapping[str, str]] | None = None,
        on_line: Callable[[JobNode, str], None] | None = None,
        keep: Callable[[JobNode, JobResult, Path], None] | None = None,
        secret: Callable[[str], str | None] = os.environ.get,
        reader: ReportReader | None = None,
        only: str = "",
    ) -> None:
        self.workplace = workplace
        self.store = store
        self.inputs = inputs
        self.known = dict(known or {})
        self.values = dict(values or {})
        self.env = dict(env or {})
        self.env_of = env_of or (lambda _: {})
        self.on_line = on_line
        self.keep = keep
        self.secret = secret
        self.failed: dict[str, list[str]] = {}
        self.reader = reader or ReportReader()
        # Of the job that runs alone in its run, and once: nobody else will look at the tree.
        self.only = only

    async def run(self, node: JobNode, attempt: int, stop: asyncio.Event) -> JobResult:
        """Run one attempt of a job in a copy of its inputs and judge it."""
        try:
            return await self._run(node, attempt, stop)
        except (AdapterError, OSError, ValueError) as error:
            masker = job_masker(node.job, self.secret)
            reason = masker.show(masker.mask(str(error) or type(error).__name__))
            self.failed.setdefault(node.id, []).append(reason)
            # The system names files as the job did.
            raise (ValueError(reason) if masker.hides(str(error)) else error) from None

    async def _run(self, node: JobNode, attempt: int, stop: asyncio.Event) -> JobResult:
        laps = Laps()
        secrets = secret_values(node.job, self.secret)
        log, out = self.workplace.log(node), self.workplace.out(node)
        log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self.inputs[node.id].tests == ():
            return await self.end(node, laps.note(self._without_tests(node, attempt)), stop)
        if attempt == 1:
            log.unlink(missing_ok=True)
        if node.job.strict and (refused := await asyncio.to_thread(not_strict_here, node)):
            log.write_text(f"{refused.reason}\n")
            return laps.note(msgspec.structs.replace(refused, attempts=attempt))
        async with self._scratch(node, out, laps) as (tree, scratch), self._services(node, scratch, laps) as addresses:
            values = self._placeholders(node, out, tree, scratch)
            env = {
                **base_environment(self.workplace.path), "TMPDIR": str(scratch / "tmp"), **self.env,
                **self.env_of(node), **addresses,
                **{name: fill(value, {**node.values, **values}) for name, value in node.job.env.items()}, **secrets,
                JOB_VARIABLE: str(scratch),
            }  # fmt: skip
            inside: list[str] = []
            if node.job.strict:
                inside = enclosure(node, tree, out, scratch, path=self.workplace.path)
                env = strict_environment(env, scratch)
            on_line = partial(self.on_line, node) if self.on_line else None
            ended = None
            try:
                ended = await shell.run(
                    command_of(node, values), folder=tree, env=env, log=log, stop=stop, secrets=secrets.values(),
                    on_line=on_line, inside=inside,
                )  # fmt: skip
            finally:
                # Before the reports are read: nobody may write to them any more.
                if ended is None or not ended.swept:
                    await asyncio.to_thread(end_processes, scratch)
            laps.lap("execute_s")
            result = await asyncio.to_thread(
                self._finish,
                node,
                ended,
                out,
                stopped=stop.is_set(),
                tree=tree,
                secrets=tuple(secrets.values()),
                laps=laps,
            )
        result = self._sum_up(node, laps.note(msgspec.structs.replace(result, attempts=attempt)), stop)
        result = await self.end(node, result, stop)
        laps.lap("upload_s")
        return laps.note(result)

    async def end(self, node: JobNode, result: JobResult, stop: asyncio.Event) -> JobResult:
        """Note how a job ended for those that take its outputs, and keep its result if it came to its end."""
        self.known[node.id] = result
        if self.keep and not stop.is_set():
            await asyncio.to_thread(self.keep, node, result, self.workplace.log(node))
        return result

    def _without_tests(self, node: JobNode, attempt: int) -> JobResult:
        """Not even start a shard without tests: a command that is told of none runs them all."""
        key = self.inputs[node.id].fingerprint
        reason = "no test file in this shard"
        return JobResult(node.id, node.name, node.stage, "success", reason, fingerprint=key, attempts=attempt)

    def _sum_up(self, node: JobNode, result: JobResult, stop: asyncio.Event) -> JobResult:
        earlier = self.failed.setdefault(node.id, [])
        told = sum_up(result, earlier, attempts_max=node.job.retries + 1)
        # Of what was stopped only an attempt that took too long is followed by another.
        earlier.append(words_of_limit(node.job) if stop.is_set() else result.reason or result.outcome)
        return told

    def _finish(
        self,
        node: JobNode,
        ended: shell.Ended,
        out: Path,
        *,
        tree: Path,
        stopped: bool,
        secrets: tuple[str, ...],
        laps: Laps,
    ) -> JobResult:
        if out.is_symlink() or (out.exists() and not out.is_dir()):
            message = "the job put something else in the place of its folder {out}."
            raise AdapterError("openbell", "outputs", message)
        key, masker = self.inputs[node.id].fingerprint, Masker(secrets)
        said = self.reader.read(node, out, masker, files=self.inputs[node.id].files, tree=tree, fingerprint=key)
        # Half of a report says nothing about tests that did not come to their turn.
        reports = said.reports if stopped else self.reader.remember(node, said, self.workplace, fingerprint=key)
        files = output_files(node.job, out)
        gone = remove_secrets(node.job, out, masker)
        laps.lap("reports_s")
        lines = tuple(line for line in ended.last_lines if line.strip())
        judgement = judge(node.job, ended.exit_code, reports, lines[-1].strip() if lines else "")
        if judgement.outcome == "success" and gone and files != output_files(node.job, out):
            words = f"a secret is in what it left: {', '.join(gone)}. Nothing of that is kept; leave it out"
            judgement = Judgement("failure", words)
        good, reason = judgement.outcome == "success", judgement.reason
        if judgement.outcome == "failure" and not gone:
            missed = undeclared(lines, tree, self.workplace.tree, self.inputs[node.id].files)
            reason = f"reads {missed}, which is not among its inputs ({reason})" if missed else reason
        return JobResult(
            node.id, node.name, node.stage, judgement.outcome, reason,
            fingerprint=self.inputs[node.id].fingerprint,
            exit_code=ended.exit_code, reports=reports,
            outputs=tuple(self.store.add(out / name, name) for name in files) if good else (),
            last_lines=() if good else lines,
        )  # fmt: skip

    def _placeholders(self, node: JobNode, out: Path, tree: Path, scratch: Path) -> dict[str, str]:
        cache = scratch / "cache" if node.job.strict else self.workplace.cache
        values = {**self.values, "out": str(out), "root": str(tree), "cache": str(cache)}
        tests = self.inputs[node.id].tests
        if tests is not None:
            listed = scratch / "tests"
            listed.write_bytes("".join(f"{test}\n" for test in tests).encode(errors="surrogateescape"))
            values |= {"tests": str(listed), "shards": str(node.job.shards)}
        if "{artifacts}" in node.job.run:
            artifacts = scratch / "artifacts"
            artifacts.mkdir()
            left = [(slug(need), self.known[need].outputs) for need in node.takes if need in self.known]
            for output in lay_out_artifacts(left):
                self.store.fetch(output, artifacts)
            values["artifacts"] = str(artifacts)
        return values

    @contextlib.asynccontextmanager
    async def _scratch(self, node: JobNode, out: Path, laps: Laps) -> AsyncIterator[tuple[Path, Path]]:
        """Make a job's own copy of its inputs, and a short folder for its sockets and other passing things."""
        scratch = Path(tempfile.mkdtemp(prefix=SCRATCH_PREFIX))
        # Neither in the state's folder, which git ignores: tools that do as git does would find nothing there to check.
        # Nor named after the job: projects look for words such as "integration" in the paths of their tests.
        tree = scratch / "tree"
        mark_owner(scratch)
        (scratch / "tmp").mkdir()
        self.workplace.cache.mkdir(parents=True, exist_ok=True)
        try:
            await asyncio.to_thread(self._copy_inputs, node, tree, out)
            laps.lap("copy_s")
            yield tree, scratch
        finally:
            await asyncio.to_thread(_remove, tree)
            await asyncio.to_thread(_remove, scratch)

    def _copy_inputs(self, node: JobNode, tree: Path, out: Path) -> None:
        _remove(out)
        out.mkdir(parents=True)
        tree.mkdir(parents=True, exist_ok=True)
        mark_border(tree)
        copy_files(self.workplace.tree, tree, self.inputs[node.id].files, links=self.only == node.id)

    @contextlib.asynccontextmanager
    async def _services(self, node: JobNode, scratch: Path, laps: Laps) -> AsyncIterator[dict[str, str]]:
        """Start the services that a job asks for, for this job only, and say where they are."""
        async with contextlib.AsyncExitStack() as stack:
            addresses = {}
            for name in node.job.services:
                variable, start = SERVICES[name]
                folder = scratch / name
                folder.mkdir()
                addresses[variable] = await stack.enter_async_context(start(folder))
            laps.lap("services_s")
            yield addresses


def _remove(folder: Path) -> None:
    """Remove a job's folder, also where the job took its own write permission away (Go's module cache does)."""
    if folder.is_symlink() or not folder.is_dir():
        # A job can put a link in a folder's place; where that leads is nothing of ours.
        with contextlib.suppress(OSError):
            folder.unlink()
        return
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        for directory, _, _ in os.walk(folder):
            with contextlib.suppress(OSError):
                Path(directory).chmod(0o700)
        shutil.rmtree(folder, ignore_errors=True)
