"""The rules of a FIX 4.4 session, on the acceptor's side: what a received message means for numbers and replies.

It decides and does nothing: no socket, no database, no clock. The connection carries out what it says, in order.
Source: FIX 4.4 volume 2, session protocol; the table of message sequence rules.
"""

from msgspec import Struct

from trading_engine.core.commands import CancelOrder, Command
from trading_engine.fix_gateway.codec import Fields, FixMessage
from trading_engine.fix_gateway.dictionary import (
    CANCEL_REJECT,
    EXECUTION_REPORT,
    HEARTBEAT,
    INVALID_TAG_VALUE,
    LOGON,
    LOGOUT,
    REJECT,
    REQUIRED_TAG_MISSING,
    REQUIRED_TAGS,
    RESEND_REQUEST,
    SEQUENCE_RESET,
    BadValue,
    OrderRefused,
    cancel_refusal,
    read_cancel,
    read_order,
    refusal_report,
)

_CLIENT_ID_MAX = 64


class Reply(Struct, frozen=True):
    """Send a new message."""

    type: str
    fields: Fields


class Append(Struct, frozen=True):
    """Append a command to the log, in the same transaction as the incoming number."""

    command: Command
    message: FixMessage


class Resend(Struct, frozen=True):
    """Send again what was sent from `begin_seq` to `end_seq`."""

    begin_seq: int
    end_seq: int


class Disconnect(Struct, frozen=True):
    """End the connection after everything before it was sent."""

    reason: str


Action = Reply | Append | Resend | Disconnect


