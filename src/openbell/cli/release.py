"""`openbell release`: what was built, what proves it, and whether it is what it must be."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from openbell.adapters import dsse
from openbell.adapters.sqlite import SqliteJournal
from openbell.adapters.toml import ConfigurationError
from openbell.cli.terminal import DONE, FAILED, USAGE, complain, counted, paint, print_json, say
from openbell.core.project import Verification
from openbell.files import write_whole
from openbell.ports import AdapterError, Journal
from openbell.wiring import rollouts
from openbell.wiring.authenticity import Verdict, verify_release
from openbell.wiring.project import OpenProject, open_project
from openbell.wiring.release_overview import ReleaseDocument, list_releases, names_of, show_release
from openbell.wiring.rollouts import RefusedError, UnknownNameError

Json = Annotated[bool, Parameter(negative="")]
Policy = list[str] | None


def release_list(*, policy: Policy = None, json: Json = False) -> int:
    """List the releases that were built, the newest first.

    Parameters
    ----------
    policy
        A file laid over openbell.toml; may be repeated.
    json
        Print a JSON list on standard output.
    """

    async def work(place: OpenProject, journal: Journal) -> int:
        found = await list_releases(journal, place.state)
        if json:
            print_json(found)
            return DONE
        for one in found:
            when = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.built_at_s))
            facts = [
                counted(one.images, "image") if one.images else "no image",
                "signed" if one.signed else "not signed",
            ]
            facts += [] if one.here else ["not on this machine"]
            line = f"{one.version:<16} {one.digest[7:19]}  {one.commit[:7]}  {one.ref:<16} {when}  {', '.join(facts)}"
            say(line, stream=sys.stdout)
        if not found:
            say("No release was built yet. Build one with: openbell run --trigger push --ref BRANCH")
        return DONE

    return _run(work, policy)


def release_show(release: str | None = None, /, *, policy: Policy = None, json: Json = False) -> int:
    """Show what a release consists of: files, images, bills of materials, where it comes from, what its jobs said.

    Parameters
    ----------
    release
        Tag, version, commit or digest, a prefix will do; the newest by default.
    policy
        A file laid over openbell.toml; may be repeated.
    json
        Print one JSON document on standard output.
    """

    async def work(place: OpenProject, journal: Journal) -> int:
        built = await rollouts.find_release(journal, release)
        found = show_release(place.state, built, await names_of(journal, built.digest))
        if json:
            print_json(found)
        else:
            for line in _lines(found):
                say(line, stream=sys.stdout)
        return DONE

    return _run(work, policy)


def release_verify(
    release: str | None = None,
    /,
    *,
    environment: str | None = None,
    key: Path | None = None,
    builder: str = "",
    source: str = "",
    policy: Policy = None,
    json: Json = False,
) -> int:
    """Check that a release is unchanged, signed, and built from the commit and the source that are meant.

    It is what `openbell deploy` checks where an environment has `verify`. Exit code 1: a check did not pass.

    Parameters
    ----------
    release
        Tag, version, commit or digest, a prefix will do; the newest by default.
    environment
        Check what this environment wants.
    key
        The public key in PEM, instead of an environment's.
    builder
        The builder that the provenance must name.
    source
        The repository that the provenance must name.
    policy
        A file laid over openbell.toml; may be repeated.
    json
        Print one JSON document on standard output.
    """

    async def work(place: OpenProject, journal: Journal) -> int:
        built = await rollouts.find_release(journal, release)
        wanted = _wanted(place, environment, key, builder, source)
        return report(await verify_release(place, built, wanted), json=json)

    return _run(work, policy)


def release_key(folder: Path, /) -> int:
    """Make a key pair for signing releases: release.key, which is secret, and release.pub, which is not.

    Parameters
    ----------
    folder
        Where to; nothing that is there is written over.
    """
    files = folder / "release.key", folder / "release.pub"
    there = [str(path) for path in files if path.exists()]
    if there:
        return complain(f"{', '.join(there)} is there already. Name another folder, or remove it.")
    try:
        for path, text, mode in zip(files, dsse.make_key(), (0o600, 0o644), strict=True):
            write_whole(path, text.encode(), mode=mode)
    except AdapterError as error:
        return complain(f"{error.system}: {error.message}", code=FAILED)
    say(f"Sign with: export OPENBELL_SIGNING_KEY={files[0]}    (a secret: it stays out of the repository)")
    say(f'Verify with: verify = {{ key = "{files[1]}" }} in an environment of openbell.toml')
    return DONE


def report(found: Verdict, *, json: bool) -> int:
    """Say each check of a verdict; the exit code is that of the whole."""
    if json:
        print_json(found)
        return DONE if found.ok else FAILED
    for check in found.checks:
        glyph = paint("✓", "green", sys.stdout) if check.ok else paint("✗", "red", sys.stdout)
        say(f"{glyph} {check.name:<24} {check.found}", stream=sys.stdout)
    say(f"{found.subject}: {'verified' if found.ok else 'REFUSED'}")
    return DONE if found.ok else FAILED


def _wanted(place: OpenProject, environment: str | None, key: Path | None, builder: str, source: str) -> Verification:
    """Choose what is checked: what the caller names, else what an environment wants."""
    if key is not None:
        return Verification(key=str(key.absolute()), builder=builder, source=source)
    known = {name: one.verify for name, one in place.project.environments.items() if one.verify is not None}
    if environment is not None and environment not in known:
        names = ", ".join(known) or "none"
        raise UnknownNameError(f'"{environment}" is no environment with verify; with it are: {names}')
    if not known:
        raise UnknownNameError("no environment of openbell.toml has verify. Name a public key with --key.")
    found = known[environment] if environment is not None else next(iter(known.values()))
    return Verification(key=found.key, builder=builder or found.builder, source=source or found.source)


def _lines(found: ReleaseDocument) -> list[str]:
    """Tell a release: one thing to a line, the names of things first."""
    newest = found.names[0]
    lines = [f"{found.version}  {found.digest}", f"  commit      {newest.commit}  by {newest.author}"]
    lines += [f"  released as {one.ref}  in run {one.run}" for one in found.names]
    lines += [f"  file        {one.path:<40} {one.size_bytes:>12,} bytes  {one.sha256[:12]}" for one in found.files]
    if found.config:
        lines.append(f"  config      {counted(len(found.config), 'file')}")
    for reference in dict.fromkeys(found.services.values()):
        services = ", ".join(name for name, one in found.services.items() if one == reference)
        lines.append(f"  image       {reference}  ({services})")
    for image in found.images:
        platforms = ", ".join(f"{one.platform} {one.size_bytes / 1e6:.1f} MB" for one in image.platforms)
        lines.append(f"              {platforms}; user {image.user}; created {image.created}")
    lines += [f"  SBOM        {name:<40} {counted(n, 'component')}" for name, n in found.bills_of_materials.items()]
    for one in found.statements:
        if one.kind == "provenance":
            said = f"commit {one.commit[:7]}, {one.ref}, source {one.source or 'not named'}, builder {one.builder}"
            lines.append(f"  provenance  {said}; {'signed' if one.signed else 'not signed'}")
    lines += [f"  evidence    {one.job:<24} {one.outcome:<12} {one.reason}".rstrip() for one in found.evidence]
    return lines


def _run(work: Callable[[OpenProject, Journal], Awaitable[int]], policy: Policy) -> int:
    async def opened() -> int:
        place = open_project(Path.cwd(), tuple(policy or ()))
        place.state.make()
        async with SqliteJournal(place.state.journal) as journal:
            return await work(place, journal)

    try:
        return asyncio.run(opened())
    except (ConfigurationError, UnknownNameError) as error:
        return complain(str(error), code=USAGE)
    except RefusedError as error:
        return complain(str(error), code=FAILED)
    except AdapterError as error:
        return complain(f"{error.system}: {error.message}", code=FAILED)
