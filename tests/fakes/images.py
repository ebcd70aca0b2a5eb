"""A registry and a place for a builder's images, both of one test's own and gone with it. Needs Debian's packages."""

import contextlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.cluster.parts import free_port

DEADLINE_S = 30.0


def require(*programs: str) -> None:
    """Skip a test where a program is not installed."""
    for name in programs:
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not installed. On Debian and Ubuntu: apt-get install {name}")


@contextlib.contextmanager
def running_registry(folder: Path) -> Iterator[str]:
    """Run a registry that keeps what it is given in `folder`; yields HOST:PORT."""
    require("docker-registry")
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    settings = folder / "registry.yml"
    settings.write_text(
        f"version: 0.1\nlog: {{level: error}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder / 'content'}}}, delete: {{enabled: true}}}}\n"
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", str(settings)], stdout=log, stderr=log)
    try:
        wait_answering(f"http://127.0.0.1:{port}/v2/")
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=DEADLINE_S)


def wait_answering(url: str) -> None:
    """Wait until something answers."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url).is_success:
                return
        assert time.monotonic() < deadline, f"{url} does not answer"
        time.sleep(0.05)


@contextlib.contextmanager
def own_storage(folder: Path, *, driver: str = "vfs") -> Iterator[None]:
    """Give buildah a store without a single image, so that nothing is cached and nothing of the machine changes.

    The driver vfs mounts nothing and copies everything; overlay is for images that are not small.
    """
    require("buildah")
    folder.mkdir(parents=True, exist_ok=True)
    settings = folder / "storage.conf"
    settings.write_text(
        f'[storage]\ndriver = "{driver}"\ngraphroot = "{folder / "images"}"\nrunroot = "{folder / "run"}"\n'
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONTAINERS_STORAGE_CONF", str(settings))
        try:
            yield
        finally:
            _remove_storage(folder)


def _remove_storage(folder: Path) -> None:
    """Take the store away with all that is mounted in it: pytest could not remove it."""
    subprocess.run(["buildah", "rm", "--all"], capture_output=True, check=False)
    subprocess.run(["buildah", "rmi", "--all", "--force"], capture_output=True, check=False)
    mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for path in sorted((path for path in mounted if path.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", path], capture_output=True, check=False)
    shutil.rmtree(folder, ignore_errors=True)


def blob_file(folder: Path, digest: str) -> Path:
    """Where a registry of `running_registry` keeps a content."""
    found = digest.removeprefix("sha256:")
    return folder / "content/docker/registry/v2/blobs/sha256" / found[:2] / found / "data"


def make_go_image(name: str, folder: Path, module: Path | None) -> None:
    """Make a base image of this machine's Go, a shell, and the modules that a module needs, so that none is fetched."""
    require("buildah", "go", "busybox")
    root = folder / "root"
    for part in ("bin", "go-modules", "tmp"):
        (root / part).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    shutil.copy(shutil.which("busybox") or "busybox", root / "bin" / "busybox")
    (root / "bin" / "sh").symlink_to("busybox")
    skipped = shutil.ignore_patterns("testdata", "*_test.go", "test", "doc", "api", "misc", "cmd")
    shutil.copytree(_said("go", "env", "GOROOT"), root / "usr/local/go", ignore=skipped, symlinks=True)
    if module is not None:
        _copy_modules(module, root / "go-modules")
    container = _said("buildah", "from", "scratch")
    _said("buildah", "add", "--quiet", container, str(root), "/")
    for pair in ("PATH=/usr/local/go/bin:/bin", "GOPROXY=file:///go-modules", "GOTOOLCHAIN=local"):
        _said("buildah", "config", "--env", pair, container)
    _said("buildah", "commit", "--quiet", "--timestamp", "0", "--rm", container, name)
    shutil.rmtree(root)


def _copy_modules(module: Path, target: Path) -> None:
    """Put what a module needs where a proxy would have it."""
    fetched = subprocess.run(["go", "mod", "download"], cwd=module, capture_output=True, text=True, check=False)
    if fetched.returncode:
        pytest.skip(f"the modules cannot be fetched: {fetched.stderr.strip()[-200:]}")
    cache = Path(_said("go", "env", "GOMODCACHE")) / "cache" / "download"
    for line in (module / "go.sum").read_text().splitlines():
        path, version = line.split()[:2]
        kept = target / path / "@v"
        kept.mkdir(parents=True, exist_ok=True)
        for file in (cache / path / "@v").glob(f"{version.removesuffix('/go.mod')}.*"):
            shutil.copy(file, kept)


def _said(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout.strip()
