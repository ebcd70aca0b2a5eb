"""HAProxy's configuration file and its map, as pure functions of what serves where.

Each service has one backend per slot, `SERVICE_SLOT`. A frontend per service faces the customers; it draws one of 100
buckets for each request, and the map tells for service and bucket which backend serves. Two more frontends per service
lead straight to one slot each, for smoke tests. FIX is TCP: its map has a single bucket that counts. A `leader` has no
frontend, only backends, for their health checks.
"""

import hashlib
from collections.abc import Callable

import msgspec

from openbell.machine import Server, ServiceCheck
from openbell.ports import SLOTS

BUCKETS = 100
CHECK = "check inter 500ms fall 3 rise 1"
LOG_TAG = "openbell"
LOG_FORMAT = f"{LOG_TAG} %[date(0,ms)] %b %s %ST %Ta %ts"
SESSION_LOG_FORMAT = f"{LOG_TAG}-session %[date(0,ms)] %b %s %Tt %ts"


class Topology(msgspec.Struct):
    """All that the configuration is made from: services by slot, their servers, and which of these are paused."""

    checks: dict[str, dict[str, ServiceCheck]] = {}
    servers: dict[str, Server] = {}
    paused: set[str] = set()

    def services(self) -> dict[str, ServiceCheck]:
        """The services of all slots."""
        return {name: check for slot in SLOTS for name, check in sorted(self.checks.get(slot, {}).items())}

    def owners(self, service: str) -> list[str]:
        """The slots whose release has the service."""
        return [slot for slot in SLOTS if service in self.checks.get(slot, {})]


class Place(msgspec.Struct, frozen=True):
    """Where HAProxy's files and sockets are, how many threads it may use, and the port of each frontend by its name."""

    socket: str
    map_file: str
    threads: int
    port_of: Callable[[str], int]


def address_of(server: Server) -> str:
    """Name a server as HAProxy's commands do."""
    return f"{server.service}_{server.slot}/{server.name}"


def frontends(service: str, check: ServiceCheck) -> list[str]:
    """Name the frontends of a service, the public one ("api") first, then one per slot ("blue/api")."""
    return [] if check.protocol == "leader" else [service, *(f"{slot}/{service}" for slot in SLOTS)]


def check_options(server: Server) -> str:
    """The options of a server that make HAProxy check its health."""
    return CHECK if server.check_port == server.port else f"{CHECK} port {server.check_port}"


def map_entries(topology: Topology, weights: dict[str, int], sessions: str) -> dict[str, str]:
    """Compose the map: the backend of each service and bucket; a slot without the service yields to the other."""
    green = weights.get("green", 0)
    entries = {}
    for service, check in topology.services().items():
        if check.protocol == "leader":
            continue
        owners = topology.owners(service)
        for bucket in range(BUCKETS):
            wanted = sessions if check.protocol == "fix" else "green" if bucket < green else "blue"
            slot = wanted if wanted in owners else owners[0]
            entries[f"{service}:{bucket}"] = f"{service}_{slot}"
    return entries


def render(topology: Topology, place: Place) -> str:
    """Compose the configuration file; its description tells which structure a running HAProxy has loaded."""
    parts = [_HEAD.format(socket=place.socket, threads=place.threads, description=structure(topology, place))]
    return "\n".join([*parts, *_sections(topology, place)])


def structure(topology: Topology, place: Place) -> str:
    """Name what cannot change without a reload: everything but the servers."""
    content = "\n".join(_sections(Topology(checks=topology.checks), place))
    return f"openbell-{hashlib.sha256(content.encode()).hexdigest()[:16]}"


def _sections(topology: Topology, place: Place) -> list[str]:
    parts = []
    for service, check in topology.services().items():
        parts += [_render_frontend(service, name, check, place) for name in frontends(service, check)]
        parts += [_render_backend(topology, service, slot, check) for slot in SLOTS]
    return parts


def _render_frontend(service: str, name: str, check: ServiceCheck, place: Place) -> str:
    mode = "tcp" if check.protocol == "fix" else "http"
    lines = [f"frontend {name.replace('/', '.')}", f"  mode {mode}", f"  bind 127.0.0.1:{place.port_of(name)}"]
    if name != service:
        # A slot's own address is for smoke tests: what they do is not logged, so it is not judged as customers' work.
        lines.append(f"  default_backend {service}_{name.partition('/')[0]}")
    elif mode == "tcp":
        lines += ["  log global", f'  log-format "{SESSION_LOG_FORMAT}"']
        lines.append(f"  use_backend %[str({service}:0),map({place.map_file})]")
    else:
        lines += ["  log global", f'  log-format "{LOG_FORMAT}"']
        # A stream would be logged when it ends, in hours; it counts when it begins.
        lines += ["  option logasap"] if check.protocol == "websocket" else []
        lines += [f"  http-request deny deny_status 404 if {{ path,url_dec -m str {path} }}" for path in check.closed]
        lines.append(f"  http-request set-var(txn.bucket) rand({BUCKETS})")
        lines.append(f"  use_backend %[str({service}:),concat(,txn.bucket),map({place.map_file})]")
    return "\n".join(lines) + "\n"


def _render_backend(topology: Topology, service: str, slot: str, fallback: ServiceCheck) -> str:
    check = topology.checks.get(slot, {}).get(service, fallback)
    lines = [
        f"backend {service}_{slot}",
        f"  mode {'tcp' if check.protocol == 'fix' else 'http'}",
        f"  balance {'leastconn' if check.protocol in ('fix', 'websocket') else 'roundrobin'}",
        f"  option httpchk GET {check.health}",
        "  http-check expect status 200",
    ]
    for server in topology.servers.values():
        if (server.service, server.slot) == (service, slot):
            disabled = " disabled" if server.name in topology.paused else ""
            lines.append(f"  server {server.name} 127.0.0.1:{server.port} {check_options(server)}{disabled}")
    return "\n".join(lines) + "\n"


_HEAD = """\
global
  log stdout format raw local0
  stats socket {socket} mode 600 level admin
  stats timeout 30s
  nbthread {threads}
  hard-stop-after 10m
  description {description}

defaults
  timeout connect 1s
  timeout client 30s
  timeout server 30s
  timeout check 2s
  timeout tunnel 1h
  timeout client-fin 10s
  timeout server-fin 10s
  timeout http-request 10s
  timeout queue 5s
  option redispatch
  retries 3
  retry-on conn-failure
"""
