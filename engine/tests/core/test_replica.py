from trading_engine.core.codes import OrderType, Side
from trading_engine.core.commands import LoggedCommand, SubmitOrder
from trading_engine.core.replica import GENESIS, Replica


def order(seq: int, price_ticks: int) -> LoggedCommand:
    side = Side.BUY if seq % 2 else Side.SELL
    return LoggedCommand(seq, seq, SubmitOrder("a", f"o{seq}", "ACME", side, OrderType.LIMIT, 3, price_ticks))


def test_equal_logs_have_equal_chains_and_a_difference_stays_for_ever() -> None:
    one, two, other = Replica(), Replica(), Replica()
    for seq in range(1, 20):
        one.apply(order(seq, 100))
        two.apply(order(seq, 100))
        other.apply(order(seq, 100 if seq != 5 else 101))
        assert one.chain == two.chain
        assert (one.chain == other.chain) is (seq < 5)


def test_a_replica_starts_at_genesis() -> None:
    assert (Replica().chain, Replica().applied_seq) == (GENESIS, 0)


def test_snapshot_keeps_chain_and_state() -> None:
    replica = Replica()
    for seq in range(1, 8):
        replica.apply(order(seq, 100 + seq))
    restored = Replica.from_snapshot(replica.snapshot())
    assert (restored.chain, restored.applied_seq) == (replica.chain, 7)
    assert [e.payload for e in restored.apply(order(8, 100))] == [e.payload for e in replica.apply(order(8, 100))]
    assert restored.chain == replica.chain


def test_the_chain_is_the_same_in_every_process() -> None:
    replica = Replica()
    for seq in range(1, 4):
        replica.apply(order(seq, 100))
    assert replica.chain == "8a8ac7bae3b60c274fe1d9635c69d10c"
