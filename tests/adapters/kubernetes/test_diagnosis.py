"""What pods, Deployments and events look like when something is wrong, as Kubernetes writes them, and what is said."""

import json
from collections.abc import Sequence

import msgspec
import pytest

from openbell.adapters.kubernetes.diagnosis import SCALE_UP_GRACE_S, Diagnosis, diagnose
from openbell.adapters.kubernetes.objects import Deployment, Event, Pod
from tests.adapters.kubernetes.observed import (
    CREATING,
    IMAGE,
    NAME,
    NOTHING_LEFT,
    RUNNING,
    Content,
    container,
    deployment,
    event,
    pod,
    probe,
    pulling,
    terminated,
    unschedulable,
    waiting,
    with_event,
)


def look(
    pods: Sequence[Content] = (),
    events: Sequence[Content] = (),
    deployments: Sequence[Content] = (),
    *,
    waited_s: float = SCALE_UP_GRACE_S,
) -> Diagnosis | None:
    return diagnose(
        msgspec.json.decode(json.dumps(list(deployments)), type=list[Deployment]),
        msgspec.json.decode(json.dumps(list(pods)), type=list[Pod]),
        msgspec.json.decode(json.dumps(list(events)), type=list[Event]),
        waited_s=waited_s,
    )


NOT_FOUND = (
    'rpc error: code = NotFound desc = failed to pull and unpack image "registry.example/api@sha256:0000": failed to '
    "resolve image: registry.example/api@sha256:0000: not found"
)
PULL_UNAUTHORIZED = (
    "failed to authorize: failed to fetch anonymous token: unexpected status from GET request to "
    "https://registry.example/token: 401 Unauthorized"
)
LONG_IMAGE = f"registry.example/exchange/matching/trading-engine@sha256:{'b' * 64}"
LONG_NOT_FOUND = (
    f'rpc error: code = NotFound desc = failed to pull and unpack image "{LONG_IMAGE}": failed to resolve image: '
    f"{LONG_IMAGE}: not found"
)
NO_SUCH_PATH = "HTTP probe failed with statuscode: 404"
REFUSED = 'Get "http://10.88.0.5:8081/x": dial tcp 10.88.0.5:8081: connect: connection refused'
NO_TOKEN = (
    'MountVolume.SetUp failed for volume "token" : failed to sync configmap cache: timed out waiting for the condition'
)
NO_DRIVER = "AttachVolume.Attach failed: driver name ebs.csi.aws.com not found in the list of registered CSI drivers"
NO_SECRET = 'MountVolume.SetUp failed for volume "login" : secret "database-login" not found'
NO_KEY = 'MountVolume.SetUp failed for volume "ca" : references non-existent config key: ca.pem'
EXCEEDED = (
    'pods "shop-green-api-7c9d8b5f4-x2x7q" is forbidden: exceeded quota: compute, requested: requests.cpu=2, '
    "used: requests.cpu=9, limited: requests.cpu=10"
)
DENIED = 'admission webhook "validate.kyverno.svc-fail" denied the request: resource Pod/trading/ was blocked'
INSECURE = (
    'pods "shop-green-api-7c9d8b5f4-x2x7q" is forbidden: violates PodSecurity "restricted:latest": '
    'allowPrivilegeEscalation != false (container "api" must set securityContext.allowPrivilegeEscalation=false)'
)
WEBHOOK_AWAY = (
    'Internal error occurred: failed calling webhook "mutate.example": failed to call webhook: Post '
    '"https://hook.tools.svc:443/mutate?timeout=10s": dial tcp 10.96.1.2:443: connect: connection refused'
)

