"""`render`: files for other systems that follow from the configuration."""

import asyncio
import sys
from pathlib import Path
from typing import Literal

from openbell.adapters.toml import ConfigurationError
from openbell.cli.terminal import DONE, FAILED, complain, say
from openbell.core.places import places
from openbell.ports import AdapterError
from openbell.wiring.project import open_project

Policy = list[str] | None


def render(what: Literal["rbac"], environment: str, /, *, policy: Policy = None) -> int:
    """Print a file for another system on standard output.

    `rbac`: the permissions that suffice to deploy to an environment in a cluster, as YAML for `kubectl apply`: a
    ServiceAccount, a Role and what binds them. They follow from the chart of this tree.

    Parameters
    ----------
    what
        Which file.
    environment
        For which environment.
    policy
        A file laid over openbell.toml; may be repeated.
    """
    del what
    try:
        place = open_project(Path.cwd(), tuple(policy or ()))
        known = places(place.project)
        if environment not in known or known[environment].cluster is None:
            clusters = ", ".join(name for name, one in known.items() if one.cluster is not None) or "none"
            return complain(f'there is no environment "{environment}" in a cluster; in one are: {clusters}')
        # Imported where it is asked for: the adapters of a cluster cost more than all other commands.
        from openbell.wiring.cluster_site import ClusterSite

        text = asyncio.run(ClusterSite(place.project, environment, place.state).render_permissions(place.root))
    except ConfigurationError as error:
        return complain(str(error))
    except AdapterError as error:
        return complain(f"{error.system}: {error.message}", code=FAILED)
    say(text.rstrip(), stream=sys.stdout)
    return DONE
