import pytest

from trading_engine.websocket.subscription import Refusal, Subscription, read_subscription


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("channels=book:ACME", {"book:ACME": None}),
        ("channels=book:ACME&last_seq=7", {"book:ACME": 7}),
        ("channels=book:ACME,trades:ACME&last_seq=trades:ACME=3", {"book:ACME": None, "trades:ACME": 3}),
        ("channels=orders&last_seq=orders=3", {"orders:me": 3}),
        ("channels=orders&last_seq=orders:me=0", {"orders:me": 0}),
        ("channels=book%3AACME&channels=orders", {"book:ACME": None, "orders:me": None}),
    ],
)
def test_what_clients_ask_for(query: str, expected: dict[str, int | None]) -> None:
    assert read_subscription(query, "me") == Subscription(expected)


@pytest.mark.parametrize(
    ("query", "account", "code"),
    [
        ("", "me", "no-channels"),
        ("channels=", "me", "no-channels"),
        ("channels=ticks:ACME", "me", "unknown-channel"),
        ("channels=book:NONE", "me", "unknown-instrument"),
        ("channels=orders", None, "unauthorised"),
        ("channels=orders:you", "me", "forbidden"),
        ("channels=book:ACME&last_seq=x", "me", "last-seq"),
        ("channels=book:ACME&last_seq=-1", "me", "last-seq"),
        ("channels=book:ACME,orders&last_seq=4", "me", "last-seq"),
        ("channels=book:ACME&last_seq=trades:ACME=4", "me", "last-seq"),
        ("channels=book:ACME&last_seq=nonsense=4", "me", "unknown-channel"),
    ],
)
def test_refusals(query: str, account: str | None, code: str) -> None:
    refusal = read_subscription(query, account)
    assert isinstance(refusal, Refusal)
    assert refusal.code == code
