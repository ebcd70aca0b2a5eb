"""Why pods do not get ready: from what Kubernetes says of them to one sentence with its remedy.

Pure: objects go in, a diagnosis comes out. `hopeless` means that waiting cannot help, so that a rollout's step fails
at once and not at its time limit. What may still come right by itself (a probe that fails while a service starts, a
node that an autoscaler may bring) is told when the time is up.

Source: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/ and the kubelet's event reasons
"""

from collections.abc import Iterable, Sequence

import msgspec

from openbell.adapters.kubernetes.objects import ContainerStatus, Deployment, Event, Pod

CRASHES_MAX = 1
"""Ends of a container that may happen while its pod is awaited; one more, and it is taken for one that cannot start."""

_IMAGE = {
    "ImagePullBackOff": "push it, or give the cluster the right to pull it (imagePullSecrets)",
    "ErrImageNeverPull": "bring it to the node, or allow it to be pulled (imagePullPolicy)",
    "InvalidImageName": "name it as REGISTRY/NAME@sha256:DIGEST in the release's images.json",
}
_CONTAINER = {
    "CreateContainerConfigError": "create what is missing in the namespace, then deploy again",
    "CreateContainerError": "mend the chart's container settings",
    "RunContainerError": "mend the container's command or its mounts",
}
_MOUNT = ("FailedMount", "FailedAttachVolume")


class Diagnosis(msgspec.Struct, frozen=True):
    """What is wrong: the pod (or Deployment) it is about, one sentence with the remedy, and whether waiting can help.

    `container` is set when the container's last log lines would tell more.
    """

    subject: str
    sentence: str
    hopeless: bool
    container: str | None = None


def diagnose(deployments: Sequence[Deployment], pods: Sequence[Pod], events: Sequence[Event]) -> Diagnosis | None:
    """Say what keeps pods from getting ready, the most certain cause first; None when nothing is known to be wrong."""
    found = [*_refused(deployments, events)]
    for pod in pods:
        if not pod.ready and not pod.leaving:
            found += _pod(pod, [event for event in events if event.involved_object.name == pod.metadata.name])
    return next((one for one in found if one.hopeless), found[0] if found else None)


def _refused(deployments: Sequence[Deployment], events: Sequence[Event]) -> Iterable[Diagnosis]:
    """Pods that were never made: a quota is used up, or an admission rule says no."""
    for deployment in deployments:
        failure = next(
            (c for c in deployment.status.conditions if c.type == "ReplicaFailure" and c.status == "True"), None
        )
        stem = f"{deployment.metadata.name}-"
        said = [e for e in events if e.reason == "FailedCreate" and e.involved_object.name.startswith(stem)]
        message = failure.message if failure else said[-1].message if said else None
        if message is not None:
            name, short = deployment.metadata.name, _short(message)
            if "exceeded quota" in message:
                remedy = "raise the namespace's quota, or ask for less (replicas, resources)"
                yield Diagnosis(name, f"{name}: the namespace's quota is used up: {short}; {remedy}", hopeless=True)
            else:
                remedy = "mend the chart, or the rule that refuses it"
                yield Diagnosis(name, f"{name}: the cluster refuses its pods: {short}; {remedy}", hopeless=True)


def _pod(pod: Pod, events: Sequence[Event]) -> Iterable[Diagnosis]:
    name = pod.metadata.name
    conditions = {condition.type: condition for condition in pod.status.conditions}
    if pod.status.reason in ("NodeLost", "Evicted", "NodeShutdown"):
        why = pod.status.message or pod.status.reason
        yield Diagnosis(name, f"{name}: its node let it go: {_short(why)}; another pod takes its place", hopeless=False)
    for status in (*pod.status.init_container_statuses, *pod.status.container_statuses):
        yield from _container(name, status)
    scheduled = conditions.get("PodScheduled")
    if scheduled is not None and scheduled.status == "False" and scheduled.reason == "Unschedulable":
        remedy = "add a node, or ask for less (resources, affinity, topology spread)"
        grows = any(event.reason == "TriggeredScaleUp" for event in events)
        sentence = f"{name}: no node can take it: {_short(scheduled.message)}; {remedy}"
        yield Diagnosis(name, sentence, hopeless=not grows)
    for event in events:
        if event.reason in _MOUNT:
            remedy = "create what it mounts in the namespace"
            yield Diagnosis(name, f"{name}: {_short(event.message)}; {remedy}", hopeless="not found" in event.message)
    yield from _probes(name, events)


def _container(pod: str, status: ContainerStatus) -> Iterable[Diagnosis]:
    waiting, ended = status.state.waiting, status.state.terminated or status.last_state.terminated
    if ended is not None and ended.reason == "OOMKilled":
        remedy = "raise its memory limit (resources.limits.memory), or find what uses it"
        sentence = f"{pod}: it used more memory than its limit and was killed (OOMKilled); {remedy}"
        yield Diagnosis(pod, sentence, hopeless=True, container=status.name)
    elif ended is not None and (status.restart_count > CRASHES_MAX or _crash_loop(status)):
        why = f"exit code {ended.exit_code}" + (f", {ended.reason}" if ended.reason not in ("", "Error") else "")
        sentence = f"{pod}: it ends again and again ({why}); its log says why"
        yield Diagnosis(pod, sentence, hopeless=True, container=status.name)
    if waiting is not None and waiting.reason in _IMAGE:
        sentence = f"{pod}: its image cannot be had: {_short(waiting.message)}; {_IMAGE[waiting.reason]}"
        yield Diagnosis(pod, sentence, hopeless=True)
    elif waiting is not None and waiting.reason == "ErrImagePull":
        sentence = f"{pod}: its image cannot be had: {_short(waiting.message)}; {_IMAGE['ImagePullBackOff']}"
        yield Diagnosis(pod, sentence, hopeless="not found" in waiting.message or "unauthorized" in waiting.message)
    elif waiting is not None and waiting.reason in _CONTAINER:
        sentence = f"{pod}: {_short(waiting.message) or waiting.reason}; {_CONTAINER[waiting.reason]}"
        yield Diagnosis(pod, sentence, hopeless=True)


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
