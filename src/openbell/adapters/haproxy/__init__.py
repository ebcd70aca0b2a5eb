"""HAProxy: balances load over the instances of a slot, decides which slot gets how much, and tells what came of it.

- `configuration`: the configuration file and the map, as pure functions of services, servers and weights;
- `runtime`: the commands of a running process on its Unix socket;
- `balancer`: both together; implements `openbell.machine.Traffic` and `openbell.ports.Router`;
- `log`: the access log as a `openbell.ports.MetricSource`.

Source: https://docs.haproxy.org/2.8/configuration.html and .../management.html (section 9.3, Unix socket commands)
"""

from openbell.adapters.haproxy.balancer import PROGRAM, Haproxy, binary
from openbell.adapters.haproxy.log import HaproxyLog

__all__ = ["PROGRAM", "Haproxy", "HaproxyLog", "binary"]
