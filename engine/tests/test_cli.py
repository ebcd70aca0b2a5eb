import pytest

from trading_engine.cli import main


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "VALKEY_URL", "TRADING_ENGINE_API_KEYS"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    "arguments",
    [
        ["api", "--port", "1"],
        ["websocket", "--port", "1"],
        ["worker", "--port", "1"],
        ["fix-gateway", "--port", "1", "--http-port", "2"],
        ["migrate", "expand"],
    ],
)
def test_a_missing_variable_is_named(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "DATABASE_URL is not set" in capsys.readouterr().err


def test_smoke_needs_keys_and_a_target(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["smoke"]) == 2
    assert "TRADING_ENGINE_API_KEYS" in capsys.readouterr().err
    monkeypatch.setenv("TRADING_ENGINE_API_KEYS", "k:a")
    assert main(["smoke"]) == 2
    assert "--api" in capsys.readouterr().err


def test_smoke_says_what_failed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADING_ENGINE_API_KEYS", "k:a")
    assert main(["smoke", "--api", "http://127.0.0.1:1"]) == 1
    output = capsys.readouterr().out
    assert "failed: api answers and is ready" in output
    assert "smoke: 0 of 7" in output


def test_migrate_without_a_database_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://u@127.0.0.1:1/d")
    assert main(["migrate", "expand"]) == 1
    assert "Nothing was changed" in capsys.readouterr().err


def test_flow_wants_a_fix_address(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setenv("TRADING_ENGINE_API_KEYS", "k:a")
    monkeypatch.setenv("DATABASE_URL", "postgresql://u@127.0.0.1:1/d")
    assert main(["flow", "--fix", "somewhere", "--report", f"{tmp_path}/r.json"]) == 2
    assert "HOST:PORT" in capsys.readouterr().err
