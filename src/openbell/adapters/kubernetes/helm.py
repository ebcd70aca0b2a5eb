"""Helm, as a program: install, upgrade, render and uninstall one release in one namespace.

Helm 3.13 or newer is taken from PATH. Every call names context and namespace, so that nothing depends on what the
kubeconfig happens to point to. Values go through a file of ours, never through the command line, where others see them.

Source: https://helm.sh/docs/helm/
"""

import asyncio
import contextlib
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from openbell.ports import AdapterError

SYSTEM = "helm"
HISTORY_MAX = 10
LAST_LINES = 12
PENDING_TIMEOUT_S = 30.0
"""How long another Helm may be at work on a release. Ours waits for nothing, so what takes longer was killed."""
PENDING_POLL_S = 1.0
END_TIMEOUT_S = 5.0
_BUSY = "another operation (install/upgrade/rollback) is in progress"
_UNREACHABLE = ("connection refused", "i/o timeout", "EOF", "TLS handshake")
_UNTOUCHED = re.compile(
    r"cluster unreachable|specifications of the schema|execution error at|parse error|no such file or directory"
    r'|path "[^"]*" not found|Chart.yaml file is missing',
    re.IGNORECASE,
)
"""What Helm says before it has done anything: nobody answers, or chart and values do not fit."""

_DENIED = re.compile(r"\bdenied (the )?request: ")
"""What rules of the cluster say, be they webhooks or policies."""


class _Info(msgspec.Struct, frozen=True):
    status: str = ""


class _Release(msgspec.Struct, frozen=True):
    info: _Info = _Info()


class Helm:
    """Helm in one namespace of one cluster."""

    def __init__(self, context: str, namespace: str) -> None:
        self._where = ["--namespace", namespace, *(["--kube-context", context] if context else [])]

    async def upgrade(self, name: str, chart: Path, files: Sequence[Path], values: Mapping[str, Any]) -> None:
        """Install a release, or bring it to other values; returns when the API server has taken it, not when it runs.

        Raises `AdapterError` with what Helm says. What a Helm that was killed has left half-way is taken back first.
        """
        with _written(values) as path:
            arguments = ["upgrade", name, str(chart), "--install", "--history-max", str(HISTORY_MAX)]
            arguments += _files((*files, path))
            try:
                await self._run("upgrade", arguments)
            except AdapterError as error:
                if _BUSY not in error.message:
                    raise
                await self._end_pending(name)
                await self._run("upgrade", arguments)

    async def render(
        self, name: str, chart: Path, files: Sequence[Path], values: Mapping[str, Any], *, only: str | None = None
    ) -> str:
        """Return the manifests of a release as YAML; of one template, if `only` names it."""
        with _written(values) as path:
            some = ["--show-only", only] if only else []
            return await self._run("template", ["template", name, str(chart), *some, *_files((*files, path))])

    async def uninstall(self, name: str) -> None:
        """Take a release away; nothing if it is not there. Its pods end after this returns."""
        await self._run("uninstall", ["uninstall", name, "--ignore-not-found"])

    async def version(self) -> str:
        """Say which Helm it is: "v4.3.1"."""
        return (await self._run("version", ["version", "--short"])).strip()

    async def _end_pending(self, name: str) -> None:
        """Wait until no other Helm is at work on a release; take back what one that was killed has left."""
        deadline = time.monotonic() + PENDING_TIMEOUT_S
        while (status := await self._status(name)).startswith("pending-"):
            if time.monotonic() > deadline:
                back = ["uninstall", name] if status == "pending-install" else ["rollback", name]
                await self._run(back[0], back)
                return
            await asyncio.sleep(PENDING_POLL_S)

    async def _status(self, name: str) -> str:
        """Ask for the status of a release: "deployed", "failed", "pending-upgrade" ..."""
        output = await self._run("status", ["status", name, "--output", "json"])
        try:
            return msgspec.json.decode(output, type=_Release).info.status
        except msgspec.DecodeError as error:
            message = f"the status of {name} is not what Helm documents: {error}"
            raise AdapterError(SYSTEM, "status", message, effect="not_applied") from error

    async def _run(self, operation: str, arguments: Sequence[str]) -> str:
        program = shutil.which("helm")
        if program is None:
            message = "helm is not on PATH; install it (https://helm.sh/docs/intro/install)"
            raise AdapterError(SYSTEM, operation, message, effect="not_applied")
        process = await asyncio.create_subprocess_exec(
            program,
            *arguments,
            *self._where,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            output, errors = await process.communicate()
        except asyncio.CancelledError:
            await _end(process)
            raise
        if process.returncode:
            raise _failure(operation, errors.decode(errors="replace"))
        return output.decode(errors="replace")


async def _end(process: asyncio.subprocess.Process) -> None:
    for end in (process.terminate, process.kill):
        with contextlib.suppress(ProcessLookupError):
            end()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), END_TIMEOUT_S)
            return


def _failure(operation: str, text: str) -> AdapterError:
    """Make an error of what Helm said; what it warned of before is left out."""
    said = text[text.rfind("\nError: ") + 1 :] if "\nError: " in text else text
    message = "\n".join(said.strip().removeprefix("Error: ").splitlines()[-LAST_LINES:])
    if _DENIED.search(message):
        message += "; mend the chart, or the rule that refuses it"
    busy = _BUSY in text
    changed = operation not in ("template", "status", "version") and not busy and not _UNTOUCHED.search(text)
    return AdapterError(
        SYSTEM,
        operation,
        message or "helm failed and does not say why",
        retryable=busy or any(words in text for words in _UNREACHABLE),
        effect="unknown" if changed else "not_applied",
    )


@contextlib.contextmanager
def _written(values: Mapping[str, Any]) -> Iterator[Path]:
    """Write values where only we can read them, for as long as Helm runs."""
    with tempfile.NamedTemporaryFile(suffix=".json", prefix="openbell-values-") as file:
        file.write(msgspec.json.encode(values))
        file.flush()
        yield Path(file.name)


def _files(paths: Sequence[Path]) -> list[str]:
    return [word for path in paths for word in ("--values", str(path))]
