from trading_engine.flow.ledger import Ledger
from trading_engine.flow.orders import OrderSource


def test_requests_by_version() -> None:
    ledger = Ledger()
    assert (ledger.p95_ms(), ledger.http()["requests"]) == (0.0, 0)
    for count in range(100):
        ledger.answer("1.0.0", failed=False, latency_ms=float(count), at_s=10.0 + count)
    ledger.answer("1.2.0", failed=True, latency_ms=9_999.0, at_s=50.0)
    ledger.answer("none", failed=True, latency_ms=9_999.0, at_s=51.0)
    http = ledger.http()
    assert (http["requests"], http["failed"], http["p95_ms"]) == (102, 2, 95.0)
    assert http["failed_by_version"] == {"1.2.0": 1, "none": 1}
    assert http["by_version"]["1.0.0"] == {"requests": 100, "failed": 0, "first_at": 10.0, "last_at": 109.0}


def test_orders_are_the_same_for_the_same_seed_and_ids_never_repeat() -> None:
    one, two = OrderSource(7, "a-"), OrderSource(7, "a-")
    assert [one.next_order("x") for _ in range(50)] == [two.next_order("x") for _ in range(50)]
    assert len({one.next_id() for _ in range(50)}) == 50
