"""What is read of Kubernetes' objects: of each kind the fields that somebody looks at, under their own names.

Names are Kubernetes' (camelCase on the wire). A field that is missing there has its default here.
Source: https://kubernetes.io/docs/reference/kubernetes-api/
"""

from typing import Any

import msgspec


class Read(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Base of everything that is read."""


class Owner(Read, frozen=True, kw_only=True):
    """Who made an object."""

    kind: str = ""
    name: str = ""


class ManagedFields(Read, frozen=True, kw_only=True):
    """Who changed fields of an object, and when."""

    manager: str = ""
    operation: str = ""
    time: str = ""
    fields_v1: dict[str, Any] = msgspec.field(default={}, name="fieldsV1")


class Metadata(Read, frozen=True, kw_only=True):
    """Name, labels and generation of an object."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    generation: int = 0
    resource_version: str = ""
    creation_timestamp: str = ""
    deletion_timestamp: str | None = None
    owner_references: tuple[Owner, ...] = ()
    managed_fields: tuple[ManagedFields, ...] = ()


class Condition(Read, frozen=True, kw_only=True):
    """One condition of a status: `status` is "True", "False" or "Unknown"."""

    type: str
    status: str = "Unknown"
    reason: str = ""
    message: str = ""
    observed_generation: int = 0


class Status(Read, frozen=True, kw_only=True):
    """The body of a refusal; `kind` tells it from what a pod answers."""

    kind: str = ""
    message: str = ""
    reason: str = ""


class Waiting(Read, frozen=True, kw_only=True):
    """Why a container does not run yet."""

    reason: str = ""
    message: str = ""


class Terminated(Read, frozen=True, kw_only=True):
    """How a container ended."""

    exit_code: int = 0
    reason: str = ""
    message: str = ""


class ContainerState(Read, frozen=True, kw_only=True):
    """At most one of these is set; neither while it runs."""

    waiting: Waiting | None = None
    terminated: Terminated | None = None


class ContainerStatus(Read, frozen=True, kw_only=True):
    """How one container of a pod is."""

    name: str
    image: str = ""
    ready: bool = False
    restart_count: int = 0
    started: bool | None = None
    state: ContainerState = ContainerState()
    last_state: ContainerState = ContainerState()


class PodStatus(Read, frozen=True, kw_only=True):
    """How a pod is."""

    phase: str = ""
    reason: str = ""
    message: str = ""
    conditions: tuple[Condition, ...] = ()
    container_statuses: tuple[ContainerStatus, ...] = ()
    init_container_statuses: tuple[ContainerStatus, ...] = ()
    pod_ip: str = msgspec.field(default="", name="podIP")
    start_time: str | None = None


class ContainerPort(Read, frozen=True, kw_only=True):
    """A port of a container."""

    name: str = ""
    container_port: int = 0


class HttpGet(Read, frozen=True, kw_only=True):
    """What a probe asks for; the port by its number or its name."""

    path: str = "/"
    port: int | str = 0
    scheme: str = "HTTP"


class Probe(Read, frozen=True, kw_only=True):
    """A probe of a container."""

    http_get: HttpGet | None = None


class Resources(Read, frozen=True, kw_only=True):
    """What a container asks for and what it may use: `{"cpu": "100m", "memory": "128Mi"}`."""

    requests: dict[str, int | str] = {}
    limits: dict[str, int | str] = {}


class Container(Read, frozen=True, kw_only=True):
    """A container, as it is declared."""

    name: str = ""
    ports: tuple[ContainerPort, ...] = ()
    resources: Resources = Resources()
    startup_probe: Probe | None = None
    readiness_probe: Probe | None = None
    liveness_probe: Probe | None = None


class PodSpec(Read, frozen=True, kw_only=True):
    """A pod, as it is declared."""

    containers: tuple[Container, ...] = ()
    node_name: str = ""


class Pod(Read, frozen=True, kw_only=True):
    """A pod."""

    metadata: Metadata
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    def port(self, name: str) -> int:
        """The number of a named port; 0 without one."""
        return next((p.container_port for c in self.spec.containers for p in c.ports if p.name == name), 0)

    @property
    def ready(self) -> bool:
        """Whether it takes work."""
        return any(c.type == "Ready" and c.status == "True" for c in self.status.conditions)

    @property
    def leaving(self) -> bool:
        """Whether it was told to end."""
        return self.metadata.deletion_timestamp is not None


class Pods(Read, frozen=True, kw_only=True):
    """A list of pods."""

    items: tuple[Pod, ...] = ()


class DeploymentSpec(Read, frozen=True, kw_only=True):
    """What a Deployment shall be."""

    replicas: int = 1


class DeploymentStatus(Read, frozen=True, kw_only=True):
    """What a Deployment is."""

    observed_generation: int = 0
    replicas: int = 0
    updated_replicas: int = 0
    ready_replicas: int = 0
    conditions: tuple[Condition, ...] = ()


class Deployment(Read, frozen=True, kw_only=True):
    """A Deployment."""

    metadata: Metadata
    spec: DeploymentSpec = DeploymentSpec()
    status: DeploymentStatus = DeploymentStatus()


class Deployments(Read, frozen=True, kw_only=True):
    """A list of Deployments."""

    items: tuple[Deployment, ...] = ()


class Involved(Read, frozen=True, kw_only=True):
    """What an event is about; of a container, `field_path` is "spec.containers{NAME}"."""

    kind: str = ""
    name: str = ""
    field_path: str = ""


class Event(Read, frozen=True, kw_only=True):
    """What somebody in the cluster said about an object."""

    metadata: Metadata
    involved_object: Involved = Involved()
    reason: str = ""
    message: str = ""
    type: str = ""
    count: int = 1
    first_timestamp: str | None = None
    last_timestamp: str | None = None
    event_time: str | None = None

    @property
    def seen_at(self) -> str:
        """When it was seen last, as RFC 3339 in UTC; components write it in one of three places."""
        return self.last_timestamp or self.event_time or self.metadata.creation_timestamp


class Events(Read, frozen=True, kw_only=True):
    """A list of events."""

    items: tuple[Event, ...] = ()


class JobStatus(Read, frozen=True, kw_only=True):
    """How a Job is."""

    succeeded: int = 0
    failed: int = 0
    conditions: tuple[Condition, ...] = ()


class Job(Read, frozen=True, kw_only=True):
    """A Job."""

    metadata: Metadata
    status: JobStatus = JobStatus()


class RouteParent(Read, frozen=True, kw_only=True):
    """What one gateway says of a route."""

    conditions: tuple[Condition, ...] = ()


class RouteStatus(Read, frozen=True, kw_only=True):
    """What the gateways say of a route."""

    parents: tuple[RouteParent, ...] = ()


class Backend(Read, frozen=True, kw_only=True):
    """One Service that a route leads to, with its weight."""

    name: str
    port: int = 0
    weight_pct: int = msgspec.field(default=1, name="weight")


class RouteRule(Read, frozen=True, kw_only=True):
    """One rule of a route."""

    matches: tuple[dict[str, Any], ...] = ()
    backend_refs: tuple[Backend, ...] = ()


class RouteSpec(Read, frozen=True, kw_only=True):
    """What a route shall do."""

    rules: tuple[RouteRule, ...] = ()


class Route(Read, frozen=True, kw_only=True):
    """An HTTPRoute or a TCPRoute."""

    metadata: Metadata
    spec: RouteSpec = RouteSpec()
    status: RouteStatus = RouteStatus()


class ServicePort(Read, frozen=True, kw_only=True):
    """A port of a Service."""

    name: str = ""
    port: int


class ServiceSpec(Read, frozen=True, kw_only=True):
    """What a Service is."""

    ports: tuple[ServicePort, ...] = ()


class Service(Read, frozen=True, kw_only=True):
    """A Service."""

    metadata: Metadata
    spec: ServiceSpec = ServiceSpec()


class Services(Read, frozen=True, kw_only=True):
    """A list of Services."""

    items: tuple[Service, ...] = ()
