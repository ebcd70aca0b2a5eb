import pytest

from trading_engine.core.commands import CancelOrder, SubmitOrder
from trading_engine.fix_gateway.codec import Fields, FixMessage
from trading_engine.fix_gateway.session import Action, Append, Disconnect, FixSession, Reply, Resend

ORDER = [(11, "o1"), (55, "ACME"), (54, "1"), (60, "t"), (38, "5"), (40, "2"), (44, "1.00")]


def message(message_type: str, seq: int, fields: Fields = (), *, sender: str = "DESK") -> FixMessage:
    return FixMessage([(8, "FIX.4.4"), (35, message_type), (34, str(seq)), (49, sender), (56, "ENGINE"), *fields])


def session(incoming_seq: int = 5) -> FixSession:
    return FixSession(sender="DESK", target="ENGINE", account="a", incoming_seq=incoming_seq, outgoing_seq=9)


def replies(actions: list[Action]) -> list[tuple[str, dict[int, str]]]:
    return [(action.type, dict(action.fields)) for action in actions if isinstance(action, Reply)]


def test_logon_in_order() -> None:
    state = session()
    assert replies(state.logon(message("A", 6, [(108, "15")]))) == [("A", {98: "0", 108: "15"})]
    assert (state.incoming_seq, state.heartbeat_s) == (6, 15)


def test_logon_too_high_answers_then_asks_for_the_missing() -> None:
    state = session()
    assert replies(state.logon(message("A", 9, [(108, "30")]))) == [
        ("A", {98: "0", 108: "30"}),
        ("2", {7: "6", 16: "0"}),
    ]
    assert state.incoming_seq == 5


def test_logon_too_low_ends_in_logout() -> None:
    actions = session().logon(message("A", 3, [(108, "30")]))
    assert replies(actions) == [("5", {58: "MsgSeqNum too low, expecting 6 but received 3"})]
    assert isinstance(actions[-1], Disconnect)


def test_logon_with_reset_starts_at_one() -> None:
    state = session()
    assert replies(state.logon(message("A", 1, [(108, "30"), (141, "Y")])))[0][1][141] == "Y"
    assert (state.incoming_seq, state.outgoing_seq) == (1, 0)


def test_a_gap_is_asked_for_once_and_later_ones_wait() -> None:
    state = session()
    assert replies(state.receive(message("D", 8, ORDER))) == [("2", {7: "6", 16: "0"})]
    assert state.receive(message("D", 9, ORDER)) == []
    for seq in (6, 7, 8):
        assert isinstance(state.receive(message("D", seq, [*ORDER, (43, "Y")]))[0], Append)
    assert replies(state.receive(message("0", 10))) == [("2", {7: "9", 16: "0"})], "a new gap is asked for again"


def test_duplicates_are_ignored_and_numbers_too_low_are_not() -> None:
    state = session()
    assert state.receive(message("D", 4, [*ORDER, (43, "Y")])) == []
    assert isinstance(state.receive(message("D", 4, ORDER))[-1], Disconnect)


def test_gap_fill_and_reset() -> None:
    state = session()
    assert state.receive(message("4", 6, [(123, "Y"), (36, "20")])) == []
    assert state.expected_seq == 20
    assert state.receive(message("4", 1, [(123, "N"), (36, "30")])) == []
    assert state.expected_seq == 30
    assert replies(state.receive(message("4", 1, [(36, "7")])))[0][0] == "3"
    assert state.expected_seq == 30, "numbers never fall"


def test_gap_fill_must_rise() -> None:
    state = session()
    assert replies(state.receive(message("4", 6, [(123, "Y"), (36, "6")])))[0][0] == "3"
    assert state.expected_seq == 7


def test_resend_request_is_answered_even_out_of_order() -> None:
    assert session().receive(message("2", 6, [(7, "2"), (16, "4")])) == [Resend(2, 4)]
    actions = session().receive(message("2", 8, [(7, "2"), (16, "0")]))
    assert actions[0] == Resend(2, 0)
    assert replies(actions) == [("2", {7: "6", 16: "0"})]


def test_orders_and_cancels_become_commands() -> None:
    state = session()
    (append,) = state.receive(message("D", 6, ORDER))
    assert isinstance(append, Append)
    assert isinstance(append.command, SubmitOrder)
    assert (append.command.price_ticks, append.command.quantity_lots, append.command.origin) == (100, 5, "DESK")
    (append,) = state.receive(message("F", 7, [(11, "c1"), (41, "o1"), (55, "ACME"), (54, "1"), (60, "t")]))
    assert isinstance(append, Append)
    assert append.command == CancelOrder("a", "c1", "o1", "DESK")
    assert state.duplicate(append).type == "9"


@pytest.mark.parametrize(
    ("changed", "tag", "reason"),
    [
        ((54, "7"), "54", "5"),
        ((40, "P"), "40", "5"),
        ((59, "6"), "59", "5"),
        ((38, "many"), "38", "5"),
        ((44, "NaN"), "44", "5"),
        ((11, "a/b"), "11", "5"),
        ((11, "x" * 65), "11", "5"),
    ],
)
def test_values_that_cannot_be_understood_are_rejected(changed: tuple[int, str], tag: str, reason: str) -> None:
    state = session()
    fields = [*(field for field in ORDER if field[0] != changed[0]), changed]
    ((kind, reject),) = replies(state.receive(message("D", 6, fields)))
    assert (kind, reject[371], reject[373], reject[45]) == ("3", tag, reason, "6")
    assert state.incoming_seq == 6, "the number counts"


@pytest.mark.parametrize(
    ("changed", "code"), [((55, "NONE"), "1"), ((44, "1.001"), "99"), ((38, "0"), "13"), ((38, "99999999"), "13")]
)
def test_orders_that_cannot_be_taken_are_reported(changed: tuple[int, str], code: str) -> None:
    fields = [*(field for field in ORDER if field[0] != changed[0]), changed]
    ((kind, report),) = replies(session().receive(message("D", 6, fields)))
    assert (kind, report[150], report[103]) == ("8", "8", code)


def test_wrong_identity_ends_the_session() -> None:
    actions = session().receive(message("0", 6, sender="SOMEBODY"))
    assert isinstance(actions[-1], Disconnect)


def test_goodbye_and_second_logon() -> None:
    state = session()
    assert replies(state.receive(message("A", 6, [(98, "0"), (108, "30")])))[0][0] == "3"
    actions = state.receive(message("5", 7))
    assert (replies(actions)[0][0], actions[-1]) == ("5", Disconnect("logged out"))
    assert isinstance(session().receive(message("5", 30))[-1], Disconnect), "even with a number too high"
