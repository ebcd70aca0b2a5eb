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
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from urllib.parse import unquote

import msgspec

from openbell.adapters.processes.placement import SYSTEM, Instance
from openbell.core.pattern import fill
from openbell.core.places import settings_of
from openbell.core.quoting import fill_script
from openbell.core.release import Release
from openbell.files import exclusive, write_whole
from openbell.machine import Program
from openbell.ports import AdapterError

PREPARE_TIMEOUT_S = 600.0
LINE_MASKED_LENGTH_MIN = 4
INHERITED = ("HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "USER")
_URL_PASSWORD = re.compile(r"://[^/@\s:]*:([^/@\s]+)@")


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
        return fill_script(text, {}, self._folders())

    def words(self, command: str, values: Mapping[str, str]) -> tuple[str, ...]:
        """Split a command into its words, and replace the placeholders of each; no value becomes several words."""
        known = {**self._folders(), **values}
        return tuple(fill(word, known) for word in shlex.split(command))

    def _folders(self) -> dict[str, str]:
        return {"release": str(self.prepared), "artifacts": str(self.artifacts)}


class Surroundings(msgspec.Struct, frozen=True):
    """What an environment gives to its processes: addresses of its database and cache, secrets by name, a PATH.

    `base` is what commands get that make a release ready: the PATH, and what lets this machine reach its registries.
    """

    name: str
    addresses: Callable[[], dict[str, str]]
    secret: Callable[[str], str | None]
    path: str
    base: Mapping[str, str]


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


async def prepare(runtime: Runtime, log: Path, env: Mapping[str, str]) -> None:
    """Run the release's `prepare` command unless it was run to its end before; one process at a time.

    It gets `env` and nothing else: what it makes serves all environments, so it must not see the secrets of one.
    """
    command = runtime.release.project.release.prepare
    marker = runtime.folder / "runtime.prepared"
    if command is None or marker.exists():
        return
    async with exclusive(runtime.folder / "runtime.lock", timeout_s=PREPARE_TIMEOUT_S) as lock:
        if marker.exists():
            return
        await asyncio.to_thread(shutil.rmtree, runtime.prepared, ignore_errors=True)
        script = runtime.script(command)
        mask = Mask(_passwords(env.values()))
        # The command keeps the lock: should openbell be killed, what it left running must not meet its successor.
        await run(
            "prepare", script, runtime.artifacts, env, log,
            timeout_s=PREPARE_TIMEOUT_S, mask=mask, inherit=(lock,),
        )  # fmt: skip
        write_whole(marker, b"")


async def run(
    what: str,
    command: str,
    folder: Path,
    env: Mapping[str, str],
    log: Path,
    *,
    timeout_s: float,
    mask: "Mask",
    inherit: tuple[int, ...] = (),
) -> None:
    """Run a shell command to its end, its output to a log; raises `AdapterError` with its last lines, masked."""
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
        text = (await asyncio.to_thread(log.read_bytes))[begin:].decode(errors="replace")
        detail = "\n".join(mask(text).strip().splitlines()[-10:])
        raise AdapterError(SYSTEM, what, f"`{mask(command)}` {ended}\n{detail}", effect="unknown")


def _shell(script: str) -> list[str]:
    """Compose the command of a script that stops at its first failing command, as the jobs of a pipeline do."""
    bash = shutil.which("bash")
    return [bash, "-euo", "pipefail", "-c", script] if bash else ["/bin/sh", "-eu", "-c", script]


def environment_of(runtime: Runtime, surroundings: Surroundings) -> dict[str, str]:
    """Compose what every process of a release gets in an environment; nothing else of ours reaches it.

    Raises `AdapterError` naming a secret that nobody has given.
    """
    settings = settings_of(runtime.release.project, surroundings.name)
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


class Mask:
    """Replaces secrets in what goes into messages, which reach the journal and reports, by `***`."""

    def __init__(self, secrets: Iterable[str]) -> None:
        known = list(secrets)
        # Lines of a key are masked one by one as well, for a message may hold some of them; but not a mere bracket.
        lines = (line.strip() for secret in known for line in secret.splitlines())
        parts = {secret.strip() for secret in known} | {line for line in lines if len(line) >= LINE_MASKED_LENGTH_MIN}
        longest_first = sorted(filter(None, parts), key=lambda part: (-len(part), part))
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def __call__(self, text: str) -> str:
        """Return the text without the secrets."""
        return self._pattern.sub("***", text) if self._pattern else text


def mask_of(runtime: Runtime, surroundings: Surroundings, env: Mapping[str, str]) -> Mask:
    """Make the mask for what runs in an environment with `env`: its secrets, its addresses, passwords in any URL."""
    settings = settings_of(runtime.release.project, surroundings.name)
    secrets = [env[name] for name in settings.secrets if name in env]
    return Mask([*secrets, *surroundings.addresses().values(), *_passwords(env.values())])


def _passwords(values: Iterable[str]) -> set[str]:
    """Find the passwords in values that are URLs, as they are written there and as they are meant."""
    written = {found[1] for value in values for found in _URL_PASSWORD.finditer(value)}
    return written | {unquote(password) for password in written}


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
