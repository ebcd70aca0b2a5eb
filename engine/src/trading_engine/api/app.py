"""The REST interface. An order is acknowledged when its command is committed to the log, before it is matched.

Its state arrives by query, WebSocket or FIX. The same client order id again gets the stored outcome, so that a client
which heard no answer can ask again; a different order under the same id is refused.
"""

from typing import Annotated, Any

from litestar import Litestar, Request, Response, delete, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide
from litestar.exceptions import HTTPException, NotAuthorizedException, NotFoundException
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import Meta, Struct

from trading_engine.api.sequencer import Sequencer
from trading_engine.core.codes import OrderStatus, OrderType, Side, TimeInForce
from trading_engine.core.commands import CancelOrder, SubmitOrder
from trading_engine.core.instruments import INSTRUMENTS
from trading_engine.core.risk import order_refusal
from trading_engine.journal.database import Database, DatabaseUnavailable
from trading_engine.journal.queries import (
    BookView,
    OrderView,
    PositionView,
    find_order,
    list_orders,
    list_positions,
    read_book,
)
from trading_engine.service.metrics import ORDERS
from trading_engine.settings import ApiKeys

ROUTES = ("/orders", "/book", "/positions")
OrderId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.:-]{1,64}$")]


class NewOrder(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /orders`. Prices are whole ticks, quantities whole lots; a market order has no price."""

    client_order_id: OrderId
    instrument: str
    side: Side
    type: OrderType
    quantity_lots: int
    price_ticks: int = 0
    time_in_force: TimeInForce = TimeInForce.GOOD_TILL_CANCEL


class Problem(Struct, frozen=True):
    """Every refusal: a stable code and a reason in words."""

    code: str
    reason: str


class CancelView(Struct, frozen=True):
    """The answer to a cancel: it is in the log; whether it came in time shows in the order's status."""

    client_order_id: str
    cancel_seq: int
    order: OrderView


class Services:
    """What the handlers need; kept in the application's state."""

    def __init__(self, database: Database, keys: ApiKeys) -> None:
        self.database = database
        self.keys = keys
        self.sequencer = Sequencer(database)


async def provide_account(request: Request[object, object, State]) -> str:
    """The account of the caller's API key."""
    services: Services = request.app.state.services
    account = services.keys.account(request.headers.get("x-api-key", ""))
    if account is None:
        raise NotAuthorizedException("send a valid key in the header X-API-Key")
    return account


async def provide_services(state: State) -> Services:
    """The services of this application."""
    services: Services = state.services
    return services


Account = NamedDependency[str]
Needs = NamedDependency[Services]


@post("/orders", status_code=201)
async def submit_order(data: JSONBody[NewOrder], account: Account, services: Needs) -> Response[OrderView | Problem]:
    """Commits a new order to the log: 201, or 200 with the stored outcome if this id was committed before."""
    command = SubmitOrder(
        account=account,
        client_order_id=data.client_order_id,
        instrument=data.instrument,
        side=data.side,
        order_type=data.type,
        quantity_lots=data.quantity_lots,
        price_ticks=data.price_ticks,
        time_in_force=data.time_in_force,
    )
    refusal = order_refusal(command)
    if refusal is not None:
        ORDERS.labels("http", "refused").inc()
        return _problem(400, refusal.value, f"order {data.client_order_id} was not taken: {refusal.value}")
    sequenced = await services.sequencer.append(command)
    if sequenced.fresh:
        ORDERS.labels("http", "sequenced").inc()
        return Response(OrderView(data.client_order_id, sequenced.seq, OrderStatus.SEQUENCED.value), status_code=201)
    if sequenced.conflict:
        ORDERS.labels("http", "conflict").inc()
        return _problem(409, "id-in-use", f"another order is already known as {data.client_order_id}; take a new id")
    ORDERS.labels("http", "repeated").inc()
    stored = await find_order(services.database, account, data.client_order_id)
    return Response(
        stored or OrderView(data.client_order_id, sequenced.seq, OrderStatus.SEQUENCED.value), status_code=200
    )


@delete("/orders/{client_order_id:str}", status_code=202)
async def cancel_order(client_order_id: FromPath[str], account: Account, services: Needs) -> Response[CancelView]:
    """Commits a cancel of the order to the log: 202, or 200 if it was asked for before."""
    order = await _existing_order(services, account, client_order_id)
    # Clients cannot choose an id with a slash, so this one is never in the way of an order's.
    command = CancelOrder(account=account, request_id=f"cancel/{client_order_id}", client_order_id=client_order_id)
    sequenced = await services.sequencer.append(command)
    view = CancelView(client_order_id, sequenced.seq, order)
    return Response(view, status_code=202 if sequenced.fresh else 200)


@get("/orders/{client_order_id:str}")
async def get_order(client_order_id: FromPath[str], account: Account, services: Needs) -> OrderView:
    """One order of the account."""
    return await _existing_order(services, account, client_order_id)


@get("/orders")
async def get_orders(
    account: Account,
    services: Needs,
    limit: Annotated[int, QueryParameter(ge=1, le=1000)] = 100,
) -> list[OrderView]:
    """The newest orders of the account."""
    return await list_orders(services.database, account, limit=limit)


@get("/book/{instrument:str}")
async def get_book(instrument: FromPath[str], account: Account, services: Needs) -> BookView:
    """The book of an instrument."""
    if instrument not in INSTRUMENTS:
        raise NotFoundException(f"no instrument {instrument}; there are {', '.join(INSTRUMENTS)}")
    return await read_book(services.database, instrument)


@get("/positions")
async def get_positions(account: Account, services: Needs) -> list[PositionView]:
    """What the account holds."""
    return await list_positions(services.database, account)


async def _existing_order(services: Services, account: str, client_order_id: str) -> OrderView:
    order = await find_order(services.database, account, client_order_id)
    if order is None:
        raise NotFoundException(f"no order {client_order_id}")
    return order


def _problem(status: int, code: str, reason: str, *, retry: bool = False) -> Response[Any]:
    headers = {"Retry-After": "1"} if retry else None
    return Response(Problem(code, reason), status_code=status, headers=headers)


def _http_problem(_: object, error: HTTPException) -> Response[Problem]:
    codes = {400: "invalid", 401: "unauthorised", 404: "not-found", 405: "method"}
    reason = str(error.detail)
    extra = getattr(error, "extra", None)
    if isinstance(extra, list):
        reason = "; ".join(f"{item.get('key', 'body')}: {item.get('message')}" for item in extra)
    return _problem(error.status_code, codes.get(error.status_code, "error"), reason)


def _database_problem(_: object, error: DatabaseUnavailable) -> Response[Problem]:
    reason = "the log does not answer; ask again with the same client order id"
    return _problem(503, "database-unavailable", reason, retry=True)


def _internal_problem(_: object, error: Exception) -> Response[Problem]:
    return _problem(500, "internal", type(error).__name__)


def create_app(database: Database, keys: ApiKeys) -> Litestar:
    """The application of the api service."""
    return Litestar(
        [submit_order, cancel_order, get_order, get_orders, get_book, get_positions],
        dependencies={"account": Provide(provide_account), "services": Provide(provide_services)},
        exception_handlers={
            HTTPException: _http_problem,
            DatabaseUnavailable: _database_problem,
            Exception: _internal_problem,
        },
        openapi_config=None,
        logging_config=None,
        state=State({"services": Services(database, keys)}),
    )
