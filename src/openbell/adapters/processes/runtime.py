"""A release made ready to run on this machine: its manifest, its runtime folder, commands run from it, environments.

A release's folder has `manifest.json` and `artifacts/`, written by the build and never changed. `prepare` fills
`runtime/` beside them, once; a marker tells that it was done to the end.
"""

import asyncio
import contextlib
import os
import re
import shlex
import shutil
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from openbell.adapters.processes.placement import SYSTEM, Instance
from openbell.core.project import Environment
from openbell.core.release import Release
from openbell.files import exclusive, write_whole
from openbell.machine import Program
from openbell.ports import AdapterError

PREPARE_TIMEOUT_S = 600.0
INHERITED = ("HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "USER")
_PLACEHOLDER = re.compile(r"\{([a-z_-]+)\}")


class Runtime(msgspec.Struct, frozen=True):
    """A release and its folder on this machine."""

    folder: Path
    release: Release

    @property
    def artifacts(self) -> Path:
        """What the build stage made."""
        return self.folder / "artifacts"

    @property
    def prepared(self) -> Path:
        """What `prepare` made of it."""
        return self.folder / "runtime"

    def script(self, text: str) -> str:
        """Replace the placeholders of a shell script; a folder's name stays one word, whatever characters it has."""
        return _fill_in(text, {name: shlex.quote(value) for name, value in self._folders().items()})

    def words(self, command: str, values: Mapping[str, str]) -> tuple[str, ...]:
        """Split a command into its words, and replace the placeholders of each; no value becomes several words."""
        known = {**self._folders(), **values}
        return tuple(_fill_in(word, known) for word in shlex.split(command))

    def _folders(self) -> dict[str, str]:
        return {"release": str(self.prepared), "artifacts": str(self.artifacts)}


class Surroundings(msgspec.Struct, frozen=True):
    """What an environment gives to its processes: addresses of its database and cache, secrets by name, a PATH."""

    name: str
    addresses: Callable[[], dict[str, str]]
    secret: Callable[[str], str | None]
    path: str


def _fill_in(text: str, values: Mapping[str, str]) -> str:
    """Replace placeholders; braces around anything else are left alone."""
    return _PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), text)


def load(folder: Path, digest: str) -> Runtime:
    """Read a release's manifest; raises `AdapterError` when there is none or it cannot be read."""
    try:
        return Runtime(folder, msgspec.json.decode((folder / "manifest.json").read_bytes(), type=Release))
    except FileNotFoundError:
        message = f"release {digest} is not on this machine ({folder}). Build it: openbell run"
        raise AdapterError(SYSTEM, "load release", message, effect="not_applied") from None
    except msgspec.DecodeError as error:
        message = f"{folder / 'manifest.json'} cannot be read: {error}"
        raise AdapterError(SYSTEM, "load release", message, effect="not_applied") from error


async def prepare(runtime: Runtime, log: Path, path: str) -> None:
    """Run the release's `prepare` command unless it was run to its end before; one process at a time."""
    command = runtime.release.project.release.prepare
    marker = runtime.folder / "runtime.prepared"
    if command is None or marker.exists():
        return
    async with exclusive(runtime.folder / "runtime.lock", timeout_s=PREPARE_TIMEOUT_S) as lock:
        if marker.exists():
            return
        await asyncio.to_thread(shutil.rmtree, runtime.prepared, ignore_errors=True)
        script = runtime.script(command)
        env = {**os.environ, "PATH": path}
        # The command keeps the lock: should openbell be killed, what it left running must not meet its successor.
        await run("prepare", script, runtime.artifacts, env, log, timeout_s=PREPARE_TIMEOUT_S, inherit=(lock,))
        write_whole(marker, b"")


async def run(
    what: str,
    command: str,
    folder: Path,
    env: dict[str, str],
    log: Path,
    *,
    timeout_s: float,
    inherit: tuple[int, ...] = (),
) -> None:
    """Run a shell command to its end, its output to a log; raises `AdapterError` with its last lines when it fails."""
    try:
        output = await asyncio.to_thread(log.open, "ab")
    except OSError as error:
        raise AdapterError(SYSTEM, what, f"{log}: {error.strerror}", retryable=True, effect="not_applied") from error
    with output:
        begin = output.tell()
        process = await asyncio.create_subprocess_exec(
            *_shell(command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=folder,
            env=env,
            start_new_session=True,
            pass_fds=inherit,
        )
        try:
            code = await asyncio.wait_for(process.wait(), timeout_s)
        except TimeoutError:
            code = None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if code != 0:
        ended = f"did not end within {timeout_s:.0f} s" if code is None else f"ended with {code}"
        lines = (await asyncio.to_thread(log.read_bytes))[begin:].decode(errors="replace").strip().splitlines()
        detail = "\n".join(lines[-10:])
        raise AdapterError(SYSTEM, what, f"`{command}` {ended}\n{detail}", effect="unknown")


def _shell(script: str) -> list[str]:
    """Compose the command of a script that stops at its first failing command, as the jobs of a pipeline do."""
    bash = shutil.which("bash")
    return [bash, "-euo", "pipefail", "-c", script] if bash else ["/bin/sh", "-eu", "-c", script]


def environment_of(runtime: Runtime, surroundings: Surroundings) -> dict[str, str]:
    """Compose what every process of a release gets in an environment; nothing else of ours reaches it.

    Raises `AdapterError` naming a secret that nobody has given.
    """
    settings = runtime.release.project.environments.get(surroundings.name, Environment())
    env = {name: os.environ[name] for name in INHERITED if name in os.environ}
    env |= {"PATH": f"{runtime.prepared / 'bin'}:{surroundings.path}", "PYTHONUNBUFFERED": "1"}
    env |= surroundings.addresses()
    env |= {"OPENBELL_ENVIRONMENT": surroundings.name, "OPENBELL_RELEASE": runtime.release.digest}
    env |= settings.env
    for name in settings.secrets:
        value = surroundings.secret(name)
        if value is None:
            remedy = "export it, or put it in the environment's secrets.toml"
            message = f"secret {name} of environment {surroundings.name} is not set: {remedy}"
            raise AdapterError(SYSTEM, "secrets", message, effect="not_applied")
        env[name] = value
    return env


def program_of(runtime: Runtime, surroundings: Surroundings, slot: str, version: str, instance: Instance) -> Program:
    """Compose the program of one instance."""
    service = runtime.release.project.services[instance.service]
    values = {
        "port": str(instance.port),
        "http_port": str(instance.http_port),
        "slot": slot,
        "instance": instance.name,
        "version": version,
    }
    own = {
        "OPENBELL_SLOT": slot,
        "OPENBELL_INSTANCE": instance.name,
        "OPENBELL_SERVICE": instance.service,
        "OPENBELL_VERSION": version,
        "PORT": str(instance.port),
        "HTTP_PORT": str(instance.http_port),
    }
    return Program(
        name=instance.name,
        command=runtime.words(service.run, values),
        folder=str(runtime.artifacts),
        env={**environment_of(runtime, surroundings), **service.env, **own},
        stop_timeout_s=max(10.0, service.drain_timeout_s),
    )
