from collections.abc import AsyncIterator
from pathlib import Path

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
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.integration)
