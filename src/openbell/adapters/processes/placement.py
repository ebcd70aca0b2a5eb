"""What is placed where: the release and the instances of each slot of an environment.

The file is written before an instance is started and after it was stopped, so whatever runs is in it.
"""

from collections import Counter
from pathlib import Path

import msgspec

from openbell.files import write_whole
from openbell.ports import AdapterError

SYSTEM = "processes"


class Instance(msgspec.Struct, frozen=True):
    """One process of a service. `http_port` answers health, readiness and drain; for all but FIX it is `port`."""

    name: str
    service: str
    port: int
    http_port: int
    ready: bool = False


class Occupation(msgspec.Struct, frozen=True):
    """What a slot holds: one release, and its instances in the order in which they were placed, oldest first."""

    digest: str
    version: str
    placed_at_s: float
    instances: tuple[Instance, ...] = ()

    def of_service(self, service: str) -> tuple[Instance, ...]:
        """The instances of one service, oldest first."""
        return tuple(instance for instance in self.instances if instance.service == service)

    def surplus(self, replicas: int) -> tuple[Instance, ...]:
        """The instances beyond `replicas` of each service: the oldest, so that the newest are left."""
        excess = {service: count - replicas for service, count in Counter(i.service for i in self.instances).items()}
        found = []
        for instance in self.instances:
            if excess[instance.service] > 0:
                excess[instance.service] -= 1
                found.append(instance)
        return tuple(found)

    def with_instances(self, instances: tuple[Instance, ...]) -> "Occupation":
        """The same release with other instances."""
        return msgspec.structs.replace(self, instances=instances)


class PlacementFile:
    """The placements of one environment, by slot."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> dict[str, Occupation]:
        """All occupied slots."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, Occupation])
        except FileNotFoundError:
            return {}
        except msgspec.DecodeError as error:
            message = f"{self._path} is damaged ({error}). `openbell down`, remove it, and deploy again."
            raise AdapterError(SYSTEM, "read", message, effect="not_applied") from error

    def write(self, slot: str, occupation: Occupation | None) -> None:
        """Put down what a slot holds from now on; nothing frees it."""
        placements = self.read()
        if occupation is None:
            placements.pop(slot, None)
        else:
            placements[slot] = occupation
        write_whole(self._path, msgspec.json.format(msgspec.json.encode(placements), indent=2), durable=True)
