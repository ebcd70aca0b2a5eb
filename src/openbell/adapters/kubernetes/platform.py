"""Placing, retiring, draining and observing the releases of one environment as Helm releases, one for each slot.

What is there is read from the cluster each time, so that what was done is done once however often it is asked for. A
chart that openbell can place keeps this contract (docs/kubernetes.md): its Deployments and pods carry the labels
below and its `annotations`, its values are those of `Chart.values_of`, a Service selects pods only while they serve,
and its migrations are the Jobs of one template.

Requests to pods go through the API server: that is reachable wherever the cluster is.
"""

import asyncio
import contextlib
import datetime as dt
import functools
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from openbell.adapters.kubernetes.api import FIELD_MANAGER, SYSTEM, Api, is_missing
from openbell.adapters.kubernetes.chart import DIGEST, VERSION, Chart
from openbell.adapters.kubernetes.diagnosis import diagnose
from openbell.adapters.kubernetes.explanation import explain, last_lines
from openbell.adapters.kubernetes.helm import Helm
from openbell.adapters.kubernetes.objects import Deployment, Deployments, Event, Events, Job, Pod, Pods
from openbell.adapters.kubernetes.permissions import Rendered, plural
from openbell.core.analysis.limits import ServiceHealth, SideHealth
from openbell.core.project import Project, Service
from openbell.handover import ABSENT, Method, Remaining, move, refuse_kept_lead
from openbell.ports import AdapterError, DrainReport, Held, ReleaseRef

OPERATIONS_PORT = "http"
"""The name of the container port where a service answers for its health, its metrics and its handover."""
SLOT, SERVING, SERVICE = "openbell.dev/slot", "openbell.dev/serving", "app.kubernetes.io/component"
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
MIGRATION_TEMPLATE = "templates/migration.yaml"

POLL_S = 0.5
GONE_TIMEOUT_S = 120.0
MIGRATION_TIMEOUT_S = 600.0
JOB_KEPT_S = 86400
"""How long a migration's Job is kept: until then the cluster knows that it was done, and people can read its log."""
UNREACHED = b"error trying to reach service"
"""What the API server's proxy says where nobody listens."""


