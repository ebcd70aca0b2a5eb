"""The command line: `trading-engine COMMAND`. Each command imports only what it needs, so that a start stays short."""

import argparse
import sys
from collections.abc import Sequence

from trading_engine.settings import SettingsError, read_database_url, read_keys, read_settings
from trading_engine.version import service_version


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="trading-engine",
        description="A trading engine in four services around one log.",
        epilog="Environment: DATABASE_URL, VALKEY_URL, TRADING_ENGINE_API_KEYS, OPENBELL_SLOT, OPENBELL_INSTANCE.",
    )
    parser.add_argument("--version", action="version", version=service_version())
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, what in (
        ("api", "REST: orders, books, positions"),
        ("websocket", "streams of books, trades and own orders"),
        ("worker", "the matcher: leads or shadows"),
        ("fix-gateway", "FIX 4.4 sessions"),
    ):
        service = commands.add_parser(name, help=what)
        service.add_argument("--port", type=int, required=True, help="port of the service")
        service.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
        if name == "fix-gateway":
            service.add_argument("--http-port", type=int, required=True, help="port of /healthz, /metrics, /drain")
    migrate = commands.add_parser("migrate", help="bring the database schema up to date; may be repeated")
    migrate.add_argument("phase", choices=("expand", "contract"))
    smoke = commands.add_parser("smoke", help="check each service end to end, without touching a customer's book")
    flow = commands.add_parser("flow", help="generate orders, then account for every one of them")
    for client in (smoke, flow):
        client.add_argument("--api", metavar="URL", default=None)
        client.add_argument("--websocket", metavar="URL", default=None)
        client.add_argument("--fix", metavar="HOST:PORT", default=None)
    flow.add_argument("--rate", type=float, default=50, help="REST requests per second (default 50)")
    flow.add_argument("--fix-sessions", type=int, default=2, help="FIX sessions, one order per second each (default 2)")
    flow.add_argument("--streams", type=int, default=2, help="WebSocket streams (default 2)")
    flow.add_argument("--report", metavar="FILE", required=True, help="where to write the account (JSON)")
    flow.add_argument("--duration", type=float, default=None, metavar="S", help="seconds; default until SIGTERM")
    flow.add_argument("--seed", type=int, default=1, help="seed of the orders (default 1)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    options = _parser().parse_args(arguments)
    try:
        return _run(options)
    except SettingsError as error:
        print(f"trading-engine {options.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _run(options: argparse.Namespace) -> int:
    match options.command:
        case "api":
            from trading_engine.api.service import run as run_api

            return run_api(read_settings(), host=options.host, port=options.port)
        case "websocket":
            from trading_engine.websocket.service import run as run_websocket

            return run_websocket(read_settings(), host=options.host, port=options.port)
        case "worker":
            from trading_engine.worker.service import run as run_worker

            return run_worker(read_settings(), host=options.host, port=options.port)
        case "fix-gateway":
            from trading_engine.fix_gateway.service import run as run_gateway

            return run_gateway(read_settings(), host=options.host, port=options.port, http_port=options.http_port)
        case "migrate":
            return _migrate(options.phase)
        case "smoke":
            from trading_engine.smoke import run as run_smoke

            return run_smoke(read_keys(), api=options.api, websocket=options.websocket, fix=options.fix)
        case _:
            from trading_engine.flow.command import run as run_flow

            return run_flow(read_keys(), read_database_url(), options)


def _migrate(phase: str) -> int:
    import asyncio

    from trading_engine.journal.database import DATABASE_ERRORS
    from trading_engine.journal.migrations import migrate

    try:
        applied = asyncio.run(migrate(read_database_url(), phase))
    except DATABASE_ERRORS as error:
        print(f"trading-engine migrate: PostgreSQL: {error or 'no answer'}. Nothing was changed.", file=sys.stderr)
        return 1
    for step in applied:
        print(f"applied: {step}")
    print(f"{phase}: {len(applied)} applied" if applied else f"{phase}: nothing to do")
    return 0