HOPELESS: dict[str, tuple[Content, str]] = {
    "image not found": ({"pods": [pulling("ImagePullBackOff", NOT_FOUND)]}, "push it, or give the cluster the right"),
    "first pull, not found": ({"pods": [pod(container(waiting("ErrImagePull", NOT_FOUND)))]}, "not found; push it"),
    "first pull, no right": (
        {"pods": [pod(container(waiting("ErrImagePull", PULL_UNAUTHORIZED)))]},
        "401 Unauthorized; push it, or give the cluster the right to pull it (imagePullSecrets)",
    ),
    "a pull that says nothing": (
        {"pods": [pod(container(waiting("ImagePullBackOff", f'Back-off pulling image "{IMAGE}"')))]},
        f"its image {IMAGE} cannot be had: Back-off pulling image",
    ),
    "invalid image name": (
        {
            "pods": [
                pod(
                    container(
                        waiting(
                            "InvalidImageName",
                            'Failed to apply default image tag "registry.example/API@": couldn\'t parse image name: '
                            "invalid reference format: repository name (API) must be lowercase",
                        )
                    )
                )
            ]
        },
        "name it as REGISTRY/NAME@sha256:DIGEST in the release's images.json",
    ),
    "image never pulled": (
        {
            "pods": [
                pod(
                    container(
                        waiting("ErrImageNeverPull", f'Container image "{IMAGE}" is not present with pull policy')
                    )
                )
            ]
        },
        "is not present with pull policy; bring it to the node",
    ),
    "crash loop": (
        {
            "pods": [
                pod(
                    container(
                        waiting("CrashLoopBackOff", "back-off 10s restarting failed container=api pod=shop_trading(1)"),
                        last=terminated(3, "Error"),
                        restarts=1,
                    ),
                    phase="Running",
                )
            ]
        },
        "it ends again and again (exit code 3); its log says why",
    ),
    "a service that ends without an error": (
        {"pods": [pod(container(terminated(0, "Completed"), last=terminated(0, "Completed"), restarts=2))]},
        "it ends again and again (exit code 0, Completed)",
    ),
    "crashes between the loops": (
        {"pods": [pod(container(RUNNING, last=terminated(1, "Error"), restarts=2))]},
        "it ends again and again (exit code 1)",
    ),
    "crash loop of an init container": (
        {
            "pods": [
                pod(
                    container(waiting("PodInitializing")),
                    initContainerStatuses=[
                        container(waiting("CrashLoopBackOff"), name="wait", last=terminated(2, "Error"), restarts=1)
                    ],
                )
            ]
        },
        "(exit code 2)",
    ),
    "out of memory": (
        {"pods": [pod(container(terminated(137, "OOMKilled"), restarts=0))]},
        "killed (OOMKilled); raise its memory limit (resources.limits.memory)",
    ),
    "out of memory, before": (
        {"pods": [pod(container(waiting("CrashLoopBackOff"), last=terminated(137, "OOMKilled"), restarts=2))]},
        "raise its memory limit",
    ),
    "missing secret in the environment": (
        {"pods": [pod(container(waiting("CreateContainerConfigError", 'secret "database-login" not found')))]},
        'secret "database-login" not found; create what is missing in the namespace',
    ),
    "command that is not there": (
        {
            "pods": [
                pod(
                    container(
                        waiting(
                            "RunContainerError",
                            "failed to create containerd task: failed to create shim task: OCI runtime create failed: "
                            'exec: "serve": executable file not found in $PATH',
                        )
                    )
                )
            ]
        },
        'exec: "serve": executable file not found in $PATH; mend the container\'s command',
    ),
    "a reason without a message": (
        {"pods": [pod(container(waiting("CreateContainerError")))]},
        "CreateContainerError; mend the chart's container settings",
    ),
    "no node": ({"pods": [unschedulable()]}, "3 Insufficient cpu"),
    "no node, and none comes": (
        {
            "pods": [unschedulable()],
            "events": [event("NotTriggerScaleUp", "pod didn't trigger scale-up", kind="Normal")],
        },
        "add a node, or ask for less (resources, affinity, topology spread)",
    ),
    "quota": ({"deployments": [deployment(EXCEEDED)]}, "shop-green-api: the namespace's quota is used up"),
    "denied by a webhook": ({"deployments": [deployment(DENIED)]}, "mend the chart, or the rule that refuses it"),
    "denied by pod security": ({"deployments": [deployment(INSECURE)]}, 'violates PodSecurity "restricted:latest"'),
    "missing secret in a volume": (
        {"pods": [pod(container(CREATING))], "events": [event("FailedMount", NO_SECRET)]},
        'secret "database-login" not found; create what it mounts in the namespace',
    ),
    "missing key in a volume": (
        {"pods": [pod(container(CREATING))], "events": [event("FailedMount", NO_KEY)]},
        "non-existent config key: ca.pem; create what it mounts",
    ),
}

