"""Why pods do not get ready: from what Kubernetes says of them to one sentence with its remedy.

Pure: objects go in, a diagnosis comes out. `hopeless` means that waiting cannot help, so that a rollout's step fails
at once and not at its time limit. What may still come right by itself (a probe that fails while a service starts, a
node that an autoscaler may bring) is told when the time is up.

Source: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/ and the kubelet's event reasons
"""

import datetime as dt
import math
import re
from collections.abc import Iterable, Sequence

import msgspec

from openbell.adapters.kubernetes.objects import (
    Container,
    ContainerStatus,
    Deployment,
    Event,
    HttpGet,
    Pod,
    Probe,
)

CRASHES_MAX = 1
"""Ends of a container that may happen while its pod is awaited; one more, and it is taken for one that cannot start."""

SCALE_UP_GRACE_S = 20.0
"""How long pods are awaited that no node can take: an autoscaler looks every 10 s and says then whether it helps."""

PROBES_MIN, PROBED_MIN_S = 3, 4.0
"""How often, and for how long, a probe must have got the same answer before it is taken for a wrong path or port."""

_PULL = "push it, or give the cluster the right to pull it (imagePullSecrets)"
_IMAGE = {
    "ErrImageNeverPull": "bring it to the node, or allow it to be pulled (imagePullPolicy)",
    "InvalidImageName": "name it as REGISTRY/NAME@sha256:DIGEST in the release's images.json",
}
_PASSING = ("failed to sync", "timed out waiting for the condition")
_CONTAINER = {
    "CreateContainerConfigError": "create what is missing in the namespace, then deploy again",
    "CreateContainerError": "mend the chart's container settings",
    "RunContainerError": "mend the container's command or its mounts",
}
_UNHEARD = "see whether that node works: kubectl get nodes"
_MOUNT = ("FailedMount", "FailedAttachVolume")
_NODE = ("NodeLost", "Evicted", "NodeShutdown", "Shutdown", "Terminated")
_GROWS = ("TriggeredScaleUp", "Nominated")
"""What the cluster autoscaler and Karpenter say of a pod that they bring a node for."""
_STAYS = "NotTriggerScaleUp"
"""What the cluster autoscaler says of a pod that it brings no node for."""
_UNKNOWN_IMAGE = re.compile(
    r"not found|manifest unknown|unauthorized|forbidden|denied|insufficient_scope", re.IGNORECASE
)
_REGISTRY_AWAY = re.compile(
    r"connection (refused|reset)|time-?out|deadline exceeded|\bEOF\b|too ?many ?requests|server misbehaving"
    r"|50[0-4] (internal|bad|service|gateway)|unavailable",
    re.IGNORECASE,
)
_NOTHING_TO_MOUNT = re.compile(r'(secret|configmap) "[^"]*" not found|non-existent (secret|config) key')
_PULLING = re.compile(
    r'Back-off pulling image "[^"]*":? ?|ErrImagePull: |rpc error: code = \w+ desc = '
    r'|failed to pull and unpack image "[^"]*": |failed to resolve (reference|image):? ?("[^"]*": )?'
)
"""What those who pull an image put before the cause."""
_PREEMPTION = re.compile(r"[.,]? (no new claims to deallocate|preemption:).*", re.DOTALL)
_FORBIDDEN = re.compile(r'^\w+ "[^"]*" is forbidden: ')
_STATUS_CODE = re.compile(r"statuscode: (\d{3})")
_WEBHOOK_AWAY = ("failed calling webhook", "Internal error occurred")


class Diagnosis(msgspec.Struct, frozen=True):
    """What is wrong: the pod (or Deployment) it is about, one sentence with the remedy, and whether waiting can help.

    `container` is set when the container's last log lines would tell more, `asked` when the answer to what a probe
    asks for would.
    """

    subject: str
    sentence: str
    hopeless: bool
    container: str | None = None
    asked: HttpGet | None = None


def diagnose(
    deployments: Sequence[Deployment], pods: Sequence[Pod], events: Sequence[Event], *, waited_s: float = math.inf
) -> Diagnosis | None:
    """Say what keeps pods from getting ready, the most certain cause first; None when nothing is known to be wrong.

    `waited_s` is how long they have been awaited. Events may come in any order and be as old as their pods.
    """
    found = [*_refused(deployments)]
    for pod in pods:
        if not pod.ready and not pod.leaving:
            own = [event for event in events if event.involved_object.name == pod.metadata.name]
            found += _pod(pod, sorted(own, key=lambda event: event.seen_at), waited_s)
    return next((one for one in found if one.hopeless), found[0] if found else None)


