"""supervisord on its own; how an environment lives with it is in tests/wiring."""

import asyncio
import os
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from openbell.adapters.supervisor import Supervisord
from openbell.machine import Program, ProgramState
from openbell.ports import AdapterError

pytestmark = pytest.mark.asyncio(loop_scope="module")

DEADLINE_S = 10.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def supervisor(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Supervisord]:
    # A folder whose name needs care in a configuration that expands and splits.
    folder = tmp_path_factory.mktemp("a folder with 100% of 'all' ; that")
    with tempfile.TemporaryDirectory(prefix="ob-") as sockets:
        made = Supervisord(folder / "supervisor", folder / "logs", Path(sockets), "test")
        await made.start()
        try:
            yield made
        finally:
            await made.stop()


def program(name: str, *command: str, **settings: float) -> Program:
    return Program(name=name, command=command, folder="/", env={"PATH": os.environ["PATH"]}, **settings)  # type: ignore[arg-type]


async def state_of(supervisor: Supervisord, name: str, holds: Callable[[ProgramState], bool]) -> ProgramState:
    async def look() -> ProgramState | None:
        return (await supervisor.states()).get(name)

    return await until(look, lambda state: state is not None and holds(state))  # type: ignore[return-value]


async def until(
    look: Callable[[], Awaitable[ProgramState | None]], holds: Callable[[ProgramState | None], bool]
) -> ProgramState | None:
    deadline = time.monotonic() + DEADLINE_S
    while not holds(state := await look()):
        assert time.monotonic() < deadline, state
        await asyncio.sleep(0.02)
    return state


async def test_programs_are_added_while_it_runs_and_left_alone_when_they_are_there(supervisor: Supervisord) -> None:
    await supervisor.add([program("one", "sleep", "60"), program("two", "sleep", "60")])
    one = await state_of(supervisor, "one", lambda state: state.pid is not None)
    await supervisor.add([program("one", "sleep", "61"), program("three", "sleep", "60")])
    assert (await supervisor.states())["one"].pid == one.pid
    assert set(await supervisor.states()) == {"one", "two", "three"}
    await supervisor.remove(["one", "two", "three", "never-there"])
    assert await supervisor.states() == {}


async def test_two_callers_at_once_do_not_lose_each_others_programs(supervisor: Supervisord) -> None:
    names = [f"p{number}" for number in range(6)]
    await asyncio.gather(*(supervisor.add([program(name, "sleep", "60")]) for name in names))
    assert set(await supervisor.states()) == set(names)
    await asyncio.gather(*(supervisor.remove([name]) for name in names))
    assert await supervisor.states() == {}


async def test_a_crash_is_repaired_soon_and_counted(supervisor: Supervisord) -> None:
    await supervisor.add([program("worker", "sleep", "60")])
    old = await state_of(supervisor, "worker", lambda state: state.state == "running" and state.pid is not None)
    assert old.pid is not None
    begun = time.monotonic()
    os.kill(old.pid, signal.SIGKILL)
    new = await state_of(supervisor, "worker", lambda state: state.pid not in (None, old.pid))
    assert new.restarts == 1
    assert time.monotonic() - begun < 0.7, "supervisord learned of it at once, not at its next tick"
    await supervisor.remove(["worker"])
    await supervisor.add([program("worker", "sleep", "60")])
    assert (await supervisor.states())["worker"].restarts == 0, "counted since it was added"
    await supervisor.remove(["worker"])


async def test_a_program_that_cannot_start_backs_off_and_leaves_its_words(supervisor: Supervisord) -> None:
    await supervisor.add([program("broken", "sh", "-c", "echo the reason >&2; exit 3")])
    await state_of(supervisor, "broken", lambda state: state.state == "backoff")
    assert (await supervisor.last_lines("broken", lines=1)) == "the reason"
    await supervisor.remove(["broken"])


async def test_stopping_is_polite_first_and_then_not(supervisor: Supervisord) -> None:
    script = "trap 'echo asked' TERM; echo up; while :; do sleep 0.05; done"
    await supervisor.add([program("stubborn", "sh", "-c", script, stop_timeout_s=1.0)])
    started = await state_of(supervisor, "stubborn", lambda state: state.pid is not None)
    deadline = time.monotonic() + DEADLINE_S
    while "up" not in await supervisor.last_lines("stubborn"):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    await supervisor.remove(["stubborn"])
    assert "asked" in await supervisor.last_lines("stubborn")
    assert started.pid is not None
    with pytest.raises(ProcessLookupError):
        os.kill(started.pid, 0)


async def test_last_lines_of_what_never_ran(supervisor: Supervisord) -> None:
    assert await supervisor.last_lines("unknown") == ""


async def test_a_fault_says_which_program(supervisor: Supervisord) -> None:
    with pytest.raises(AdapterError, match=r"BAD_NAME.*unknown"):
        await supervisor.send_signal("unknown", "HUP")


async def test_one_that_is_down_says_how_to_start_it(tmp_path: Path) -> None:
    down = Supervisord(tmp_path / "supervisor", tmp_path / "logs", tmp_path, "staging")
    assert not await down.is_running()
    assert down.is_cold()
    with pytest.raises(AdapterError, match=r"environment staging is down\. Start it: openbell up staging") as caught:
        await down.states()
    assert caught.value.effect == "not_applied"
    await down.stop()


async def test_a_socket_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    sockets = tmp_path / "sockets"
    sockets.mkdir(mode=0o777)
    sockets.chmod(0o777)
    made = Supervisord(tmp_path / "supervisor", tmp_path / "logs", sockets, "staging")
    with pytest.raises(AdapterError, match="open to others"):
        await made.start()