HOPELESS |= {
    "no node, says the autoscaler": (
        {
            "pods": [unschedulable()],
            "events": [event("NotTriggerScaleUp", "pod didn't trigger scale-up: 1 max node group size reached")],
            "waited_s": 1.0,
        },
        "(it asks for cpu 64, memory 64Mi): 0/3 nodes are available: 3 Insufficient cpu; add a node",
    ),
    "wrong path": (
        probe("Readiness", NO_SUCH_PATH, for_s=4),
        "the service does not know that path; compare health and ready of its [services] table",
    ),
    "wrong path of a startup probe": (probe("Startup", NO_SUCH_PATH, started=False, for_s=4), "statuscode: 404"),
    "wrong port": (probe("Readiness", REFUSED, for_s=4), "refused; the service does not listen on that port"),
    "wrong port, and killed for it": (
        with_event(
            probe("Startup", REFUSED, started=False, for_s=5),
            event("Killing", "Container api failed startup probe, will be restarted", kind="Normal"),
        ),
        "the service does not listen on that port",
    ),
    "an image whose names fill the line": (
        {"pods": [pod(container(waiting("ErrImagePull", LONG_NOT_FOUND), image=LONG_IMAGE))]},
        f"its image {LONG_IMAGE} cannot be had: not found; push it",
    ),
}

HOPEFUL: dict[str, tuple[Content, str]] = {
    "registry away": (
        {"pods": [pod(container(waiting("ErrImagePull", "dial tcp 10.0.0.9:443: connect: connection refused")))]},
        f"its image {IMAGE} cannot be had: dial tcp 10.0.0.9:443: connect: connection refused; push it",
    ),
    "registry still away": (
        {"pods": [pulling("ImagePullBackOff", "dial tcp 10.0.0.9:443: i/o timeout")]},
        "i/o timeout; push it",
    ),
    "registry throttles": (
        {"pods": [pulling("ImagePullBackOff", "429 Too Many Requests - toomanyrequests: You have reached your limit")]},
        "cannot be had: 429 Too Many Requests",
    ),
    "registry broken": ({"pods": [pulling("ImagePullBackOff", "503 Service Unavailable")]}, "503"),
    "a node comes": (
        {
            "pods": [unschedulable()],
            "events": [event("TriggeredScaleUp", "pod triggered scale-up: [{ng-1 2->3 (max: 6)}]", kind="Normal")],
        },
        "no node can take it",
    ),
    "a node comes, says Karpenter": (
        {
            "pods": [unschedulable()],
            "events": [event("Nominated", "Pod should schedule on: nodeclaim/default-x", kind="Normal")],
        },
        "no node can take it",
    ),
    "volumes that take time": (
        {"pods": [pod(container(CREATING))], "events": [event("FailedMount", NO_TOKEN)]},
        "timed out waiting for the condition",
    ),
    "a node whose driver is not up yet": (
        {"pods": [pod(container(CREATING))], "events": [event("FailedAttachVolume", NO_DRIVER)]},
        "registered CSI drivers",
    ),
    "a rule that cannot be asked": ({"deployments": [deployment(WEBHOOK_AWAY)]}, "the rule's own service must run"),
    "evicted": (
        {
            "pods": [
                pod(phase="Failed", reason="Evicted", message="The node was low on resource: memory. Threshold 100Mi.")
            ]
        },
        "its node let it go: The node was low on resource: memory.",
    ),
    "node shut down": (
        {
            "pods": [
                pod(
                    phase="Failed",
                    reason="Terminated",
                    message="Pod was terminated in response to imminent node shutdown.",
                )
            ]
        },
        "another pod takes its place",
    ),
    "wrong path, or not there yet": (
        probe("Readiness", NO_SUCH_PATH, for_s=3),
        "the service does not know that path; compare health and ready of its [services] table",
    ),
    "wrong path, asked twice": (probe("Readiness", NO_SUCH_PATH, for_s=5, count=2), "does not know that path"),
    "wrong port, or not up yet": (
        probe("Startup", REFUSED, started=False, for_s=5, count=5),
        "connection refused; the service does not listen on that port",
    ),
    "wrong port, after a start of a moment ago": (probe("Readiness", REFUSED), "does not listen on that port"),
    "not ready, it says": (
        probe("Readiness", "HTTP probe failed with statuscode: 503", for_s=5),
        "Readiness probe failed: HTTP probe failed with statuscode: 503; what it answers and its log say why",
    ),
    "a probe of another kind": (probe("Liveness", "command timed out: sh -c x", for_s=5), "timed out: sh -c x; see"),
    "a node that does not begin": (
        {"pods": [pod(startTime=None)]},
        "its node node-1 has not begun with it; see whether that node works: kubectl get nodes",
    ),
    "a node that is lost": (
        {
            "pods": [pod(container(RUNNING, ready=True, started=True), phase="Running")],
            "events": [event("NodeNotReady", "Node is not ready")],
        },
        "its node node-1 does not answer",
    ),
}

