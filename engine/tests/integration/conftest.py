from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from harness.stand import Stand


@pytest_asyncio.fixture
async def stand(database_url: str, valkey_url: str) -> AsyncIterator[Stand]:
    """Services on a database of their own."""
    stand = Stand(database_url, valkey_url)
    try:
        yield stand
    finally:
        await stand.stop()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "integration" in item.path.parts:
            item.add_marker(pytest.mark.integration)
