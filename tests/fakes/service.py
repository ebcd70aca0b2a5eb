"""A tiny service for tests of the platform: health, readiness, drain, and the misbehaviour its environment asks for.

Run as a program. Serves HTTP on `--port`; with `--http-port` it serves lines of TCP on `--port` (as a FIX service
would) and HTTP there. Environment: FAIL=start|ready|health, LATENCY_S, ERRORS (every nth request fails), CRASH_FILE
(ends at once while this file exists).
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import time

FAIL = os.environ.get("FAIL", "")
ERRORS = int(os.environ.get("ERRORS", "0"))
LATENCY_S = float(os.environ.get("LATENCY_S", "0"))
CRASH_FILE = os.environ.get("CRASH_FILE", "")
IDENTITY = {
    name: os.environ.get(f"OPENBELL_{name.upper()}", "") for name in ("slot", "instance", "version", "environment")
}


class Service:
    def __init__(self) -> None:
        self.requests = 0
        self.sessions: set[asyncio.StreamWriter] = set()
        self.drained_to = ""
        self.begun = time.monotonic()

    async def http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                method, path, _ = line.decode().split(" ", 2)
                length = 0
                while (header := (await reader.readline()).decode().strip().lower()) != "":
                    if header.startswith("content-length:"):
                        length = int(header.partition(":")[2])
                body = await reader.readexactly(length)
                status, answer = await self.answer(method, path, body)
                content = json.dumps(answer).encode()
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(content)) + content)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def answer(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, object]]:
        if path == "/healthz":
            return (500 if FAIL == "health" else 200), {}
        if path == "/readyz":
            return (503 if FAIL == "ready" else 200), {}
        if path == "/drain":
            if method == "POST":
                self.drained_to = json.loads(body)["to"]
                for session in self.sessions:
                    session.write(b"bye\n")
                    session.close()
            return 202, {"state": "draining", "remaining": len(self.sessions)}
        if path == "/environment":
            return 200, dict(os.environ)
        self.requests += 1
        await asyncio.sleep(LATENCY_S)
        failed = bool(ERRORS) and self.requests % ERRORS == 0
        return (500 if failed else 200), {**IDENTITY, "drained_to": self.drained_to, "pid": os.getpid()}

    async def lines(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.sessions.add(writer)
        try:
            writer.write(json.dumps(IDENTITY).encode() + b"\n")
            while line := await reader.readline():
                writer.write(line)
        except ConnectionError:
            pass
        finally:
            self.sessions.discard(writer)
            writer.close()


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--http-port", type=int)
    arguments = parser.parse_args()
    if FAIL == "start" or (CRASH_FILE and os.path.exists(CRASH_FILE)):  # noqa: ASYNC240, PTH110  (starts faster)
        sys.exit("the configuration is broken, says the service")
    service = Service()
    await asyncio.start_server(service.http, arguments.host, arguments.http_port or arguments.port)
    if arguments.http_port:
        await asyncio.start_server(service.lines, arguments.host, arguments.port)
    sys.stdout.write(f"ready {IDENTITY}\n")
    sys.stdout.flush()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()


if __name__ == "__main__":
    asyncio.run(main())
