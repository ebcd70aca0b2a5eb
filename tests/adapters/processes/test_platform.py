"""Placing and draining where something goes wrong that real processes do only by chance."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from openbell.adapters.processes import Processes
from openbell.adapters.processes.runtime import Surroundings
from openbell.core.project import Environment, Project, ProjectInfo, Service
from openbell.core.release import Release
from openbell.machine import Program, ProgramState, Server, ServerState, ServiceCheck
from openbell.ports import AdapterError, ReleaseRef


class GivesUp:
    """A supervisor whose programs all end at once, and say their secrets first."""

    def __init__(self) -> None:
        self.programs: dict[str, Program] = {}

    async def add(self, programs: Sequence[Program]) -> None:
        self.programs |= {program.name: program for program in programs}

    async def remove(self, names: Sequence[str]) -> None:
        for name in names:
            self.programs.pop(name, None)

    async def states(self) -> dict[str, ProgramState]:
        return {name: ProgramState("fatal", None, 3, 0.0) for name in self.programs}

    async def last_lines(self, name: str, *, lines: int = 20) -> str:
        del lines
        env = self.programs[name].env
        return f"connecting to {env['DATABASE_URL']} with {env['API_KEY']} (hush)"


class NoTraffic:
    """A router that nothing goes through."""

    async def declare(self, slot: str, services: dict[str, ServiceCheck]) -> None: ...
    async def add(self, servers: Sequence[Server]) -> None: ...
    async def pause(self, names: Sequence[str]) -> None: ...
    async def remove(self, names: Sequence[str]) -> None: ...
    async def states(self) -> dict[str, ServerState]:
        return {}


def write_release(folder: Path) -> ReleaseRef:
    project = Project(
        project=ProjectInfo(name="tiny"),
        services={"worker": Service(protocol="leader", run="serve", drain_timeout_s=0.1)},
        environments={"production": Environment(secrets=("API_KEY",))},
    )
    release = Release(project, "c0ffee", ())
    (folder / "release" / "artifacts").mkdir(parents=True)
    (folder / "release" / "manifest.json").write_bytes(msgspec.json.encode(release))
    return ReleaseRef(release.digest, "1.0.0")


def processes(folder: Path) -> Processes:
    addresses = {"DATABASE_URL": "postgresql://openbell:hush@127.0.0.1/x"}
    return Processes(
        folder,
        GivesUp(),
        NoTraffic(),
        Surroundings("production", lambda: addresses, {"API_KEY": "k3y"}.get, "/bin", {}),
        release_folder=lambda _digest: folder / "release",
        port=lambda _name: 1,
        forget_ports=lambda _names: None,
    )


async def test_what_a_service_said_last_is_told_without_secrets(tmp_path: Path) -> None:
    release = write_release(tmp_path)
    with pytest.raises(AdapterError, match=r"connecting to \*\*\* with \*\*\* \(\*\*\*\)"):
        await processes(tmp_path).place("blue", release, 1, timeout_s=5, key="place")
