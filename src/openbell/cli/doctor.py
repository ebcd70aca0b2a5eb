"""`openbell doctor`: what is missing on this machine, and how to get it."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from openbell.adapters.toml import ConfigurationError
from openbell.cli.terminal import DONE, FAILED, complain, paint, print_json, say
from openbell.core.places import no_place, places
from openbell.wiring.doctor import Diagnosis, examine
from openbell.wiring.project import FILE_NAME, OpenProject, open_project
from openbell.wiring.site import Check, open_site
from openbell.wiring.state import StateFolder


def doctor(
    name: str | None = None,
    /,
    *,
    policy: list[str] | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Say what this machine has of what openbell needs, and how to get the rest. Exits with 1 if something is missing.

    Works outside a project, too; inside one it also looks for the programs and the Pythons that the
    project's jobs name.

    Parameters
    ----------
    name
        An environment that is looked at as well: its ports and processes, or what is needed of its cluster.
    policy
        A file laid over openbell.toml; may be repeated.
    json
        Print one JSON document on standard output.
    """
    try:
        place = _project_here(tuple(policy or ()))
    except ConfigurationError as error:
        return complain(str(error))
    if name is not None and (place is None or name not in places(place.project)):
        nowhere = f'there is no environment "{name}"; there are: no {FILE_NAME} here'
        return complain(no_place(place.project, name) if place else nowhere)
    state = place.state if place else StateFolder.of_project(Path.cwd())
    project = place.project if place else None
    environment = open_site(place.project, name, place.state) if place and name else None
    found = asyncio.run(examine(state, project, environment, place.root if place else None))
    if json:
        print_json(found)
    else:
        say("\n".join(render(found)), stream=sys.stdout)
    return DONE if found.ok else FAILED


def render(found: Diagnosis) -> list[str]:
    """Compose the lines that show a diagnosis."""
    lines = [line for check in found.checks for line in _render_check(check)]
    missing = [check.name for check in found.checks if check.needed and not check.ok]
    wanted = [check.name for check in found.checks if not check.needed and not check.ok]
    end = f"Missing: {', '.join(missing)}." if missing else "Everything that is needed is there."
    return [*lines, end + (f" Without {', '.join(wanted)}, less is possible." if wanted else "")]


def _render_check(check: Check) -> list[str]:
    glyph, colour = ("✓", "green") if check.ok else ("✗", "red") if check.needed else ("–", "yellow")
    line = f"{paint(glyph, colour, sys.stdout)} {check.name:<14} {check.found}"
    return [line] if check.ok else [line, f"  {'':<14} {check.remedy}"]


def _project_here(policies: tuple[str, ...]) -> OpenProject | None:
    """Open the project that this folder is in; none outside of one."""
    here = Path.cwd()
    if not any((folder / FILE_NAME).is_file() for folder in (here, *here.parents)):
        return None
    return open_project(here, policies)
