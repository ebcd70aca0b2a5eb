"""The cluster in memory that tests of the platform begin with; nothing is waited for in it."""

import pytest

from openbell.adapters.kubernetes import platform as module
from tests.adapters.kubernetes.world import World


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(module, "POLL_S", 0.001)
    monkeypatch.setattr("openbell.adapters.kubernetes.api.BACKOFF_S", 0.0)
    monkeypatch.setattr("openbell.handover.DRAIN_POLL_S", 0.001)
    return World()
