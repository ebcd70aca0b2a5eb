"""`render`: files for other systems that follow from the configuration."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from openbell.adapters.toml import ConfigurationError
from openbell.cli.terminal import DONE, FAILED, complain, print_json, say
from openbell.core.places import places
from openbell.ports import AdapterError
from openbell.wiring.project import OpenProject, open_project

Policy = list[str] | None


def render(
    what: Literal["github", "pre-commit", "rbac"],
    environment: str | None = None,
    /,
    *,
    check: Annotated[bool, Parameter(negative="")] = False,
    policy: Policy = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Write files for another system, or print one.

    `github`: the workflows of GitHub Actions, into `.github`. `pre-commit`: `.pre-commit-config.yaml`, with the quick
    jobs of the quality stage. Files that were written by hand stay as they are.

    `rbac ENVIRONMENT`: prints the permissions that suffice to deploy to an environment in a cluster, as YAML for
    `kubectl apply`: a ServiceAccount, a Role and what binds them. They follow from the chart of this tree.

    Exit code 1: with --check, something is stale; without, something was written by hand and is in the way.

    Parameters
    ----------
    what
        Which files.
    environment
        For which environment: `rbac` only.
    check
        Write nothing, and say what is stale.
    policy
        A file laid over openbell.toml; may be repeated.
    json
        Print one JSON document on standard output: which files, and what became of them.
    """
    try:
        place = open_project(Path.cwd(), tuple(policy or ()))
        if what == "rbac":
            return _print_permissions(place, environment or "")
        if environment is not None:
            return complain(f'"{environment}": {what} is not for one environment. Leave it out.')
        return _write_files(place, what, check=check, json=json)
    except ConfigurationError as error:
        return complain(str(error))
    except AdapterError as error:
        return complain(f"{error.system}: {error.message}", code=FAILED)
    except OSError as error:
        return complain(f"{error.filename}: {error.strerror or error}. Nothing more was written.", code=FAILED)


def _print_permissions(place: OpenProject, environment: str) -> int:
    known = places(place.project)
    if environment not in known or known[environment].cluster is None:
        clusters = ", ".join(name for name, one in known.items() if one.cluster is not None) or "none"
        return complain(f'there is no environment "{environment}" in a cluster; in one are: {clusters}')
    # Imported where it is asked for: the adapters of a cluster cost more than all other commands.
    from openbell.wiring.cluster_site import ClusterSite

    text = asyncio.run(ClusterSite(place.project, environment, place.state).render_permissions(place.root))
    say(text.rstrip(), stream=sys.stdout)
    return DONE


WORDS = {
    "new": ("is missing", "written"),
    "stale": ("is stale", "written again"),
    "left over": ("is not wanted any more", "removed"),
    "by hand": ("is written by hand, and stays: rename or remove it", "is written by hand, and stays: rename it"),
}


def _write_files(place: OpenProject, what: str, *, check: bool, json: bool) -> int:
    from openbell.wiring import render as files

    wanted = files.RENDERERS[what](place)
    found = files.compare(wanted)
    if not check:
        files.write(wanted, found)
    changed = [file for file in found.files if file.state != "same"]
    for file in changed:
        say(f"{file.path}: {WORDS[file.state][0 if check else 1]}")
        for line in file.difference if check else ():
            say(f"    {line}")
    if not found.files:
        say("There is nothing to write: no job is for it.")
    elif not changed:
        say(f"{len(found.files)} files are as they should be.")
    if json:
        print_json(found)
    if check:
        if changed:
            say(f"Write them again: openbell render {what}")
        return FAILED if changed else DONE
    return FAILED if any(file.state == "by hand" for file in changed) else DONE