class Kubernetes:
    """Implements `openbell.ports.Platform`; `chart_of` finds a release by its digest."""

    def __init__(
        self,
        api: Api,
        helm: Helm,
        *,
        project: str,
        environment: str,
        chart_of: Callable[[str], Chart],
    ) -> None:
        self._api = api
        self._helm = helm
        self._project = project
        self._environment = environment
        self._chart_of = chart_of
        self._lock = asyncio.Lock()

    def name_of(self, slot: str) -> str:
        """The Helm release of a slot."""
        return f"{self._project}-{slot}"

    async def placements(self) -> dict[str, Held]:
        """What each occupied slot holds."""
        found: dict[str, Held] = {}
        for one in (await self._api.read("apps/v1/deployments", Deployments, params={"labelSelector": SLOT})).items:
            slot, notes = one.metadata.labels[SLOT], one.metadata.annotations
            before = found.get(slot)
            instances = one.spec.replicas + (before.instances if before else 0)
            found[slot] = Held(notes.get(DIGEST, ""), notes.get(VERSION, ""), instances)
        return {slot: placement for slot, placement in found.items() if placement.instances}

    async def place(self, slot: str, release: ReleaseRef, replicas: int, *, timeout_s: float, key: str) -> None:
        """Bring every service of the release to `replicas` ready pods in the slot, or leave more as they are."""
        del key  # Placing is defined by what shall be there, so a repetition finds it there.
        async with self._lock:
            chart = self._chart(release.digest, "place")
            before = (await self.placements()).get(slot)
            if before is not None and before.digest != release.digest:
                message = f"slot {slot} holds {before.version}; retire it before {release.version} is placed there"
                raise AdapterError(SYSTEM, "place", message, effect="not_applied")
            there = await self._replicas(slot)
            wanted = {service: max(replicas, there.get(service, 0)) for service in chart.project.services}
            upgraded = False
            try:
                await self._upgrade(slot, chart, release.digest, release.version, wanted)
                upgraded = True
                await self._wait_ready(slot, wanted, timeout_s)
            except AdapterError as error:
                if error.effect == "not_applied" and (error.retryable or not upgraded):
                    raise  # Nothing happened, and nobody can be asked to undo it.
                try:
                    await self._put_back(slot, chart, before, there)
                except AdapterError as second:
                    message = f"{error.message}\n{slot} could not be put back: {second.message}"
                    raise AdapterError(SYSTEM, "place", message, retryable=second.retryable) from error
                raise AdapterError(SYSTEM, "place", error.message, effect="not_applied") from error
            await self._lead_if_alone(slot, chart.project)
            await self._announce(slot, "Placed", f"{release.version}: {replicas} of each service are ready in {slot}")

    async def retire(self, slot: str, replicas: int, *, key: str) -> None:
        """End pods of the slot, drained and oldest first, until `replicas` of each service are left."""
        del key
        async with self._lock:
            there = await self._replicas(slot)
            if there:
                await self._announce(slot, "Retiring", f"{replicas} of each service are left in {slot}")
            if replicas == 0:
                await self._helm.uninstall(self.name_of(slot))
            elif any(count > replicas for count in there.values()):
                held = (await self.placements())[slot]
                chart = self._chart(held.digest, "retire")
                wanted = {service: min(replicas, count) for service, count in there.items()}
                await self._upgrade(slot, chart, held.digest, held.version, wanted)
            await self._wait_gone(slot, replicas)

    async def drain(self, slot: str, to: str, keep: int, *, key: str) -> list[DrainReport]:
        """Move what lives on all but `keep` pods of each service to the slot `to`, in the release's order.

        Pods that leave get no more work from their Service first. Raises a retryable `AdapterError` when a leader
        keeps its lead for longer than its `drain_timeout_s`.
        """
        del key  # Services take a repeated request as the same.
        held = (await self.placements()).get(slot)
        if held is None:
            return []
        project = self._chart(held.digest, "drain").project
        pods = await self._pods(slot)
        reports = []
        for name in project.service_order:
            leaving = _surplus([pod for pod in pods if _service(pod) == name], keep)
            if not leaving:
                continue
            service = project.services[name]
            await asyncio.gather(*(self._mark_leaving(pod, paused=keep > 0) for pod in leaving))
            moves = await asyncio.gather(
                *(
                    move(functools.partial(self._ask_drain, pod, service), to, timeout_s=service.drain_timeout_s)
                    for pod in leaving
                )
            )
            reports.append(DrainReport(name, sum(moved for moved, _ in moves), sum(left for _, left in moves)))
            if service.protocol == "leader":
                await self._take_lead(to, name, service)
                kept = {pod.metadata.name: left for pod, (_, left) in zip(leaving, moves, strict=True)}
                refuse_kept_lead(SYSTEM, kept, to, timeout_s=service.drain_timeout_s)
        await self._announce(slot, "Drained", f"what lived in {slot} has moved to {to}")
        return reports

    async def migrate(self, phase: str, digest: str, *, key: str) -> None:
        """Run the release's migration Job for a phase, once for each key; nothing if the release has none."""
        async with self._lock:
            chart = self._chart(digest, "migrate")
            settings = chart.project.release
            if (settings.expand if phase == "expand" else settings.contract) is None:
                return
            path = f"batch/v1/jobs/{self._project}-{phase}-{hashlib.sha256(key.encode()).hexdigest()[:10]}"
            needs, job = await self._migration(chart, phase, digest, path.rpartition("/")[2])
            try:
                if await self._api.find(path, Job) is None:
                    for one_path, content in needs.items():
                        await self._api.apply(one_path, content, force=True)
                    await self._api.apply(path, job)
                await self._wait_job(path, phase)
            finally:
                for one_path in needs:
                    await self._api.delete(one_path)

    async def observe(self, slot: str) -> SideHealth:
        """Pods, ready pods, restarts, and failed readiness and liveness checks since the slot's release was placed."""
        deployments = await self._deployments(slot)
        if not deployments:
            return SideHealth(observed=True)
        pods, events = await asyncio.gather(self._pods(slot), self._events("Unhealthy"))
        names = {pod.metadata.name for pod in pods}
        services = [one.metadata.labels.get(SERVICE, "") for one in deployments]
        own = {service: [pod for pod in pods if _service(pod) == service] for service in services}
        order = self._order(deployments[0].metadata.annotations.get(DIGEST, ""), list(own))
        return SideHealth(
            observed=True,
            services=tuple(
                ServiceHealth(service, len(own[service]), sum(pod.ready for pod in own[service])) for service in order
            ),
            restarts=sum(status.restart_count for pod in pods for status in pod.status.container_statuses),
            failed_health_checks=sum(event.count for event in events if _counts(event, names)),
            version=deployments[0].metadata.annotations.get(VERSION, ""),
        )

    async def pods_by_service(self, slot: str) -> dict[str, list[Pod]]:
        """The pods of a slot, by service."""
        pods = await self._pods(slot)
        return {service: [pod for pod in pods if _service(pod) == service] for service in sorted(map(_service, pods))}

    async def render(self, chart: Chart) -> Rendered:
        """Render every object that a release of this chart may consist of, its migrations as well."""
        import yaml

        async def objects(phase: str | None = None) -> list[dict[str, Any]]:
            values = chart.values_of(self._environment, "blue", "sha256:" + "0" * 64, phase=phase)
            only = MIGRATION_TEMPLATE if phase else None
            text = await self._helm.render(self.name_of("blue"), chart.folder, chart.values, values, only=only)
            return list(filter(None, yaml.safe_load_all(text)))

        release = chart.project.release
        phases = [phase for phase in ("expand", "contract") if getattr(release, phase) is not None]
        installed, *migrations = await asyncio.gather(objects(), *(objects(phase) for phase in phases))
        return Rendered(installed, [one for some in migrations for one in some])

    # --- what the methods share

    def _order(self, digest: str, services: list[str]) -> list[str]:
        """Put services in the release's order, as far as the release is known on this machine."""
        try:
            order = self._chart_of(digest).project.service_order
        except AdapterError:
            return sorted(services)
        return [name for name in order if name in services]

    def _chart(self, digest: str, operation: str) -> Chart:
        chart = self._chart_of(digest)
        missing = [name for name in chart.project.services if "@sha256:" not in chart.images.get(name, "")]
        if missing:
            message = (
                f"the release has no image by digest for {', '.join(missing)}. "
                'A build job leaves images.json in {out}: {"SERVICE": "REGISTRY/NAME@sha256:DIGEST"}'
            )
            raise AdapterError(SYSTEM, operation, message, effect="not_applied")
        return chart

    async def _deployments(self, slot: str) -> tuple[Deployment, ...]:
        params = {"labelSelector": f"{SLOT}={slot}"}
        return (await self._api.read("apps/v1/deployments", Deployments, params=params)).items

    async def _replicas(self, slot: str) -> dict[str, int]:
        """How many pods each service of a slot shall have."""
        return {one.metadata.labels.get(SERVICE, ""): one.spec.replicas for one in await self._deployments(slot)}

    async def _pods(self, slot: str) -> list[Pod]:
        """All pods of the slot's services that were not told to end; of its Jobs none."""
        return [pod for pod in await self._all_pods(slot) if not pod.leaving]

    async def _all_pods(self, slot: str) -> list[Pod]:
        found = await self._api.read("v1/pods", Pods, params={"labelSelector": f"{SLOT}={slot},{SERVING}"})
        return [pod for pod in found.items if pod.status.phase not in ("Succeeded", "Failed")]

    async def _events(self, reason: str | None = None) -> tuple[Event, ...]:
        """Events of a reason, or all: that a node is brought for a pod is no warning."""
        params = {"fieldSelector": f"reason={reason}"} if reason else None
        return (await self._api.read("v1/events", Events, params=params)).items

    async def _upgrade(self, slot: str, chart: Chart, digest: str, version: str, replicas: Mapping[str, int]) -> None:
        values = chart.values_of(self._environment, slot, digest, version=version, replicas=replicas)
        await self._helm.upgrade(self.name_of(slot), chart.folder, chart.values, values)

    async def _announce(self, slot: str, reason: str, message: str) -> None:
        """Tell people who look with kubectl; what cannot be told to them is in the journal all the same."""
        with contextlib.suppress(AdapterError):
            deployments = await self._deployments(slot)
            if not deployments:
                return
            about = deployments[0].metadata
            now = dt.datetime.fromtimestamp(time.time(), dt.UTC).isoformat(timespec="seconds")
            event = {
                "metadata": {"generateName": f"{about.name}-", "namespace": self._api.namespace},
                "involvedObject": {
                    "apiVersion": "apps/v1",
                    "kind": "Deployment",
                    "namespace": self._api.namespace,
                    "name": about.name,
                    "uid": about.uid,
                },
                "reason": reason,
                "message": message,
                "type": "Normal",
                "source": {"component": FIELD_MANAGER},
                "firstTimestamp": now,
                "lastTimestamp": now,
                "count": 1,
            }
            await self._api.create("v1/events", event)

    async def _wait_ready(self, slot: str, wanted: Mapping[str, int], timeout_s: float) -> None:
        """Wait until all pods are ready; raises `AdapterError` at once when waiting cannot help, else in the end."""
        begun = time.monotonic()
        while True:
            deployments, pods = await asyncio.gather(self._deployments(slot), self._pods(slot))
            if len(deployments) == len(wanted) and all(_is_rolled_out(one) for one in deployments):
                return
            waited_s = time.monotonic() - begun
            late = waited_s > timeout_s
            found = diagnose(deployments, pods, await self._events(), waited_s=waited_s)
            if found is not None and (found.hopeless or late):
                raise AdapterError(SYSTEM, "place", await explain(self._api, found))
            if late:
                ready = ", ".join(
                    f"{one.metadata.labels.get(SERVICE)} {one.status.ready_replicas} of {one.spec.replicas}"
                    for one in deployments
                )
                message = f"not ready within {timeout_s:g} s: {ready or 'no Deployment with our labels'}"
                raise AdapterError(SYSTEM, "place", message)
            await asyncio.sleep(POLL_S)

    async def _put_back(self, slot: str, chart: Chart, before: Held | None, there: Mapping[str, int]) -> None:
        """Leave the slot as it was before a release could not be placed in it."""
        if before is None:
            await self._helm.uninstall(self.name_of(slot))
            await self._wait_gone(slot, 0)
        else:
            await self._upgrade(slot, chart, before.digest, before.version, there)

    async def _wait_gone(self, slot: str, replicas: int) -> None:
        """Wait until what has to end has ended; its own grace period decides how long that takes."""
        deadline = time.monotonic() + GONE_TIMEOUT_S
        while True:
            pods = await self._all_pods(slot)
            counts = {service: sum(_service(pod) == service for pod in pods) for service in map(_service, pods)}
            if all(count <= replicas for count in counts.values()):
                return
            if time.monotonic() > deadline:
                names = ", ".join(pod.metadata.name for pod in pods if pod.leaving)
                message = f"still ending after {GONE_TIMEOUT_S:g} s: {names}"
                raise AdapterError(SYSTEM, "retire", message, retryable=True)
            await asyncio.sleep(POLL_S)

    async def _mark_leaving(self, pod: Pod, *, paused: bool) -> None:
        """Make a pod the first to end when its Deployment shrinks; paused, its Service sends it no more work."""
        labels = {"labels": {SERVING: "false"}} if paused else {}
        content = {"metadata": {"annotations": {DELETION_COST: "-1000"}, **labels}}
        try:
            await self._api.merge(f"v1/pods/{pod.metadata.name}", content)
        except AdapterError as error:
            if not is_missing(error):
                raise

    async def _ask_drain(self, pod: Pod, service: Service, method: Method, body: dict[str, str] | None) -> int:
        answer = await self._api.ask_pod(pod.metadata.name, pod.port(OPERATIONS_PORT), service.drain, method, body)
        if answer.status_code in ABSENT or UNREACHED in answer.content:
            return 0  # It has nothing to move, or nobody listens there: what does not run holds nothing.
        try:
            if answer.is_success:
                return msgspec.json.decode(answer.content, type=Remaining).remaining
            problem = str(answer.status_code)
        except msgspec.DecodeError as error:
            problem = str(error)
        message = f"{pod.metadata.name} did not answer {method} {service.drain}: {problem}"
        raise AdapterError(SYSTEM, "drain", message, retryable=True)

    async def _lead_if_alone(self, slot: str, project: Project) -> None:
        """Let a slot lead where no other is: a database outlives those who led in it, and none can pass it on now."""
        if set(await self.placements()) == {slot}:
            for name, service in project.services.items():
                if service.protocol == "leader":
                    await self._take_lead(slot, name, service)

    async def _take_lead(self, slot: str, name: str, service: Service) -> None:
        """Ask the side that takes over as well: a leader that died cannot pass its lead on."""
        for pod in await self._pods(slot):
            if _service(pod) == name and pod.ready:
                await self._ask_drain(pod, service, "POST", {"to": slot})

    async def _migration(
        self, chart: Chart, phase: str, digest: str, name: str
    ) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
        """Take a phase's Job from the chart, under the given name, and what else the template says that it needs."""
        import yaml

        values = chart.values_of(self._environment, "migration", digest, phase=phase)
        text = await self._helm.render(self._project, chart.folder, chart.values, values, only=MIGRATION_TEMPLATE)
        needs: dict[str, dict[str, Any]] = {}
        job: dict[str, Any] = {}
        for one in filter(None, yaml.safe_load_all(text)):
            one["metadata"].pop("annotations", None)
            if one["kind"] == "Job":
                one["metadata"]["name"] = name
                one["spec"].setdefault("ttlSecondsAfterFinished", JOB_KEPT_S)
                job = one
            else:
                needs[f"{one['apiVersion']}/{plural(one['kind'])}/{one['metadata']['name']}"] = one
        if not job:
            message = f"{MIGRATION_TEMPLATE} of the chart has no Job for {phase}; write one, or remove release.{phase}"
            raise AdapterError(SYSTEM, "migrate", message, effect="not_applied")
        return needs, job

    async def _wait_job(self, path: str, phase: str) -> None:
        begun = time.monotonic()
        selector = {"labelSelector": f"batch.kubernetes.io/job-name={path.rpartition('/')[2]}"}
        while True:
            job = await self._api.read(path, Job)
            ended = {condition.type for condition in job.status.conditions if condition.status == "True"}
            if "Complete" in ended:
                return
            pods = (await self._api.read("v1/pods", Pods, params=selector)).items
            waited_s = time.monotonic() - begun
            found = diagnose((), pods, await self._events(), waited_s=waited_s)
            late = waited_s > MIGRATION_TIMEOUT_S
            if "Failed" in ended or late or (found is not None and found.hopeless):
                newest = max(pods, key=lambda pod: pod.metadata.creation_timestamp, default=None)
                lines = await last_lines(self._api, newest.metadata.name, "") if newest else ""
                why = f"the Job {phase} " + (f"has not ended within {MIGRATION_TIMEOUT_S:g} s" if late else "failed")
                if found is not None and (found.hopeless or late):
                    why = found.sentence
                raise AdapterError(SYSTEM, "migrate", f"{why}\n{lines}".rstrip(), effect="unknown")
            await asyncio.sleep(POLL_S)


def _service(pod: Pod) -> str:
    return pod.metadata.labels.get(SERVICE, "")


def _surplus(pods: Sequence[Pod], keep: int) -> list[Pod]:
    """All pods of a service but `keep`, which are the newest ready ones."""
    by_age = sorted(pods, key=lambda pod: (pod.ready, pod.metadata.creation_timestamp, pod.metadata.name))
    return by_age[: max(0, len(by_age) - keep)]


def _is_rolled_out(deployment: Deployment) -> bool:
    status, wanted = deployment.status, deployment.spec.replicas
    seen = status.observed_generation >= deployment.metadata.generation
    return seen and status.updated_replicas == status.ready_replicas == status.replicas == wanted


def _counts(event: Event, pods: set[str]) -> bool:
    """Whether an event is a failed health check of a service that had started."""
    return event.involved_object.name in pods and not event.message.startswith("Startup probe")
