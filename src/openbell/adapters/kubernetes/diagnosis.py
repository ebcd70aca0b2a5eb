"""Why pods do not get ready: from what Kubernetes says of them to one sentence with its remedy.

Pure: objects go in, a diagnosis comes out. `hopeless` means that waiting cannot help, so that a rollout's step fails
at once and not at its time limit. What may still come right by itself (a probe that fails while a service starts, a
node that an autoscaler may bring) is told when the time is up.

Source: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/ and the kubelet's event reasons
"""

import math
import re
from collections.abc import Iterable, Sequence

import msgspec

from openbell.adapters.kubernetes.objects import ContainerStatus, Deployment, Event, Pod

CRASHES_MAX = 1
"""Ends of a container that may happen while its pod is awaited; one more, and it is taken for one that cannot start."""

SCALE_UP_GRACE_S = 20.0
"""How long pods are awaited that no node can take: an autoscaler looks every 10 s and says then whether it helps."""

_PULL = "push it, or give the cluster the right to pull it (imagePullSecrets)"
_IMAGE = {
    "ErrImageNeverPull": "bring it to the node, or allow it to be pulled (imagePullPolicy)",
    "InvalidImageName": "name it as REGISTRY/NAME@sha256:DIGEST in the release's images.json",
}
_CONTAINER = {
    "CreateContainerConfigError": "create what is missing in the namespace, then deploy again",
    "CreateContainerError": "mend the chart's container settings",
    "RunContainerError": "mend the container's command or its mounts",
}
_MOUNT = ("FailedMount", "FailedAttachVolume")
_NODE = ("NodeLost", "Evicted", "NodeShutdown", "Shutdown", "Terminated")
_GROWS = ("TriggeredScaleUp", "Nominated")
"""What the cluster autoscaler and Karpenter say of a pod that they bring a node for."""
_UNKNOWN_IMAGE = re.compile(
    r"not found|manifest unknown|unauthorized|forbidden|denied|insufficient_scope", re.IGNORECASE
)
_REGISTRY_AWAY = re.compile(
    r"connection (refused|reset)|time-?out|deadline exceeded|\bEOF\b|too ?many ?requests|server misbehaving"
    r"|50[0-4] (internal|bad|service|gateway)|unavailable",
    re.IGNORECASE,
)
_NOTHING_TO_MOUNT = re.compile(r'(secret|configmap) "[^"]*" not found|non-existent (secret|config) key')
_WEBHOOK_AWAY = ("failed calling webhook", "Internal error occurred")


class Diagnosis(msgspec.Struct, frozen=True):
    """What is wrong: the pod (or Deployment) it is about, one sentence with the remedy, and whether waiting can help.

    `container` is set when the container's last log lines would tell more.
    """

    subject: str
    sentence: str
    hopeless: bool
    container: str | None = None


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
            message = _short(condition.message)
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
        yield from _container(name, status)
    for condition in pod.status.conditions:
        if (condition.type, condition.status, condition.reason) == ("PodScheduled", "False", "Unschedulable"):
            remedy = "add a node, or ask for less (resources, affinity, topology spread)"
            grows = any(event.reason in _GROWS for event in events)
            sentence = f"{name}: no node can take it: {_short(condition.message)}; {remedy}"
            yield Diagnosis(name, sentence, hopeless=not grows and waited_s >= SCALE_UP_GRACE_S)
    mounts = [event for event in events if event.reason in _MOUNT]
    if mounts and not any(_has_volumes(status) for status in statuses):
        message, remedy = mounts[-1].message, "create what it mounts in the namespace"
        hopeless = _NOTHING_TO_MOUNT.search(message) is not None
        yield Diagnosis(name, f"{name}: {_short(message)}; {remedy}", hopeless=hopeless)
    yield from _probes(name, events)


def _container(pod: str, status: ContainerStatus) -> Iterable[Diagnosis]:
    waiting, ended = status.state.waiting, status.state.terminated or status.last_state.terminated
    if status.ready or (status.started and waiting is None and status.state.terminated is None):
        return  # It runs, and how it ended before is history; or it is one of those that come first, and is done.
    if ended is not None and ended.reason == "OOMKilled":
        remedy = "raise its memory limit (resources.limits.memory), or find what uses it"
        sentence = f"{pod}: it used more memory than its limit and was killed (OOMKilled); {remedy}"
        yield Diagnosis(pod, sentence, hopeless=True, container=status.name)
    elif ended is not None and (status.restart_count > CRASHES_MAX or _crash_loop(status)):
        why = f"exit code {ended.exit_code}" + (f", {ended.reason}" if ended.reason not in ("", "Error") else "")
        sentence = f"{pod}: it ends again and again ({why}); its log says why"
        yield Diagnosis(pod, sentence, hopeless=True, container=status.name)
    if waiting is None:
        return
    message = _short(waiting.message) or waiting.reason
    if waiting.reason in ("ErrImagePull", "ImagePullBackOff", "RegistryUnavailable"):
        hopeless = bool(_UNKNOWN_IMAGE.search(message)) or (
            waiting.reason == "ImagePullBackOff" and not _REGISTRY_AWAY.search(message)
        )
        yield Diagnosis(pod, f"{pod}: its image cannot be had: {message}; {_PULL}", hopeless=hopeless)
    elif waiting.reason in _IMAGE:
        sentence = f"{pod}: its image cannot be had: {message}; {_IMAGE[waiting.reason]}"
        yield Diagnosis(pod, sentence, hopeless=True)
    elif waiting.reason in _CONTAINER:
        yield Diagnosis(pod, f"{pod}: {message}; {_CONTAINER[waiting.reason]}", hopeless=True)


def _has_volumes(status: ContainerStatus) -> bool:
    """Whether a container has got so far that its volumes were there."""
    return status.state.waiting is None or status.state.waiting.reason not in ("ContainerCreating", "PodInitializing")


def _crash_loop(status: ContainerStatus) -> bool:
    return status.state.waiting is not None and status.state.waiting.reason == "CrashLoopBackOff"


def _probes(pod: str, events: Sequence[Event]) -> Iterable[Diagnosis]:
    """Tell the probe that fails; it may only fail while the service starts."""
    failing = [event for event in events if event.reason == "Unhealthy"]
    if failing:
        message = _short(failing[-1].message)
        remedy = "the service does not listen on that port" if "connection refused" in message else "see its log"
        if "statuscode: 404" in message:
            remedy = "the service does not know that path; compare health and ready of its [services] table"
        yield Diagnosis(pod, f"{pod}: {message}; {remedy}", hopeless=False, container="")


def _short(message: str, most: int = 300) -> str:
    """One line of a message, without what would fill the screen."""
    text = " ".join(message.split())
    return text if len(text) <= most else f"{text[: most - 1]}…"
