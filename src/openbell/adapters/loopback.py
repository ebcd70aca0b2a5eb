"""Ports on 127.0.0.1: free ones, chosen once and remembered, and who has one that is taken.

Ports are taken from below the range that the kernel gives to outgoing connections, so that none is lost to one of those
while its server is down. Where the search begins depends on the environment's folder: the same environment, made anew,
gets the same ports. Source: ip(7), `ip_local_port_range`; psutil.
"""

import hashlib
import socket
from pathlib import Path

import msgspec
import psutil

from openbell.files import write_whole
from openbell.ports import AdapterError

SYSTEM = "ports"
PORT_MIN, PORT_MAX = 20000, 32767


class PortBook:
    """The ports of one environment by name, in a file beside those of its siblings; no two of them share a port."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def ports(self) -> dict[str, int]:
        """All remembered ports by name."""
        return _read(self._path)

    def port(self, name: str) -> int:
        """Return the port of this name; the first time a free one is chosen, and remembered from then on."""
        known = self.ports()
        if name not in known:
            known[name] = self._choose(known)
            write_whole(self._path, msgspec.json.format(msgspec.json.encode(known), indent=2), durable=True)
        return known[name]

    def forget(self, names: set[str] | None = None) -> None:
        """Forget some names, or all, so that their ports are chosen anew."""
        kept = {} if names is None else {name: port for name, port in self.ports().items() if name not in names}
        write_whole(self._path, msgspec.json.format(msgspec.json.encode(kept), indent=2), durable=True)

    def _choose(self, known: dict[str, int]) -> int:
        taken = set(known.values())
        for sibling in self._path.parent.parent.glob(f"*/{self._path.name}"):
            taken |= set(_read(sibling).values())
        span = PORT_MAX - PORT_MIN + 1
        begin = int.from_bytes(hashlib.sha256(str(self._path).encode()).digest()[:4], "big") % span
        for step in range(span):
            port = PORT_MIN + (begin + step) % span
            if port not in taken and is_free(port):
                return port
        raise AdapterError(SYSTEM, "choose", f"no free port between {PORT_MIN} and {PORT_MAX}", effect="not_applied")


def is_free(port: int) -> bool:
    """Say whether a server could listen on the port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def holder(port: int) -> str:
    """Name the process that listens on a port, as well as this user may know it."""
    try:
        listening = [c for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
        pid = next((c.pid for c in listening if c.laddr and c.laddr.port == port and c.pid), None)
        if pid is not None:
            return f"{psutil.Process(pid).name()} (process {pid})"
    except psutil.Error:
        pass
    return "another user's process"


def _read(path: Path) -> dict[str, int]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, int])
    except FileNotFoundError:
        return {}
    except msgspec.DecodeError as error:
        message = f"{path} is damaged ({error}). Remove it; other ports are chosen then."
        raise AdapterError(SYSTEM, "read", message, effect="not_applied") from error
