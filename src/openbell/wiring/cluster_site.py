"""An environment in a namespace of a Kubernetes cluster. Implements `openbell.wiring.site.Site`.

PostgreSQL, Valkey, the gateway and Prometheus are the cluster's owner's: they are looked for before anything is
touched, and never started or stopped here. What a release needs is in its folder: chart and values files among its
configuration, its images by digest in `images.json` among its artifacts.
"""

import contextlib
import functools
import shutil
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path

import msgspec

from openbell.adapters.kubernetes.api import Api
from openbell.adapters.kubernetes.chart import Chart
from openbell.adapters.kubernetes.forward import forwarded
from openbell.adapters.kubernetes.helm import Helm
from openbell.adapters.kubernetes.permissions import access_for
from openbell.adapters.kubernetes.platform import Kubernetes
from openbell.adapters.kubernetes.prerequisites import Gateway, gateway_problems, read_gateway
from openbell.adapters.kubernetes.routes import GatewayRoutes
from openbell.adapters.prometheus import PrometheusMetrics
from openbell.core.places import namespace_of, object_name, settings_of
from openbell.core.project import Cluster, Project
from openbell.core.release import Release
from openbell.ports import SLOTS, AdapterError, Held
from openbell.wiring.cluster_examination import METRICS, Subject, examine_cluster
from openbell.wiring.environment_status import (
    EnvironmentState,
    EnvironmentStatus,
    InstanceStatus,
    PartStatus,
    RolloutStatus,
    ServiceStatus,
    SlotStatus,
)
from openbell.wiring.releases import IMAGES, refuse_changed
from openbell.wiring.site import Check, Progress, addresses, find_secret, silent
from openbell.wiring.state import StateFolder


