"""Releases of the tiny service, written to a state folder as the build stage would."""

import hashlib
import json
import sys
from pathlib import Path

import msgspec

from openbell.core.project import Environment, Project, ProjectInfo, ReleaseInfo, Service
from openbell.core.release import Artifact, Release
from openbell.ports import ReleaseRef
from openbell.wiring.releases import IMAGES
from openbell.wiring.state import StateFolder

PROGRAM = Path(__file__).with_name("service.py")
RUN = f"{sys.executable} -I -S {PROGRAM} --port {{port}}"


def project(**env: str) -> Project:
    """A project with one service of each kind that the router treats differently; `env` makes it misbehave."""
    return Project(
        project=ProjectInfo(name="tiny"),
        services={
            "worker": Service(protocol="leader", run=RUN),
            "api": Service(protocol="http", run=RUN, env=env, drain_timeout_s=5.0),
            "fix-gateway": Service(protocol="fix", run=f"{RUN} --http-port {{http_port}}", drain_timeout_s=5.0),
        },
        order=("fix-gateway", "worker"),
        environments={"production": Environment(replicas=2)},
    )


def write_release(
    state: StateFolder,
    version: str,
    content: Project,
    *,
    release: ReleaseInfo | None = None,
    images: dict[str, str] | None = None,
) -> ReleaseRef:
    """Write a release's manifest and images, as if it had been built."""
    named = json.dumps(images).encode()
    listed = Artifact(IMAGES, hashlib.sha256(named).hexdigest(), len(named))
    made = Release(
        project=msgspec.structs.replace(content, release=release or content.release),
        commit=version,
        artifacts=(listed,) if images is not None else (),
    )
    folder = state.release(made.digest)
    (folder / "artifacts").mkdir(parents=True, exist_ok=True)
    if images is not None:
        (folder / "artifacts" / IMAGES).write_bytes(named)
    (folder / "manifest.json").write_bytes(msgspec.json.encode(made, order="deterministic"))
    return ReleaseRef(made.digest, version)
