"""A platform on a cluster in memory, two releases of a project with a leader, and how its refusals are expected."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from openbell.adapters.kubernetes.chart import Chart
from openbell.adapters.kubernetes.platform import Kubernetes
from openbell.core.project import Environment, Project, ProjectInfo, ReleaseInfo, Service
from openbell.ports import AdapterError, ReleaseRef
from tests.adapters.kubernetes.memory import MemoryApi, MemoryHelm

ONE, TWO = ReleaseRef("sha256:" + "1" * 64, "1.0.0"), ReleaseRef("sha256:" + "2" * 64, "1.1.0")
PROJECT = Project(
    project=ProjectInfo(name="shop"),
    services={
        "worker": Service(protocol="leader", run="x", drain_timeout_s=0.05),
        "api": Service(protocol="http", run="x", env={"WORKERS": "2"}, drain_timeout_s=0.05),
    },
    order=("api", "worker"),
    environments={"production": Environment(env={"LOG": "info"})},
    release=ReleaseInfo(expand="migrate expand", contract="migrate contract"),
)


class World:
    """The platform and what it stands on."""

    def __init__(self) -> None:
        self.api = MemoryApi()
        self.helm = MemoryHelm(self.api)
        self.images = {name: f"registry.example/{name}@sha256:{'a' * 64}" for name in PROJECT.services}
        self.project = PROJECT
        self.settings: dict[str, Any] = {}
        self.platform = Kubernetes(
            self.api, self.helm, project="shop", environment="production", chart_of=self.chart_of
        )

    def chart_of(self, digest: str) -> Chart:
        if digest not in (ONE.digest, TWO.digest):
            raise AdapterError("kubernetes", "release", "unknown", effect="not_applied")
        return Chart(self.project, Path("chart"), (Path("values.yaml"),), self.images, self.settings)

    async def place(self, slot: str = "blue", release: ReleaseRef = ONE, replicas: int = 2) -> None:
        await self.platform.place(slot, release, replicas, timeout_s=0.05, key="k")


@contextlib.asynccontextmanager
async def refused(message: str, effect: str = "not_applied", *, retryable: bool = False) -> AsyncIterator[None]:
    with pytest.raises(AdapterError, match=message) as caught:
        yield
    assert (caught.value.effect, caught.value.retryable) == (effect, retryable)