def _refused(deployments: Sequence[Deployment]) -> Iterable[Diagnosis]:
    """Pods that were never made: a quota is used up, or an admission rule says no.

    Their events say the same, but outlive the cause for an hour and belong to ReplicaSets that may be gone.
    """
    for deployment in deployments:
        name = deployment.metadata.name
        for condition in deployment.status.conditions:
            if condition.type != "ReplicaFailure" or condition.status != "True":
                continue
            message = _short(_FORBIDDEN.sub("", condition.message))
            if "exceeded quota" in message:
                remedy = "raise the namespace's quota, or ask for less (replicas, resources)"
                yield Diagnosis(name, f"{name}: the namespace's quota is used up: {message}; {remedy}", hopeless=True)
            elif any(words in message for words in _WEBHOOK_AWAY):
                remedy = "the rule's own service must run"
                yield Diagnosis(name, f"{name}: a rule cannot be asked: {message}; {remedy}", hopeless=False)
            else:
                remedy = "mend the chart, or the rule that refuses it"
                yield Diagnosis(name, f"{name}: the cluster refuses its pods: {message}; {remedy}", hopeless=True)


def _pod(pod: Pod, events: Sequence[Event], waited_s: float) -> Iterable[Diagnosis]:
    name = pod.metadata.name
    statuses = (*pod.status.init_container_statuses, *pod.status.container_statuses)
    if pod.status.reason in _NODE:
        why = pod.status.message or pod.status.reason
        yield Diagnosis(name, f"{name}: its node let it go: {_short(why)}; another pod takes its place", hopeless=False)
    for status in statuses:
        yield from _container(pod, status)
    yield from _unscheduled(pod, events, waited_s)
    mounts = [event for event in events if event.reason in _MOUNT]
    if mounts and not any(_has_volumes(status) for status in statuses):
        message, remedy = mounts[-1].message, "create what it mounts in the namespace"
        hopeless = _NOTHING_TO_MOUNT.search(message) is not None
        yield Diagnosis(name, f"{name}: {_short(message)}; {remedy}", hopeless=hopeless)
    yield from _probes(pod, events)
    yield from _silent_node(pod, events)


def _unscheduled(pod: Pod, events: Sequence[Event], waited_s: float) -> Iterable[Diagnosis]:
    name = pod.metadata.name
    for condition in pod.status.conditions:
        if (condition.type, condition.status, condition.reason) == ("PodScheduled", "False", "Unschedulable"):
            remedy = "add a node, or ask for less (resources, affinity, topology spread)"
            requests = [f"{key} {value}" for c in pod.spec.containers for key, value in c.resources.requests.items()]
            asks = f" (it asks for {', '.join(requests)})" if requests else ""
            why = _short(_PREEMPTION.sub("", condition.message))
            said = {event.reason for event in events}
            stays = waited_s >= SCALE_UP_GRACE_S or _STAYS in said
            hopeless = stays and said.isdisjoint(_GROWS)
            yield Diagnosis(name, f"{name}: no node can take it{asks}: {why}; {remedy}", hopeless=hopeless)


def _silent_node(pod: Pod, events: Sequence[Event]) -> Iterable[Diagnosis]:
    """A node that does not answer: nobody has begun with the pod, or the cluster has lost the node that runs it."""
    name, node = pod.metadata.name, pod.spec.node_name
    if node and pod.status.start_time is None and not pod.status.container_statuses:
        yield Diagnosis(name, f"{name}: its node {node} has not begun with it; {_UNHEARD}", hopeless=False)
    elif any(event.reason == "NodeNotReady" for event in events):
        yield Diagnosis(name, f"{name}: its node {node} does not answer; {_UNHEARD}", hopeless=False)


