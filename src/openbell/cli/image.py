"""`openbell image build`: images of containers, for the jobs of a project and for people."""

import asyncio
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from openbell.adapters import git
from openbell.cli.release import report
from openbell.cli.terminal import CANNOT, DONE, FAILED, USAGE, complain, counted, print_json, say
from openbell.core.image import tag_of
from openbell.core.provenance import Wanted
from openbell.ports import AdapterError
from openbell.wiring import authenticity, images

Json = Annotated[bool, Parameter(negative="")]
Texts = list[str] | None
JOB_VARIABLE = "OPENBELL"


@Parameter(name="*")
@dataclass(frozen=True)
class Labels:
    """What is written on an image, in the words of the image standard.

    Parameters
    ----------
    source
        Label: where the source is.
    revision
        Label: which commit of it; may be left out so that the same content stays the same image.
    version
        Label: the version.
    licences
        Label: the licences, as an SPDX expression.
    description
        Label: one sentence.
    """

    source: str = ""
    revision: str = ""
    version: str = ""
    licences: str = ""
    description: str = ""


def image_build(
    context: Path = Path(),
    /,
    *,
    name: str | None = None,
    registry: str = "",
    platform: Texts = None,
    file: Path | None = None,
    target: str = "",
    build_arg: Texts = None,
    service: Texts = None,
    tag: Texts = None,
    out: Path | None = None,
    labels: Labels | None = None,
    allow: list[Literal["root", "no-health-check"]] | None = None,
    cache: bool = True,
    json: Json = False,
) -> int:
    """Build an image from a Dockerfile for one or several platforms, push it, and read it back.

    The same content gives the same digest: times are SOURCE_DATE_EPOCH's. Exit code 75: this machine cannot build it,
    for there is no buildah, or a base image cannot be had.

    Parameters
    ----------
    context
        The folder that the Dockerfile copies from.
    name
        The image's name in the registry; the folder's by default.
    registry
        HOST[:PORT][/PATH] to push to, such as ghcr.io/acme; nothing is pushed without one.
    platform
        Such as linux/amd64,linux/arm64; this machine's by default.
    file
        The Dockerfile; that of the context by default.
    target
        The stage of the Dockerfile; the last by default.
    build_arg
        NAME=VALUE for an ARG of the Dockerfile; may be repeated.
    service
        A service that runs this image, for images.json; may be repeated, the image's name by default.
    tag
        A further name for it in the registry; in a git repository branch and commit by default, in a job none.
    out
        The folder for images.json and for what is known of the image; a job's {out}.
    labels
        What is written on it.
    allow
        What is not refused: root, no-health-check.
    cache
        Reuse layers that were built before.
    json
        Print one JSON document on standard output.
    """
    written = labels or Labels()
    order = images.Order(
        context=context, name=name or context.resolve().name, dockerfile=file or context / "Dockerfile", target=target,
        registry=registry.rstrip("/"), platforms=_split(platform) or (images.own_platform(),),
        arguments=dict(_pair(one) for one in build_arg or ()), services=_split(service),
        tags=_split(tag) or _tags_here(context), source=written.source, revision=written.revision,
        version=written.version, licences=written.licences, description=written.description,
        allowed=tuple(allow or ()), layers_cached=cache,
    )  # fmt: skip
    return _build(order, out, json=json)


def image_verify(
    reference: str,
    /,
    *,
    key: Path,
    builder: str = "",
    source: str = "",
    commit: str = "",
    json: Json = False,
) -> int:
    """Read an image from its registry to the last byte, and check what was signed of it.

    Exit code 1: a check did not pass.

    Parameters
    ----------
    reference
        REGISTRY/NAME:TAG or REGISTRY/NAME@sha256:DIGEST.
    key
        The public key in PEM.
    builder
        The builder that the provenance must name.
    source
        The repository that the provenance must name.
    commit
        The commit that the provenance must name, in full.
    json
        Print one JSON document on standard output.
    """
    try:
        wanted = Wanted(digest="", commit=commit, source=source, builder=builder)
        return report(asyncio.run(authenticity.verify_image(reference, key.read_text(), wanted)), json=json)
    except OSError as error:
        return complain(f"the public key {key} cannot be read: {error.strerror}. Name a public key in PEM.")
    except ValueError as error:
        return complain(str(error))
    except AdapterError as error:
        return complain(f"{error.system}: {error.message}", code=FAILED)


def _build(order: images.Order, out: Path | None, *, json: bool) -> int:
    """Build, and say what came of it."""
    try:
        built = asyncio.run(images.build(order, out=out, progress=say))
    except images.CannotBuildError as error:
        return complain(f"No image: {error}", code=CANNOT)
    except ValueError as error:
        return complain(str(error), code=USAGE)
    except images.FaultyImageError as error:
        return complain(str(error), code=FAILED)
    except AdapterError as error:
        return complain(f"{error.system}: {error.message}", code=FAILED)
    if json:
        print_json(built)
        return DONE
    for one in built.platforms:
        say(f"  {one.platform:<14} {one.digest}  {one.size_bytes / 1e6:.1f} MB")
    also = f", also called {', '.join(built.tags)}" if built.tags else ""
    say(built.reference if built.pushed else built.digest, stream=sys.stdout)
    where = f"pushed and read back{also}" if built.pushed else "not pushed: no registry was named"
    say(f"{counted(len(built.platforms), 'platform')}, user {built.user}, created {built.created}; {where}")
    return DONE


def _split(values: Texts) -> tuple[str, ...]:
    return tuple(part.strip() for value in values or () for part in value.split(",") if part.strip())


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value


def _tags_here(folder: Path) -> tuple[str, ...]:
    """The branch and the commit that are checked out; a job is a copy, and its release is given its names later."""
    if JOB_VARIABLE in os.environ:
        return ()
    try:
        seen = git.snapshot(folder)
    except AdapterError:
        return ()
    if seen.dirty:
        return ()
    return tuple(tag_of(name) for name in (seen.branch, seen.commit.short) if name)
