"""Releases as processes of one machine: implements `openbell.ports.Platform` over a supervisor and a load balancer.

- `placement`: what is placed where, in a file that survives whoever wrote it;
- `runtime`: a release made ready to run, once, and the environment of its processes;
- `endpoints`: the HTTP that every service speaks: health, readiness and drain;
- `platform`: placing, retiring, draining and observing.
"""

from openbell.adapters.processes.placement import Instance, Occupation
from openbell.adapters.processes.platform import Processes

__all__ = ["Instance", "Occupation", "Processes"]
