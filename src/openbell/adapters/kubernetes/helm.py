"""Helm, as a program: install, upgrade, render and uninstall one release in one namespace.

Helm 3.8 or newer is taken from PATH. Every call names context and namespace, so that nothing depends on what the
kubeconfig happens to point to. Values go through a file of ours, never through the command line, where others see them.

Source: https://helm.sh/docs/helm/
"""

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from openbell.ports import AdapterError

SYSTEM = "helm"
HISTORY_MAX = 10
LAST_LINES = 12


class Installed(msgspec.Struct, frozen=True):
    """A release as `helm list` tells it; `status` is "deployed", "failed", "pending-install" ..."""

    name: str
    status: str
    chart: str = ""
    revision: str = ""


class Helm:
    """Helm in one namespace of one cluster."""

    def __init__(self, context: str, namespace: str) -> None:
        self._where = ["--namespace", namespace, *(["--kube-context", context] if context else [])]

    async def upgrade(self, name: str, chart: Path, files: Sequence[Path], values: Mapping[str, Any]) -> None:
        """Install a release, or bring it to other values; returns when the API server has taken it, not when it runs.

        Raises `AdapterError` with what Helm says; a release that another Helm left half-way is brought on.
        """
        with _written(values) as path:
            arguments = ["upgrade", name, str(chart), "--install", "--history-max", str(HISTORY_MAX)]
            await self._run("upgrade", [*arguments, *_files((*files, path))])

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

    async def installed(self, name: str) -> Installed | None:
        """Return a release in any state; None when there is none."""
        output = await self._run("list", ["list", "--all", "--filter", f"^{name}$", "--output", "json"])
        found = msgspec.json.decode(output or "[]", type=list[Installed])
        return found[0] if found else None

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
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()
            raise
        if process.returncode:
            raise _failure(operation, errors.decode(errors="replace"))
        return output.decode(errors="replace")


def _failure(operation: str, text: str) -> AdapterError:
    message = "\n".join(text.strip().splitlines()[-LAST_LINES:]).removeprefix("Error: ")
    unreachable = any(words in text for words in ("connection refused", "i/o timeout", "EOF", "TLS handshake"))
    busy = "another operation (install/upgrade/rollback) is in progress" in text
    changed = operation in ("upgrade", "uninstall")
    return AdapterError(
        SYSTEM, operation, message, retryable=unreachable or busy, effect="unknown" if changed else "not_applied"
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