class FixSession:
    """The state of one session while it is logged on."""

    def __init__(self, *, sender: str, target: str, account: str, incoming_seq: int, outgoing_seq: int) -> None:
        self.sender = sender
        self.target = target
        self.account = account
        self.incoming_seq = incoming_seq
        self.outgoing_seq = outgoing_seq
        self.heartbeat_s = 30
        self._resend_upto = 0

    @property
    def expected_seq(self) -> int:
        """The number that the next message must have."""
        return self.incoming_seq + 1

    def logon(self, message: FixMessage) -> list[Action]:
        """The first message of a connection, from a counterparty that has proved who it is."""
        self.heartbeat_s = min(max(int(message.get(108, "30")), 1), 120)
        reset = message.get(141) == "Y"
        if reset:
            self.incoming_seq = self.outgoing_seq = 0
        if message.seq < self.expected_seq and not message.possible_duplicate:
            return self._too_low(message)
        # nosemgrep: sequence-numbers-reset - the counterparty asked for it
        answer = [(98, "0"), (108, str(self.heartbeat_s)), *([(141, "Y")] if reset else [])]
        actions: list[Action] = [Reply(LOGON, answer)]
        if message.seq > self.expected_seq:
            actions.append(self._ask_resend(message.seq))
        elif message.seq == self.expected_seq:
            self.incoming_seq = message.seq
        return actions

    def receive(self, message: FixMessage) -> list[Action]:
        """Any message after the Logon."""
        if message.get(8) != "FIX.4.4" or message.get(49) != self.sender or message.get(56) != self.target:
            return [self._logout("BeginString or CompID is wrong"), Disconnect("wrong identity")]
        if message.type == SEQUENCE_RESET and message.get(123) != "Y":
            return self._reset(message)
        if message.seq < self.expected_seq:
            return [] if message.possible_duplicate else self._too_low(message)
        if message.seq > self.expected_seq:
            return self._too_high(message)
        self.incoming_seq = message.seq
        if self.incoming_seq >= self._resend_upto:
            self._resend_upto = 0
        missing = next((tag for tag in REQUIRED_TAGS.get(message.type, ()) if not message.get(tag)), None)
        if missing is not None:
            return [self._reject(message, REQUIRED_TAG_MISSING, f"tag {missing} is required", tag=missing)]
        try:
            return self._process(message)
        except BadValue as error:
            return [self._reject(message, INVALID_TAG_VALUE, str(error), tag=error.tag)]

    def _process(self, message: FixMessage) -> list[Action]:
        match message.type:
            case "0" | "3":
                return []
            case "1":
                return [Reply(HEARTBEAT, [(112, message.get(112))])]
            case "2":
                return self._resend(message)
            case "4":
                return self._gap_fill(message)
            case "5":
                return [self._logout("goodbye"), Disconnect("logged out")]
            case "A":
                return [self._reject(message, 99, "already logged on")]
            case "D":
                return self._new_order(message)
            case "F":
                return self._cancel_request(message)
            case _:
                return [self._reject(message, 11, f"message type {message.type} is not supported")]

    def _new_order(self, message: FixMessage) -> list[Action]:
        self._check_client_id(message, 11)
        try:
            return [Append(read_order(message, self.account, self.sender), message)]
        except OrderRefused as refused:
            return [Reply(EXECUTION_REPORT, refusal_report(message, refused.code, str(refused), number=message.seq))]

    def _cancel_request(self, message: FixMessage) -> list[Action]:
        self._check_client_id(message, 11)
        return [Append(read_cancel(message, self.account, self.sender), message)]

    def duplicate(self, append: Append) -> Reply:
        """The answer to a client id that the log already knows for something else."""
        if isinstance(append.command, CancelOrder):
            reason = f"ClOrdID {append.command.request_id} was used before"
            return Reply(
                CANCEL_REJECT, cancel_refusal(append.command.request_id, append.command.client_order_id, reason)
            )
        reason = f"ClOrdID {append.command.client_order_id} was used before"
        return Reply(EXECUTION_REPORT, refusal_report(append.message, "6", reason, number=append.message.seq))

    def _resend(self, message: FixMessage) -> list[Action]:
        begin, end = message.get(7), message.get(16)
        if not begin.isdecimal() or not end.isdecimal() or int(begin) < 1:
            raise BadValue(7, begin)
        return [Resend(int(begin), int(end))]

    def _gap_fill(self, message: FixMessage) -> list[Action]:
        new_seq = message.get(36)
        if not new_seq.isdecimal() or int(new_seq) <= message.seq:
            return [self._reject(message, INVALID_TAG_VALUE, f"NewSeqNo {new_seq} does not rise", tag=36)]
        self.incoming_seq = int(new_seq) - 1
        return []

    def _reset(self, message: FixMessage) -> list[Action]:
        """SequenceReset in reset mode, the means of last resort: MsgSeqNum is ignored, the number may only rise."""
        new_seq = message.get(36)
        if not new_seq.isdecimal() or int(new_seq) < self.expected_seq:
            return [self._reject(message, INVALID_TAG_VALUE, f"NewSeqNo {new_seq} < {self.expected_seq}", tag=36)]
        self.incoming_seq = int(new_seq) - 1
        return []

    def _too_low(self, message: FixMessage) -> list[Action]:
        text = f"MsgSeqNum too low, expecting {self.expected_seq} but received {message.seq}"
        return [self._logout(text), Disconnect(text)]

    def _too_high(self, message: FixMessage) -> list[Action]:
        if message.type == LOGOUT:
            return [self._logout("goodbye"), Disconnect("logged out")]
        # Answered at once although its own turn has not come: else two sides that both miss something wait for ever.
        actions = self._resend(message) if message.type == RESEND_REQUEST else []
        if not self._resend_upto:
            actions.append(self._ask_resend(message.seq))
        return actions

    def _ask_resend(self, seen_seq: int) -> Reply:
        self._resend_upto = seen_seq
        return Reply(RESEND_REQUEST, [(7, str(self.expected_seq)), (16, "0")])

    def _check_client_id(self, message: FixMessage, tag: int) -> None:
        value = message.get(tag)
        # A slash is kept for ids that the engine itself makes up.
        if len(value) > _CLIENT_ID_MAX or "/" in value or not value.isprintable() or not value.isascii():
            raise BadValue(tag, value)

    @staticmethod
    def _logout(text: str) -> Reply:
        return Reply(LOGOUT, [(58, text)])

    @staticmethod
    def _reject(message: FixMessage, reason: int, text: str, *, tag: int | None = None) -> Reply:
        fields = [(45, str(message.seq)), (372, message.type), (373, str(reason)), (58, text)]
        return Reply(REJECT, fields if tag is None else [*fields, (371, str(tag))])