def _container(of: Pod, status: ContainerStatus) -> Iterable[Diagnosis]:
    pod, declared = of.metadata.name, _declared(of, status.name)
    waiting, ended = status.state.waiting, status.state.terminated or status.last_state.terminated
    if status.ready or (status.started and waiting is None and status.state.terminated is None):
        return  # It runs, and how it ended before is history; or it is one of those that come first, and is done.
    if ended is not None and ended.reason == "OOMKilled":
        remedy = "raise its memory limit (resources.limits.memory), or find what uses it"
        limit = f" of {declared.resources.limits['memory']}" if "memory" in declared.resources.limits else ""
        sentence = f"{pod}: it used more memory than its limit{limit} and was killed (OOMKilled); {remedy}"
        yield Diagnosis(pod, sentence, hopeless=True, container=status.name)
    elif ended is not None and (status.restart_count > CRASHES_MAX or _crash_loop(status)):
        why = f"exit code {ended.exit_code}" + (f", {ended.reason}" if ended.reason not in ("", "Error") else "")
        sentence = f"{pod}: it ends again and again ({why}); its log says why"
        yield Diagnosis(pod, sentence, hopeless=True, container=status.name)
    if waiting is None:
        return
    message = _short(waiting.message) or waiting.reason
    if waiting.reason in ("ErrImagePull", "ImagePullBackOff", "RegistryUnavailable"):
        hopeless = bool(_UNKNOWN_IMAGE.search(waiting.message)) or (
            waiting.reason == "ImagePullBackOff" and not _REGISTRY_AWAY.search(waiting.message)
        )
        why, image = _PULLING.sub("", waiting.message), "its image"
        if status.image:
            why, image = why.replace(f"{status.image}: ", ""), f"its image {status.image}"
        why = _short(why, most=200) or message
        yield Diagnosis(pod, f"{pod}: {image} cannot be had: {why}; {_PULL}", hopeless=hopeless)
    elif waiting.reason in _IMAGE:
        sentence = f"{pod}: its image cannot be had: {message}; {_IMAGE[waiting.reason]}"
        yield Diagnosis(pod, sentence, hopeless=True)
    elif waiting.reason in _CONTAINER:
        # A kubelet that has lost its API server for a while does not know yet what is there.
        passing = any(words in message for words in _PASSING)
        remedy = "it is tried again" if passing else _CONTAINER[waiting.reason]
        yield Diagnosis(pod, f"{pod}: {message}; {remedy}", hopeless=not passing)


def _has_volumes(status: ContainerStatus) -> bool:
    """Whether a container has got so far that its volumes were there."""
    return status.state.waiting is None or status.state.waiting.reason not in ("ContainerCreating", "PodInitializing")


def _crash_loop(status: ContainerStatus) -> bool:
    return status.state.waiting is not None and status.state.waiting.reason == "CrashLoopBackOff"


def _probes(of: Pod, events: Sequence[Event]) -> Iterable[Diagnosis]:
    """Tell the probe that fails; it may only fail while the service starts, unless its path or its port is wrong."""
    failing = [event for event in events if event.reason == "Unhealthy"]
    if not failing:
        return
    pod, last = of.metadata.name, failing[-1]
    message, kind = _short(last.message), last.message.partition(" ")[0]
    container = last.involved_object.field_path.partition("{")[2].rstrip("}")
    declared, asked = _declared(of, container), None
    lasting, remedy = False, "see its log"
    code = _STATUS_CODE.search(message)
    if "connection refused" in message:
        remedy = "the service does not listen on that port"
        # One that has passed its startup probe listens where it will ever listen.
        up = kind != "Startup" and declared.startup_probe is not None and _has_started(of, container)
        lasting = up or any("failed startup probe" in event.message for event in events)
    elif code is not None and code[1] == "404":
        remedy, lasting = "the service does not know that path; compare health and ready of its [services] table", True
    elif code is not None:
        asked = _asked(of, declared, kind)
        remedy = "what it answers and its log say why" if asked else remedy
    hopeless = lasting and last.count >= PROBES_MIN and _lasted_s(last) >= PROBED_MIN_S
    yield Diagnosis(pod, f"{pod}: {message}; {remedy}", hopeless=hopeless, container=container, asked=asked)


def _declared(pod: Pod, name: str) -> Container:
    return next((container for container in pod.spec.containers if container.name == name), Container(name=name))


def _has_started(pod: Pod, name: str) -> bool:
    return any(status.name == name and status.started for status in pod.status.container_statuses)


def _asked(pod: Pod, container: Container, kind: str) -> HttpGet | None:
    """What a probe asks for, with its port as a number; None where a proxy could not ask the same."""
    probes: dict[str, Probe | None] = {
        "Startup": container.startup_probe,
        "Readiness": container.readiness_probe,
        "Liveness": container.liveness_probe,
    }
    probe = probes.get(kind)
    if probe is None or probe.http_get is None or probe.http_get.scheme != "HTTP":
        return None
    port = probe.http_get.port
    return msgspec.structs.replace(probe.http_get, port=port if isinstance(port, int) else pod.port(port))


def _lasted_s(event: Event) -> float:
    """For how long an event has been seen again and again."""
    try:
        first, last = (dt.datetime.fromisoformat(at or "") for at in (event.first_timestamp, event.last_timestamp))
    except ValueError:
        return 0.0
    return (last - first).total_seconds()


def _short(message: str, most: int = 300) -> str:
    """One line of a message, without what would fill the screen."""
    text = " ".join(message.split())
    return text if len(text) <= most else f"{text[: most - 1]}…"