NOTHING: dict[str, Content] = {
    "nothing at all": {},
    "pods on their way": {"pods": [pod(container(CREATING))], "deployments": [deployment()]},
    "ready": {"pods": [pod(container(RUNNING, ready=True, started=True), ready=True, phase="Running")]},
    "ready, whatever was": {
        "pods": [pod(container(RUNNING, ready=True, last=terminated(137, "OOMKilled"), restarts=4), ready=True)],
        "events": [event("FailedMount", NO_SECRET), event("Unhealthy", "Readiness probe failed")],
    },
    "one crash": {"pods": [pod(container(terminated(1, "Error"), restarts=0))]},
    "one crash, running again": {"pods": [pod(container(RUNNING, last=terminated(1, "Error"), restarts=1))]},
    "crashes of long ago": {
        "pods": [pod(container(RUNNING, started=True, last=terminated(137, "OOMKilled"), restarts=9))]
    },
    "an init container that tried some times": {
        "pods": [
            pod(
                container(waiting("PodInitializing")),
                initContainerStatuses=[
                    container(
                        terminated(0, "Completed"), name="wait", ready=True, last=terminated(1, "Error"), restarts=3
                    )
                ],
            )
        ]
    },
    "a secret that has come": {
        "pods": [pod(container(RUNNING))],
        "events": [event("FailedMount", NO_SECRET)],
    },
    "a pod that leaves": {"pods": [{**pod(container(waiting("ErrImagePull", NOT_FOUND)))}]},
    "events of others": {
        "pods": [pod(container(CREATING))],
        "events": [event("FailedMount", NO_SECRET, about="other")],
    },
    "a refusal that is over": {
        "deployments": [deployment(EXCEEDED, status="False")],
        "events": [event("FailedCreate", f"Error creating: {EXCEEDED}", about="shop-green-api-7c9d8b5f4")],
    },
}
NOTHING["a pod that leaves"]["pods"][0]["metadata"]["deletionTimestamp"] = "2026-11-24T21:31:00Z"


@pytest.mark.parametrize(("content", "words"), HOPELESS.values(), ids=HOPELESS)
def test_what_waiting_cannot_help_is_told_at_once(content: Content, words: str) -> None:
    found = look(**content)
    assert found is not None
    assert words in found.sentence
    assert found.hopeless


@pytest.mark.parametrize(("content", "words"), HOPEFUL.values(), ids=HOPEFUL)
def test_what_may_come_right_is_told_when_the_time_is_up(content: Content, words: str) -> None:
    found = look(**content)
    assert found is not None
    assert words in found.sentence
    assert not found.hopeless


@pytest.mark.parametrize("content", NOTHING.values(), ids=NOTHING)
def test_where_nothing_is_wrong_nothing_is_said(content: Content) -> None:
    assert look(**content) is None


@pytest.mark.parametrize("content", [content for content, _ in [*HOPELESS.values(), *HOPEFUL.values()]])
def test_a_sentence_names_its_subject_and_its_remedy_on_one_short_line(content: Content) -> None:
    found = look(**content)
    assert found is not None
    assert found.sentence.startswith(f"{found.subject}: ")
    assert "\n" not in found.sentence
    assert "; " in found.sentence
    assert len(found.sentence) <= 500


