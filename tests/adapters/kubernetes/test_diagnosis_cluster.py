"""Ways not to start, on a real cluster: each is told in one sentence with its remedy, and the slot is as it was.

They happen beside each other, for they only wait; what is seen is what docs/troubleshooting.md shows.
"""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.adapters.kubernetes.broken import BROKEN, Bench, Told
from tests.cluster import live
from tests.cluster.engine import make_engine_image
from tests.troubleshooting import compare

pytestmark = [pytest.mark.slow, pytest.mark.kubernetes]

AT_ONCE = 4
"""So many cases beside each other: their pods start on the same few processors."""


@pytest.fixture(scope="module")
def image() -> str:
    """The engine's image in the registry, by digest."""
    live.require("buildah")
    return make_engine_image()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def told(
    image: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[dict[str, Told | BaseException]]:
    """What is told in each case that is asked for."""
    here = [item for item in request.session.items if isinstance(item, pytest.Function) and item.path == request.path]
    asked = [str(item.callspec.params["name"]) for item in here if hasattr(item, "callspec")]
    free = asyncio.Semaphore(AT_ONCE)

    async def make(name: str) -> Told:
        async with free:
            with live.namespace(name) as namespace:
                bench = Bench(namespace, image, tmp_path_factory.mktemp(name))
                try:
                    return await BROKEN[name].make(bench)
                finally:
                    await bench.api.close()

    found = await asyncio.gather(*map(make, asked), return_exceptions=True)
    yield dict(zip(asked, found, strict=True))


@pytest.mark.parametrize("name", BROKEN)
async def test_what_is_wrong_is_told_with_its_remedy_and_the_slot_is_as_it_was(
    told: dict[str, Told | BaseException], name: str
) -> None:
    found, broken = told[name], BROKEN[name]
    if isinstance(found, BaseException):
        raise found
    assert broken.says in found.message
    assert "green-api" in found.message
    assert (found.effect, found.after) == ("not_applied", found.before)
    assert found.seconds < broken.seconds_max
    compare(broken.case, found.message, seconds=round(found.seconds))
