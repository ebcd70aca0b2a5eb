"""Ports of this machine that lead to Services of a cluster, by `kubectl port-forward`, while somebody needs them.

Source: https://kubernetes.io/docs/reference/kubectl/generated/kubectl_port-forward/
"""

import asyncio
import contextlib
import re
import shutil
from collections.abc import AsyncIterator, Mapping

from openbell.ports import AdapterError

SYSTEM = "kubectl"
START_TIMEOUT_S = 20.0
END_TIMEOUT_S = 5.0
_FORWARDING = re.compile(rb"^Forwarding from 127\.0\.0\.1:(\d+) ->")


@contextlib.asynccontextmanager
async def forwarded(
    context: str, namespace: str, services: Mapping[str, tuple[str, int]]
) -> AsyncIterator[dict[str, int]]:
    """Open a port of 127.0.0.1 for each Service and its port, under the names given; closed at the end of the block.

    Raises a retryable `AdapterError` with what kubectl says.
    """
    program = shutil.which("kubectl")
    if program is None:
        message = "kubectl is not on PATH; it is needed to reach a slot that has no traffic yet"
        raise AdapterError(SYSTEM, "port-forward", message, effect="not_applied")
    where = ["--namespace", namespace, *(["--context", context] if context else [])]
    async with contextlib.AsyncExitStack() as stack:
        ports = {}
        for name, (service, port) in services.items():
            process = await asyncio.create_subprocess_exec(
                program, "port-forward", *where, "--address", "127.0.0.1", f"service/{service}", f":{port}",
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            )  # fmt: skip
            stack.push_async_callback(_end, process)
            ports[name] = await _port_of(process, service)
            # It says a line for each connection, and would stop when nobody takes them.
            reading = asyncio.create_task(_read_on(process))
            stack.callback(reading.cancel)
        yield ports


async def _port_of(process: asyncio.subprocess.Process, service: str) -> int:
    said = b""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(START_TIMEOUT_S):
            while process.stdout is not None and (line := await process.stdout.readline()):
                found = _FORWARDING.match(line)
                if found:
                    return int(found[1])
                said += line
    text = said.decode(errors="replace").strip() or f"no answer within {START_TIMEOUT_S:g} s"
    message = f"service/{service} cannot be reached: {text}"
    raise AdapterError(SYSTEM, "port-forward", message, retryable=True, effect="not_applied")


async def _read_on(process: asyncio.subprocess.Process) -> None:
    while process.stdout is not None and await process.stdout.read(65536):
        pass


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), END_TIMEOUT_S)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
