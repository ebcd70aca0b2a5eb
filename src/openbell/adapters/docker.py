"""Builds images with Docker's buildx, where there is no buildah: one platform at a time, each into a folder of its own.

What a folder has is what `openbell.adapters.buildah` leaves: `manifest.json`, and every content in a file that is named
by its SHA-256. It is taken out of the archive that buildx writes, which has the standard's layout.

Source: https://docs.docker.com/reference/cli/docker/buildx/build; OCI image-spec 1.1, image layout
"""

import asyncio
import os
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

import msgspec

from openbell.core.image import INDEXES, Descriptor, ImageIndex, Platform, Recipe
from openbell.ports import AdapterError

SYSTEM = "docker"
BLOBS = "blobs/sha256/"


async def is_there() -> bool:
    """Say whether there is a buildx here, and a daemon that it can ask."""
    if shutil.which("docker") is None:
        return False
    for question in (("buildx", "version"), ("info",)):
        code, _ = await _run(*question, shown=False)
        if code:
            return False
    return True


async def obtain(image: str, platform: Platform | None) -> str:
    """See that a base image can be had; returns its digest. Raises a retryable `AdapterError` when it cannot."""
    del platform  # An index has one digest for all of them.
    code, output = await _run("buildx", "imagetools", "inspect", "--format", "{{.Manifest.Digest}}", image, shown=False)
    if code:
        message = f"{image} cannot be had: {_last(output)}"
        raise AdapterError(SYSTEM, "pull", message, retryable=True, effect="not_applied")
    return output.strip()


async def build(recipe: Recipe, platform: Platform, folder: Path) -> None:
    """Build the image for one platform into a folder that is not there yet; what is printed goes to standard error.

    Raises `AdapterError` when the build fails.
    """
    with tempfile.TemporaryDirectory(prefix="openbell-image-") as scratch:
        archive = Path(scratch) / "image.tar"
        options = ["--file", recipe.dockerfile, "--platform", platform.name, "--provenance=false", "--sbom=false"]
        options += ["--output", f"type=oci,dest={archive},rewrite-timestamp=true"]
        options += ["--target", recipe.target] if recipe.target else []
        options += [] if recipe.layers_cached else ["--no-cache"]
        for key, value in recipe.arguments.items():
            options += ["--build-arg", f"{key}={value}"]
        for key, value in recipe.labels.items():
            options += ["--label", f"{key}={value}"]
        code, output = await _run("buildx", "build", *options, recipe.context, epoch_s=recipe.epoch_s)
        if code:
            message = f"the build for {platform.name} failed: {_last(output)}"
            raise AdapterError(SYSTEM, "build", message, effect="not_applied")
        try:
            await asyncio.to_thread(unpack, archive, folder)
        except (OSError, tarfile.TarError, msgspec.DecodeError, KeyError) as error:
            message = f"what buildx left is no image in the standard's layout: {error}"
            raise AdapterError(SYSTEM, "build", message, effect="not_applied") from error


def unpack(archive: Path, folder: Path) -> None:
    """Take the only image out of an archive in the standard's layout; raises `KeyError` when it is not whole."""
    folder.mkdir(parents=True)
    names: set[str] = set()
    content = b""
    with tarfile.open(archive) as files:
        for entry in files:
            name = entry.name.removeprefix("./")
            file = files.extractfile(entry) if entry.isfile() else None
            if file is None:
                continue
            if name == "index.json":
                content = file.read()
            elif name.startswith(BLOBS) and "/" not in name.removeprefix(BLOBS):
                names.add(name.removeprefix(BLOBS))
                with (folder / name.removeprefix(BLOBS)).open("wb") as kept:
                    shutil.copyfileobj(file, kept)
    found = _only(content)
    while found.media_type in INDEXES:
        found = _only((folder / _file(found, names)).read_bytes())
    shutil.copyfile(folder / _file(found, names), folder / "manifest.json")


def _only(index: bytes) -> Descriptor:
    """Take the image of an index; what is there beside it for no platform is no image."""
    manifests = msgspec.json.decode(index, type=ImageIndex).manifests
    images = [one for one in manifests if one.platform is None or one.platform.os != "unknown"]
    if len(images) != 1:
        raise KeyError(f"{len(images)} images instead of one")
    return images[0]


def _file(descriptor: Descriptor, names: set[str]) -> str:
    name = descriptor.digest.removeprefix("sha256:")
    if name not in names:
        raise KeyError(f"{descriptor.digest} is not in it")
    return name


def _last(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1] if lines else "docker said nothing"


async def _run(*arguments: str, shown: bool = True, epoch_s: int = 0) -> tuple[int, str]:
    """Run docker to its end; returns its exit code and what it printed. What is `shown` is also passed on."""
    env = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch_s), "DOCKER_CLI_HINTS": "false"}
    try:
        process = await asyncio.create_subprocess_exec(
            "docker", *arguments, env=env, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
    except OSError as error:
        message = f"docker cannot be started: {error.strerror}"
        raise AdapterError(SYSTEM, "start", message, effect="not_applied") from error
    parts = []
    try:
        while process.stdout is not None and (chunk := await process.stdout.read(65536)):
            parts.append(chunk.decode(errors="replace"))
            if shown:
                sys.stderr.write(parts[-1])
                sys.stderr.flush()
        return await process.wait(), "".join(parts)
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
