"""One world of each kind for each contract; each test begins with empty slots."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.conformance.cluster_world import cluster_world
from tests.conformance.worlds import LocalWorld, MemoryWorld, World


# Of one module: what has a namespace of the cluster keeps others from restarting parts of it.
@pytest_asyncio.fixture(
    scope="module",
    loop_scope="session",
    params=[
        "memory",
        pytest.param("local", marks=pytest.mark.slow),
        pytest.param("kubernetes", marks=[pytest.mark.slow, pytest.mark.kubernetes]),
    ],
)
async def whole_world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """A world that is up."""
    if request.param == "memory":
        yield MemoryWorld()
        return
    folder: Path = tmp_path_factory.mktemp("state")
    if request.param == "kubernetes":
        async with cluster_world(folder) as cluster:
            yield cluster
        return
    local = LocalWorld(folder)
    await local.environment.up()
    try:
        yield local
    finally:
        await local.environment.down(purge=True)


@pytest_asyncio.fixture(loop_scope="session")
async def world(whole_world: World) -> World:
    """The world with empty slots."""
    await whole_world.reset()
    return whole_world
