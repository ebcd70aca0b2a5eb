"""A release as Helm needs it: its chart, and the values that openbell sets.

Source: docs/kubernetes.md, which says what a chart must make of these values
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from openbell.core.places import lay_over, object_name, settings_of
from openbell.core.project import Project

DIGEST, VERSION = "openbell.dev/digest", "openbell.dev/version"


class Chart(msgspec.Struct, frozen=True):
    """Its project, its chart, values files of the tree, its images by service, and what only the environment knows."""

    project: Project
    folder: Path
    values: tuple[Path, ...]
    images: dict[str, str]
    settings: dict[str, Any] = {}

    def values_of(
        self,
        environment: str,
        slot: str,
        digest: str,
        *,
        version: str = "",
        replicas: Mapping[str, int] | None = None,
        phase: str | None = None,
    ) -> dict[str, Any]:
        """Compose values: who the release is, how many, which images, and the migration of a phase or none.

        Variables are those that the release pins, so that they roll back with it.
        """
        counts = replicas or {}
        images = {name: _image(self.images[name]) for name in self.project.services}
        services: dict[str, dict[str, Any]] = {}
        for name, service in self.project.services.items():
            own = {"env": dict(service.env)} if service.env else {}
            services[name] = {"replicas": counts.get(name, 0), "image": images[name], **own}
        return lay_over(
            self.settings,
            {
                "openbell": {"environment": object_name(environment), "slot": slot, "release": _short(digest)},
                "annotations": {DIGEST: digest, VERSION: version},
                "image": next(iter(images.values())),
                "services": services,
                "config": dict(settings_of(self.project, environment).env),
                "migrations": {
                    "expand": phase == "expand",
                    "contract": _short(digest) if phase == "contract" else "",
                },
            },
        )


def _image(reference: str) -> dict[str, str]:
    """Take REPOSITORY@sha256:DIGEST apart."""
    repository, _, digest = reference.partition("@")
    return {"repository": repository, "digest": digest}


def _short(digest: str) -> str:
    """The first twelve digits of a digest, as labels have it."""
    return digest.removeprefix("sha256:")[:12]
