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
def own_storage(folder: Path) -> Iterator[None]:
    """Give buildah a store without a single image, so that nothing is cached and nothing of the machine changes."""
    require("buildah")
    folder.mkdir(parents=True, exist_ok=True)
    settings = folder / "storage.conf"
    settings.write_text(f'[storage]\ndriver = "vfs"\ngraphroot = "{folder / "images"}"\nrunroot = "{folder / "run"}"\n')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONTAINERS_STORAGE_CONF", str(settings))
        yield


def blob_file(folder: Path, digest: str) -> Path:
    """Where a registry of `running_registry` keeps a content."""
    found = digest.removeprefix("sha256:")
    return folder / "content/docker/registry/v2/blobs/sha256" / found[:2] / found / "data"
