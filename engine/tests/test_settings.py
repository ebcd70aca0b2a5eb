import pytest

from trading_engine.settings import SettingsError, read_keys, read_settings, read_valkey_url

GOOD = {"DATABASE_URL": "postgresql://u@h/d", "TRADING_ENGINE_API_KEYS": "k1:alpha, k2:beta"}


def test_defaults() -> None:
    settings = read_settings(GOOD)
    assert (settings.slot, settings.valkey_url) == ("default", "redis://127.0.0.1:6379")
    assert settings.instance
    assert settings.keys.account("k2") == "beta"
    assert settings.keys.account("beta") is None


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"DATABASE_URL": ""}, "DATABASE_URL is not set"),
        ({"DATABASE_URL": "mysql://x"}, "DATABASE_URL does not start"),
        ({"VALKEY_URL": "http://x"}, "VALKEY_URL"),
        ({"TRADING_ENGINE_API_KEYS": ""}, "TRADING_ENGINE_API_KEYS is not set"),
        ({"TRADING_ENGINE_API_KEYS": "a:b,secret"}, "entry 2"),
        ({"TRADING_ENGINE_API_KEYS": "secret:"}, "entry 1"),
    ],
)
def test_what_is_wrong_is_named_and_never_the_secret(changed: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=named) as caught:
        read_settings({**GOOD, **changed})
    assert "secret" not in str(caught.value)


def test_keys_are_never_shown() -> None:
    keys = read_keys(GOOD)
    assert "k1" not in repr(keys)
    assert keys.key_of("beta") == ("k2", "beta")
    assert keys.key_of("nobody") == ("k1", "alpha")


@pytest.mark.parametrize(
    ("url", "password", "expected"),
    [
        ("redis://h:1", "", "redis://h:1"),
        ("rediss://h:1/0", "a#b@c/", "rediss://:a%23b%40c%2F@h:1/0"),  # betterleaks:allow
        ("redis://app@h", "p", "redis://app:p@h"),
        ("redis://:own@h", "p", "redis://:own@h"),  # betterleaks:allow
    ],
)
def test_the_password_of_valkey_may_come_by_itself(url: str, password: str, expected: str) -> None:
    assert read_valkey_url({"VALKEY_URL": url, "VALKEY_PASSWORD": password}) == expected