def test_a_message_that_would_fill_the_screen_is_cut() -> None:
    found = look([pod(container(waiting("ErrImagePull", f"first line:\n\tnot found {'x' * 5000}")))])
    assert found is not None
    assert found.sentence.startswith(f"{NAME}: its image {IMAGE} cannot be had: first line: not found xxx")
    assert found.sentence.endswith("xxx…; push it, or give the cluster the right to pull it (imagePullSecrets)")
    assert len(found.sentence) <= 500


def test_an_autoscaler_gets_the_time_to_say_that_it_brings_a_node() -> None:
    early, late = look([unschedulable()], waited_s=SCALE_UP_GRACE_S - 1), look([unschedulable()])
    assert early is not None
    assert late is not None
    assert (early.sentence, early.hopeless, late.hopeless) == (late.sentence, False, True)


def test_without_a_time_all_that_may_be_hopeless_is() -> None:
    assert diagnose((), [msgspec.json.decode(json.dumps(unschedulable()), type=Pod)], ()) == look([unschedulable()])


def test_what_is_hopeless_comes_before_what_may_come_right() -> None:
    content = probe("Readiness", "HTTP probe failed with statuscode: 503")
    pods, events = content["pods"], content["events"]
    hopeless = pod(container(waiting("CreateContainerConfigError", 'secret "x" not found')), name="other")
    found = look([*pods, hopeless], events)
    assert found is not None
    assert (found.subject, found.hopeless) == ("other", True)
    assert look(pods, events, [deployment(EXCEEDED)]) == look((), (), [deployment(EXCEEDED)])


def test_of_several_events_the_newest_is_told_whatever_their_order() -> None:
    events = [
        event("Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 404", at="2026-11-24T21:31:00Z"),
        event("Unhealthy", "Startup probe failed: connection refused", at="2026-11-24T21:30:00Z"),
    ]
    for some in (events, events[::-1]):
        found = look([pod(container(RUNNING))], some)
        assert found is not None
        assert "statuscode: 404" in found.sentence


def test_an_event_of_the_newer_kind_has_its_time_elsewhere() -> None:
    content = event("FailedScheduling", NOTHING_LEFT)
    content |= {"lastTimestamp": None, "firstTimestamp": None, "eventTime": "2026-11-24T21:30:07.123456Z"}
    del content["count"]
    found = msgspec.json.decode(json.dumps(content), type=Event)
    assert (found.seen_at, found.count) == ("2026-11-24T21:30:07.123456Z", 1)


@pytest.mark.parametrize(
    ("content", "container_name"),
    [
        ({"pods": [pod(container(terminated(137, "OOMKilled"), name="engine"))]}, "engine"),
        ({"pods": [pod(container(waiting("CrashLoopBackOff"), last=terminated(1, "Error"), name="engine"))]}, "engine"),
        (probe("Readiness", "statuscode: 503"), "api"),
        ({"pods": [pod(container(waiting("ErrImagePull", NOT_FOUND)))]}, None),
        ({"pods": [unschedulable()]}, None),
    ],
)
def test_it_is_known_whose_log_tells_more(content: Content, container_name: str | None) -> None:
    found = look(**content)
    assert found is not None
    assert found.container == container_name


def test_what_a_probe_asks_for_is_known_when_its_answer_says_more() -> None:
    found = look(**probe("Readiness", "HTTP probe failed with statuscode: 503"))
    assert found is not None
    assert found.asked is not None
    assert (found.asked.path, found.asked.port) == ("/readyz", 8080)
    for unasked in (
        probe("Readiness", REFUSED),
        probe("Readiness", NO_SUCH_PATH),
        probe("Liveness", "statuscode: 500"),
    ):
        found = look(**unasked)
        assert found is not None
        assert found.asked is None


def test_a_kubelet_that_has_lost_its_api_server_is_waited_for() -> None:
    reason = "failed to sync configmap cache: timed out waiting for the condition"
    found = look([pod(container(waiting("CreateContainerConfigError", reason)))])
    assert found is not None
    assert (found.hopeless, "it is tried again" in found.sentence) == (False, True)
