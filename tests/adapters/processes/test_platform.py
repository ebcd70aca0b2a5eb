"""Placing and draining where something goes wrong that real processes do only by chance."""

import functools
from collections.abc import Sequence
from pathlib import Path

import httpx
import msgspec
import pytest

from openbell.adapters.processes import Processes, endpoints
from openbell.adapters.processes.placement import Instance, Occupation, PlacementFile
from openbell.adapters.processes.runtime import Surroundings
from openbell.core.project import Environment, Project, ProjectInfo, Service
from openbell.core.release import Release
from openbell.machine import ProcessState, Program, ProgramState, Server, ServerState, ServiceCheck
from openbell.ports import AdapterError, ReleaseRef


class GivesUp:
    """A supervisor whose programs all end at once, and say their secrets first; or one that only says they run."""

    def __init__(self, state: ProcessState = "fatal") -> None:
        self.state = state
        self.programs: dict[str, Program] = {}

    async def add(self, programs: Sequence[Program]) -> None:
        self.programs |= {program.name: program for program in programs}

    async def remove(self, names: Sequence[str]) -> None:
        for name in names:
            self.programs.pop(name, None)

    async def states(self) -> dict[str, ProgramState]:
        return {name: ProgramState(self.state, None, 3, 0.0) for name in self.programs}

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


def processes(folder: Path, supervisor: GivesUp | None = None) -> Processes:
    addresses = {"DATABASE_URL": "postgresql://openbell:hush@127.0.0.1/x"}
    return Processes(
        folder,
        supervisor or GivesUp(),
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


async def test_what_kept_a_service_from_getting_ready_is_told_and_its_log_once(tmp_path: Path) -> None:
    release = write_release(tmp_path)
    with pytest.raises(AdapterError) as caught:
        await processes(tmp_path, GivesUp("running")).place("blue", release, 1, timeout_s=0.3, key="place")
    first, end, *lines = caught.value.message.splitlines()
    assert first == "blue-worker-1 did not get ready within 0.3 s: nothing accepts connections on port 1"
    assert end == f"its log ends ({tmp_path / 'logs' / 'blue-worker-1.log'})"
    assert len(lines) == 1


@pytest.mark.parametrize("kept", [0, 1])
async def test_a_lead_that_is_kept_is_no_handover(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: int) -> None:
    release = write_release(tmp_path)
    leaders = tuple(Instance(f"blue-worker-{number}", "worker", number, number) for number in (1, 2))
    PlacementFile(tmp_path / "instances.json").write("blue", Occupation(release.digest, release.version, 0.0, leaders))
    transport = httpx.MockTransport(
        lambda request: httpx.Response(202, json={"remaining": kept if request.url.port == 2 else 0})
    )
    monkeypatch.setattr(endpoints, "client", functools.partial(httpx.AsyncClient, transport=transport))
    drain = processes(tmp_path).drain("blue", "green", 0, key="handover")
    if not kept:
        assert [report.remaining for report in await drain] == [0]
        return
    with pytest.raises(AdapterError, match="blue-worker-2 did not hand its lead over to green") as caught:
        await drain
    assert (caught.value.retryable, caught.value.effect) == (True, "unknown")
