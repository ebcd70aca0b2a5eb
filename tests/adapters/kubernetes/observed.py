"""Pods, events and Deployments as a cluster shows them, with all that a diagnosis must look past."""

from typing import Any

Content = dict[str, Any]

NAME = "shop-green-api-7c9d8b5f4-x2x7q"
IMAGE = "registry.example/api@sha256:0000"
CREATING: Content = {"waiting": {"reason": "ContainerCreating"}}
RUNNING: Content = {"running": {"startedAt": "2026-11-24T21:30:02Z"}}
NOTHING_LEFT = (
    "0/3 nodes are available: 3 Insufficient cpu. no new claims to deallocate, preemption: 0/3 nodes are available: "
    "3 No preemption victims found for incoming pod."
)


def terminated(exit_code: int, reason: str) -> Content:
    return {
        "terminated": {
            "containerID": "containerd://5f", "exitCode": exit_code, "reason": reason,
            "startedAt": "2026-11-24T21:30:02Z", "finishedAt": "2026-11-24T21:30:03Z",
        }
    }  # fmt: skip


def waiting(reason: str, message: str = "") -> Content:
    return {"waiting": {"reason": reason, **({"message": message} if message else {})}}


def container(
    state: Content, *, last: Content | None = None, restarts: int = 0, name: str = "api", **more: Any
) -> Content:
    return {
        "name": name, "image": IMAGE, "imageID": "", "containerID": "", "ready": False, "started": False,
        "restartCount": restarts, "state": state, "lastState": last or {}, **more,
    }  # fmt: skip


def pod(*containers: Content, name: str = NAME, ready: bool = False, **status: Any) -> Content:
    """A pod whose container declares a startup and a readiness probe."""
    at = "2026-11-24T21:30:00Z"
    conditions = [
        {"type": "PodReadyToStartContainers", "status": "True", "lastProbeTime": None, "lastTransitionTime": at},
        {"type": "Initialized", "status": "True", "lastProbeTime": None, "lastTransitionTime": at},
        {
            "type": "Ready", "status": "True" if ready else "False", "lastProbeTime": None, "lastTransitionTime": at,
            "observedGeneration": 1, "reason": "ContainersNotReady",
            "message": "containers with unready status: [api]",
        },
        {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": at},
    ]  # fmt: skip
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "trading", "uid": "1", "creationTimestamp": at},
        "spec": {
            "nodeName": "node-1",
            "containers": [
                {
                    "name": "api", "image": IMAGE, "ports": [{"name": "http", "containerPort": 8080}],
                    "resources": {"requests": {"cpu": "64", "memory": "64Mi"}, "limits": {"memory": "16Mi"}},
                    "startupProbe": {"httpGet": {"path": "/healthz", "port": "http", "scheme": "HTTP"}},
                    "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http", "scheme": "HTTP"}},
                }
            ],
        },
        "status": {
            "phase": "Pending", "qosClass": "Burstable", "hostIP": "10.0.0.1", "podIP": "10.88.0.5", "startTime": at,
            "conditions": conditions, "containerStatuses": list(containers), **status,
        },
    }  # fmt: skip


def unschedulable() -> Content:
    condition = {
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": NOTHING_LEFT,
        "lastProbeTime": None, "lastTransitionTime": "2026-11-24T21:30:00Z",
    }  # fmt: skip
    return pod(conditions=[condition])


def event(
    reason: str,
    message: str,
    *,
    about: str = NAME,
    at: str = "2026-11-24T21:30:05Z",
    kind: str = "Warning",
    since: str | None = None,
    count: int = 3,
) -> Content:
    return {
        "metadata": {"name": f"{about}.187a", "namespace": "trading", "creationTimestamp": at},
        "involvedObject": {"kind": "Pod", "namespace": "trading", "name": about, "fieldPath": "spec.containers{api}"},
        "reason": reason, "message": message, "type": kind, "source": {"component": "kubelet", "host": "node-1"},
        "firstTimestamp": since or at, "lastTimestamp": at, "count": count,
        "eventTime": None, "reportingComponent": "kubelet",
    }  # fmt: skip


def deployment(message: str = "", *, status: str = "True") -> Content:
    at = "2026-11-24T21:30:00Z"
    conditions = [
        {"type": "Progressing", "status": "True", "reason": "NewReplicaSetCreated", "lastUpdateTime": at},
        {"type": "Available", "status": "False", "reason": "MinimumReplicasUnavailable", "lastUpdateTime": at},
    ]
    if message:
        conditions.append(
            {"type": "ReplicaFailure", "status": status, "reason": "FailedCreate", "message": message}
        )  # fmt: skip
    return {
        "metadata": {"name": "shop-green-api", "namespace": "trading", "generation": 1},
        "spec": {"replicas": 2},
        "status": {"observedGeneration": 1, "unavailableReplicas": 2, "conditions": conditions},
    }


def pulling(reason: str, why: str) -> Content:
    return pod(container(waiting(reason, f'Back-off pulling image "{IMAGE}": ErrImagePull: {why}')))


def probe(kind: str, why: str, *, started: bool = True, for_s: int = 0, count: int = 3) -> Content:
    """A service that runs, and a probe of it that fails."""
    said = event("Unhealthy", f"{kind} probe failed: {why}", since=f"2026-11-24T21:30:{5 - for_s:02}Z", count=count)
    return {"pods": [pod(container(RUNNING, started=started))], "events": [said]}


def with_event(content: Content, *more: Content) -> Content:
    return {**content, "events": [*content.get("events", ()), *more]}
