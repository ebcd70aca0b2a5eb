"""What an environment is made of, wherever it is: on this machine, or in a namespace of a cluster.

Everything above this module knows an environment as a `Site` and does not ask which kind it is.
"""

import contextlib
import os
import tomllib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from openbell.core.places import settings_of
from openbell.core.project import Project
from openbell.core.texts import ADDRESS_SUFFIXES
from openbell.ports import Held, MetricSource, Platform, Router
from openbell.wiring.state import StateFolder

if TYPE_CHECKING:
    from openbell.wiring.environment_status import EnvironmentStatus, RolloutStatus

Progress = Callable[[str], None]


def silent(_line: str) -> None:
    """Take progress and show none of it."""


class Check(msgspec.Struct, frozen=True):
    """One thing that was looked at: what was found, and the remedy when it is not good."""

    name: str
    ok: bool
    needed: bool
    found: str
    remedy: str = ""


class Site(Protocol):
    """One environment. Opening it touches nothing; `up` makes it ready, and may be called whenever it must be."""

    name: str

    @property
    def platform(self) -> Platform:
        """Where its releases run."""

    @property
    def router(self) -> Router:
        """What sends work to them."""

    @property
    def metrics(self) -> MetricSource:
        """What counts how they serve."""

    async def up(
        self,
        progress: Progress = silent,
        *,
        new_ports: bool = False,
        releases: Sequence[str] = (),
        judged: bool = True,
    ) -> list[str]:
        """Make the environment ready, or raise `AdapterError`; returns what is wrong with releases in it.

        `releases` are the digests of those that are about to be placed, which may need more of it than others; `judged`
        says whether they will be, for a way back must not wait for what only a judge needs.
        """

    async def down(self, progress: Progress = silent, *, purge: bool = False) -> None:
        """Stop it; `purge` removes what it has kept."""

    async def holdings(self) -> Mapping[str, Held]:
        """What each occupied slot holds, as it really is."""

    def reach(self, slot: str | None = None) -> contextlib.AbstractAsyncContextManager[dict[str, str]]:
        """Addresses of the services as placeholders of jobs: those of customers, or a slot's whatever its weight."""

    def secret(self, name: str) -> str | None:
        """Look up a secret of the environment."""

    def backing_services(self) -> dict[str, str]:
        """DATABASE_URL and whatever else a program on this machine needs to see the same data; they hold passwords."""

    async def examine(self, tree: Path | None = None) -> list[Check]:
        """What it has of what it needs, for releases of a project's tree; looks, and changes nothing."""

    async def look(self, rollout: "RolloutStatus | None" = None) -> "EnvironmentStatus":
        """Look at it as it is now, and change nothing."""

    async def close(self) -> None:
        """Close the connections to it; the environment itself goes on."""


_ADDRESS_FORMS = {"http": "http://{host}:{port}", "websocket": "ws://{host}:{port}", "fix": "{host}:{port}"}


def addresses(project: Project, where: Callable[[str], tuple[str, int]]) -> dict[str, str]:
    """Write down where services answer, as placeholders; `where` gives host and port of a service.

    `{"api_url": "http://127.0.0.1:20001", "websocket_url": "ws://...", "fix-gateway_address": "127.0.0.1:20003"}`
    """
    found = {}
    for name, service in project.services.items():
        if service.protocol in ADDRESS_SUFFIXES:
            host, port = where(name)
            host = f"[{host}]" if ":" in host else host
            form = _ADDRESS_FORMS[service.protocol]
            found[name + ADDRESS_SUFFIXES[service.protocol]] = form.format(host=host, port=port)
    return found


def find_secret(folder: Path, name: str) -> str | None:
    """Look a secret up in the caller's environment, then in `secrets.toml` of an environment's folder."""
    if name in os.environ:
        return os.environ[name]
    path = folder / "secrets.toml"
    if not path.exists():
        return None
    value = tomllib.loads(path.read_text()).get(name)
    return None if value is None else str(value)


def open_site(project: Project, name: str, state: StateFolder) -> Site:
    """Return an environment of a project; what it is made of is imported only now."""
    if settings_of(project, name).cluster is not None:
        from openbell.wiring.cluster_site import ClusterSite

        return ClusterSite(project, name, state)
    from openbell.wiring.environment import Environment

    return Environment(project, name, state)


@contextlib.asynccontextmanager
async def opened_site(project: Project, name: str, state: StateFolder) -> AsyncIterator[Site]:
    """Open an environment for a block, and close what connects to it at its end."""
    site = open_site(project, name, state)
    try:
        yield site
    finally:
        await site.close()
