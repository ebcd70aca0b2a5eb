"""`openbell init --chart`: write a Helm chart for the services of a project, which keeps to docs/kubernetes.md.

The templates are the files in `chart` beside this module; what follows from the configuration are the chart's values
and the names that its schema allows.
"""

import math
import re
import shlex
import shutil
from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import msgspec

from openbell.core.pattern import fill
from openbell.core.project import Project, Service
from openbell.files import write_whole
from openbell.ports import AdapterError
from openbell.wiring.initialise import InitError

HTTP_PORT, FIX_PORT = 8080, 9878
_FOLDER_OF_RELEASE = re.compile(r"\{(release|artifacts)\}")
"""Placeholders that mean nothing in an image, which has its programs where its author put them."""
_SHELL = re.compile(r"[\n;&|<>()$`*?\[\]{}~#=]")
"""Characters that only a shell makes something of."""


class WrittenChart(msgspec.Struct, frozen=True):
    """What was written, and what its reader should know."""

    folder: Path
    services: tuple[str, ...]
    notes: tuple[str, ...]


def initialise_chart(root: Path, project: Project) -> WrittenChart:
    """Write the chart into the folder that the environments in a cluster name; `chart` without any.

    Nothing that is there is replaced: raises `InitError`.
    """
    named = [one.cluster.chart for one in project.environments.values() if one.cluster is not None]
    folder = root / (named[0] if named else "chart")
    if folder.exists():
        where = folder.relative_to(root)
        raise InitError(f"{where} is there already. Remove it to have it written anew, or name another: chart = ...")
    if not project.services:
        raise InitError("openbell.toml has no services, so there is nothing to write a chart of: add [services.NAME]")
    try:
        (folder / "templates").mkdir(parents=True)
        for path, text in _compose(project):
            write_whole(folder / path, text.encode(), mode=0o644)
    except (AdapterError, OSError) as error:
        shutil.rmtree(folder, ignore_errors=True)  # It was not there before.
        why = error.message if isinstance(error, AdapterError) else f"{folder}: {error.strerror}"
        raise InitError(f"the chart was not written: {why}") from error
    return WrittenChart(folder, tuple(project.services), tuple(_notes(project)))


def _compose(project: Project) -> Iterator[tuple[str, str]]:
    """Compose each file of the chart, by its path in it."""
    source = resources.files("openbell.wiring") / "chart"
    for template in sorted((source / "templates").iterdir(), key=lambda one: one.name):
        yield f"templates/{template.name}", template.read_text()
    name = project.project.name
    yield "Chart.yaml", (source / "Chart.yaml").read_text().format(name=name)
    yield "values.yaml", _values(project, source)
    yield "values.schema.json", _schema(project, source)


def _values(project: Project, source: Traversable) -> str:
    services = "".join(_service(name, one) for name, one in project.services.items())
    release = project.release
    return (source / "values.yaml").read_text().format(
        name=project.project.name,
        http_port=HTTP_PORT,
        fix_port=FIX_PORT,
        services=services,
        expand=_json(_script(release.expand)),
        contract=_json(_script(release.contract)),
    )  # fmt: skip


def _service(name: str, service: Service) -> str:
    return f"""\
  {_json(name)}:
    protocol: {service.protocol}
    replicas: 1
    image: {{repository: "", digest: ""}}
    command: {_json(_command(service))}
    env: {{}}
    health: {_json(service.health)}
    ready: {_json(service.ready)}
    drainSeconds: {max(1, math.ceil(service.drain_timeout_s))}
    resources:
      requests: {{cpu: 100m, memory: 128Mi}}
      limits: {{memory: 256Mi}}
"""


def _command(service: Service) -> list[str]:
    """The command of a service in its container; empty where only the image's author knows it."""
    if _FOLDER_OF_RELEASE.search(service.run):
        return []
    port = FIX_PORT if service.protocol == "fix" else HTTP_PORT
    # Kubernetes replaces $(NAME) in a command by the container's variable.
    known = {name: f"$(OPENBELL_{name.upper()})" for name in ("slot", "instance", "version")}
    texts = {"port": str(port), "http_port": str(HTTP_PORT), **known}
    return [fill(word, texts) for word in shlex.split(service.run)]


def _script(script: str | None) -> list[str]:
    """The command of a migration, with a shell only where it needs one."""
    if script is None:
        return []
    return ["/bin/sh", "-c", script] if _SHELL.search(script.strip()) else shlex.split(script)


def _schema(project: Project, source: Traversable) -> str:
    schema: dict[str, Any] = msgspec.json.decode((source / "values.schema.json").read_bytes())
    services = schema["properties"]["services"]
    services["properties"] = {name: {"$ref": "#/definitions/service"} for name in project.services}
    services["required"] = list(project.services)
    return msgspec.json.format(msgspec.json.encode(schema), indent=2).decode() + "\n"


def _notes(project: Project) -> Iterator[str]:
    """Say what nobody can know from the configuration."""
    for name, service in project.services.items():
        if not _command(service):
            yield f"{name} is started by its image's own command: what openbell.toml says is for a folder of a release."
    if project.release.expand or project.release.contract:
        yield "Migrations are run in the image of the first service."


def _json(content: object) -> str:
    """Write a value as JSON, which YAML is a superset of."""
    return msgspec.json.encode(content).decode()