class ClusterSite:
    """One environment of a project in a cluster."""

    def __init__(self, project: Project, name: str, state: StateFolder) -> None:
        self.name = name
        self.project = project
        self._settings = settings_of(project, name).cluster or Cluster()
        self._state = state
        namespace = namespace_of(project, name)
        self._api = Api(self._settings.context, namespace)
        self._helm = Helm(self._settings.context, namespace)

    @functools.cached_property
    def platform(self) -> Kubernetes:
        """Where its releases run."""
        return Kubernetes(
            self._api,
            self._helm,
            project=self.project.project.name,
            environment=self.name,
            chart_of=self._chart_of,
        )

    @functools.cached_property
    def router(self) -> GatewayRoutes:
        """What sends work to them."""
        name = self.project.project.name
        return GatewayRoutes(
            self._api,
            project=name,
            gateway=self._settings.gateway,
            services=self.project.services,
            address=self._settings.address,
        )

    @functools.cached_property
    def metrics(self) -> PrometheusMetrics:
        """What counts how they serve."""
        url, namespace = self._settings.metrics_url, self._api.namespace
        return PrometheusMetrics(url, project=self.project.project.name, namespace=namespace)

    async def up(
        self,
        progress: Progress = silent,
        *,
        new_ports: bool = False,
        releases: Sequence[str] = (),
        judged: bool = True,
    ) -> list[str]:
        """See that the cluster has what a rollout needs; raises `AdapterError` naming all that is missing.

        What needs more than another are the charts: those of `releases`, and of what is placed and may have to leave.
        """
        del new_ports  # Ports are the gateway's.
        progress(f"{self.name}: looking at the namespace {self._api.namespace}")
        charts = {digest: self._chart_of(digest) for digest in releases}
        with contextlib.suppress(AdapterError):  # What keeps it from being seen is found below.
            for held in (await self.platform.placements()).values():
                with contextlib.suppress(AdapterError):  # Without its chart it can still be taken away.
                    charts.setdefault(held.digest, self._chart_of(held.digest))
        found = await self._examine(charts.values())
        wanted = [one for one in found if one.needed and (judged or one.name != METRICS)]
        problems = [f"{one.found}. {one.remedy}".strip() for one in wanted if not one.ok]
        if problems:
            raise AdapterError(self.name, "up", "\n".join(problems), effect="not_applied")
        return []

    async def examine(self, tree: Path | None = None) -> list[Check]:
        """What this machine and the cluster have of what a rollout needs, for releases of the chart in a tree."""
        return await self._examine([self._chart_in(tree)] if tree is not None else [])

    async def _examine(self, charts: Iterable[Chart]) -> list[Check]:
        gateway = self._settings.gateway
        return await examine_cluster(
            Subject(self.name, self._api, self._helm, self.platform, self.router, self.metrics, gateway, tuple(charts))
        )

    def backing_services(self) -> dict[str, str]:
        """DATABASE_URL, if it is known here as a secret: what the services use is in Secrets of the cluster."""
        url = self.secret("DATABASE_URL")
        return {} if url is None else {"DATABASE_URL": url}

    async def down(self, progress: Progress = silent, *, purge: bool = False) -> None:
        """Take the releases and their routes away. Databases are not ours: what they hold stays, also with `purge`."""
        for slot in SLOTS:
            progress(f"{self.name}: removing {self.platform.name_of(slot)}")
            await self.platform.retire(slot, 0, key="down")
        await self.router.remove()
        if purge:
            shutil.rmtree(self._state.environment(self.name), ignore_errors=True)

    async def holdings(self) -> dict[str, Held]:
        """What each occupied slot holds."""
        return await self.platform.placements()

    @contextlib.asynccontextmanager
    async def reach(self, slot: str | None = None) -> AsyncIterator[dict[str, str]]:
        """Addresses of the services: the gateway's, or ports of this machine that lead to a slot's Services."""
        if slot is None:
            yield self._customers(await read_gateway(self._api, self._settings.gateway))
            return
        services = {
            name: (f"{self.platform.name_of(slot)}-{name}", port)
            for name, port in (await self.router.ports(slot)).items()
        }
        missing = [name for name in self.router.listeners if name not in services]
        if missing:
            message = f"slot {slot} has no Service of {', '.join(missing)}; is a release placed there?"
            raise AdapterError("kubernetes", "reach", message, effect="not_applied")
        async with forwarded(self._settings.context, self._api.namespace, services) as ports:
            yield addresses(self.project, lambda name: ("127.0.0.1", ports[name]))

    def _customers(self, gateway: Gateway) -> dict[str, str]:
        known = self._settings.address or gateway.address
        if not known:
            message = f"the Gateway {self._settings.gateway} does not say where it answers; name it: address = ..."
            raise AdapterError("kubernetes", "gateway", message, effect="not_applied")
        ports = {listener.name: listener.port for listener in gateway.spec.listeners}
        if not ports.keys() >= set(self.router.listeners):
            message = "; ".join(gateway_problems(gateway, list(self.router.listeners)))
            raise AdapterError("kubernetes", "gateway", message, effect="not_applied")
        return addresses(self.project, lambda name: (known, ports[name]))

    def secret(self, name: str) -> str | None:
        """Look a secret up in the caller's environment, then in the environment's `secrets.toml`."""
        return find_secret(self._state.environment(self.name), name)

    async def close(self) -> None:
        """Close the connections to the API server."""
        await self._api.close()

    async def look(self, rollout: RolloutStatus | None = None) -> EnvironmentStatus:
        """Look at it as it is now, and change nothing."""
        try:
            return await self._look(rollout)
        except AdapterError as error:
            state: EnvironmentState = "down" if error.operation == "gateway" else "unreachable"
            return EnvironmentStatus(self.name, state, reason=error.message, rollout=rollout)

    async def _look(self, rollout: RolloutStatus | None) -> EnvironmentStatus:
        gateway = await read_gateway(self._api, self._settings.gateway)
        problems = gateway_problems(gateway, list(self.router.listeners))
        weights, sessions = await self.router.weights(), await self.router.sessions()
        held = await self.holdings()
        slots = [await self._slot(slot, held[slot], weights, sessions) for slot in SLOTS if slot in held]
        return EnvironmentStatus(
            environment=self.name,
            state="up",
            parts=(PartStatus("gateway", "; ".join(problems) or "running", None, 0),),
            slots=tuple(slots),
            addresses={} if problems else self._customers(gateway),
            rollout=rollout,
        )

    async def _slot(self, slot: str, held: Held, weights: dict[str, int], sessions: str) -> SlotStatus:
        services = []
        for name, pods in (await self.platform.pods_by_service(slot)).items():
            instances = tuple(
                InstanceStatus(
                    name=pod.metadata.name,
                    port=pod.port("http"),
                    state=pod.status.phase.lower(),
                    pid=None,
                    healthy=pod.ready,
                    restarts=sum(one.restart_count for one in pod.status.container_statuses),
                    failed_health_checks=0,
                    sessions=0,
                )
                for pod in pods
            )
            # A release may have services that the configuration does not have any more.
            known = self.project.services.get(name)
            services.append(ServiceStatus(name, known.protocol if known else "", None, instances))
        return SlotStatus(
            slot=slot,
            release=held.digest,
            version=held.version,
            placed_at_s=0.0,
            weight_pct=weights.get(slot, 0),
            fix_sessions=sessions == slot,
            services=tuple(services),
        )

    async def render_permissions(self, root: Path) -> str:
        """Write down, as YAML, the permissions that suffice for releases of the chart in a project's tree."""
        import yaml

        rendered = await self.platform.render(self._chart_in(root))
        gateway = self._settings.gateway.rpartition("/")[0]
        access = access_for(f"openbell-{object_name(self.name)}", self._api.namespace, rendered, gateway=gateway)
        return yaml.safe_dump_all(access, sort_keys=False)

    def _chart_in(self, root: Path) -> Chart:
        """The chart of a project's tree, whose images are not built yet."""
        images = dict.fromkeys(self.project.services, f"registry.example/image@sha256:{'0' * 64}")
        values = tuple(root / name for name in self._settings.values)
        return Chart(self.project, root / self._settings.chart, values, images, self._settings.settings)

    def _chart_of(self, digest: str) -> Chart:
        """Find a release's chart and images. Raises `AdapterError` when this machine does not have the release."""
        folder = self._state.release(digest)
        try:
            manifest = (folder / "manifest.json").read_bytes()
            release = msgspec.json.decode(manifest, type=Release)
            refuse_changed(folder, manifest, release, digest)
            images = self._images(folder / "artifacts" / IMAGES)
        except (OSError, ValueError) as error:
            message = f"the release {digest[:19]} is not whole on this machine: {error}. Build it again: openbell run"
            raise AdapterError("kubernetes", "release", message, effect="not_applied") from error
        chart = folder / "config" / self._settings.chart
        if not (chart / "Chart.yaml").is_file():
            message = (
                f"the release {digest[:19]} has no chart {self._settings.chart}; was it built before it was named?"
            )
            raise AdapterError("kubernetes", "release", message, effect="not_applied")
        values = tuple(folder / "config" / name for name in self._settings.values)
        missing = [str(path.relative_to(folder / "config")) for path in values if not path.is_file()]
        if missing:
            message = (
                f"the release {digest[:19]} has no values file {', '.join(missing)}; was it built before it was named?"
            )
            raise AdapterError("kubernetes", "release", message, effect="not_applied")
        return Chart(release.project, chart, values, images, self._settings.settings)

    def _images(self, path: Path) -> dict[str, str]:
        """Read `{"SERVICE": "REPOSITORY@sha256:DIGEST"}`; a release without images has none."""
        if not path.exists():
            return {}
        try:
            return msgspec.json.decode(path.read_bytes(), type=dict[str, str])
        except ValueError as error:
            message = f'the release\'s {IMAGES} is not {{"SERVICE": "REPOSITORY@sha256:DIGEST"}}: {error}'
            raise AdapterError("kubernetes", "release", message, effect="not_applied") from error
