"""Builds images with buildah: no daemon, no root, one platform at a time, each into a folder of its own.

What a folder has is what buildah's transport `dir:` writes: `manifest.json`, and every content in a file that is named
by its SHA-256. Docker's manifest is asked for and not OCI's, for the latter has no field for a health check.

Source: https://github.com/containers/buildah/blob/main/docs (buildah-build, buildah-push, buildah-pull)
"""

import asyncio
import os
import shutil
import sys
import tempfile
from pathlib import Path

from openbell.core.image import Platform, Recipe
from openbell.ports import AdapterError

SYSTEM = "buildah"


async def is_there() -> bool:
    """Say whether there is a buildah on this machine."""
    return shutil.which("buildah") is not None


async def obtain(image: str, platform: Platform | None) -> str:
    """Have a base image on this machine; returns its digest, or an empty text when it was never in a registry.

    Raises a retryable `AdapterError` when it cannot be had; a network that is away now may be there later.
    """
    wanted = ["--platform", platform.name] if platform else []
    code, _, errors = await _run("pull", "--quiet", "--policy", "missing", *wanted, image, shown=False)
    if code:
        message = f"{image} cannot be had: {_reason(errors)}"
        raise AdapterError(SYSTEM, "pull", message, retryable=True, effect="not_applied")
    code, output, _ = await _run("inspect", "--type", "image", "--format", "{{.FromImageDigest}}", image, shown=False)
    return output.strip() if code == 0 else ""


async def build(recipe: Recipe, platform: Platform, folder: Path) -> None:
    """Build the image for one platform into a folder that is not there yet; what buildah prints goes to standard error.

    Raises `AdapterError` when the build fails.
    """
    with tempfile.TemporaryDirectory(prefix="openbell-image-") as scratch:
        name = Path(scratch) / "image"
        options = ["--file", recipe.dockerfile, "--platform", platform.name, "--timestamp", str(recipe.epoch_s)]
        options += ["--format", "docker", "--iidfile", str(name), "--identity-label=false", "--layers"]
        options += [] if recipe.layers_cached else ["--no-cache"]
        options += ["--target", recipe.target] if recipe.target else []
        for key, value in recipe.arguments.items():
            options += ["--build-arg", f"{key}={value}"]
        for key, value in recipe.labels.items():
            options += ["--label", f"{key}={value}"]
        code, _, errors = await _run("build", *options, recipe.context)
        if code:
            message = f"the build for {platform.name} failed: {_reason(errors)}"
            raise AdapterError(SYSTEM, "build", message, effect="not_applied")
        image = name.read_text().strip()
        code, _, errors = await _run("push", "--quiet", "--format", "v2s2", image, f"dir:{folder}")
        if code:
            raise AdapterError(SYSTEM, "push", f"{folder} cannot be written: {_reason(errors)}", effect="not_applied")


def _reason(errors: str) -> str:
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    return lines[-1] if lines else "buildah said nothing"


async def _run(*arguments: str, shown: bool = True) -> tuple[int, str, str]:
    """Run buildah to its end; returns its exit code and what it printed. What is `shown` is also passed on."""
    # Without a user namespace of its own, chroot is what also works in a container.
    env = {"BUILDAH_ISOLATION": "chroot", **os.environ}
    try:
        process = await asyncio.create_subprocess_exec(
            "buildah", *arguments, env=env, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
    except OSError as error:
        message = f"buildah cannot be started: {error.strerror}. On Debian and Ubuntu: apt-get install buildah"
        raise AdapterError(SYSTEM, "start", message, effect="not_applied") from error
    try:
        output, errors = await asyncio.gather(_read(process.stdout, shown), _read(process.stderr, shown))
        return await process.wait(), output, errors
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


async def _read(stream: asyncio.StreamReader | None, shown: bool) -> str:
    parts = []
    while stream is not None and (chunk := await stream.read(65536)):
        text = chunk.decode(errors="replace")
        parts.append(text)
        if shown:
            sys.stderr.write(text)
            sys.stderr.flush()
    return "".join(parts)
