"""Ports that lead to Services, by a fake kubectl: found in what it says, and closed whatever happens."""

import asyncio
import os
from pathlib import Path

import pytest

from openbell.adapters.kubernetes import forward as module
from openbell.adapters.kubernetes.forward import forwarded
from openbell.ports import AdapterError
from tests.adapters.kubernetes.programs import Fake, fake

SERVICES = {"api": ("shop-green-api", 80), "fix-gateway": ("shop-green-fix-gateway", 9878)}
SAY = 'echo $$ >>"$KEPT/pids"; case $* in *api*) port=41001;; *) port=41002;; esac\n'
FORWARDS = f'{SAY}echo "Forwarding from 127.0.0.1:$port -> 8080"\n'
STAYS = "exec sleep 60"


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    return fake(tmp_path, monkeypatch, "kubectl")


def alive(program: Fake) -> list[int]:
    found = []
    for line in (program.kept / "pids").read_text().split():
        try:
            os.kill(int(line), 0)
        except ProcessLookupError:
            continue
        found.append(int(line))
    return found


async def test_each_service_gets_a_port_until_the_end(program: Fake) -> None:
    program.does(FORWARDS + STAYS)
    async with forwarded("kind", "trading", SERVICES) as ports:
        assert ports == {"api": 41001, "fix-gateway": 41002}
        assert len(alive(program)) == 2
    assert alive(program) == []
    assert program.calls[0] == [
        *("port-forward", "--namespace", "trading", "--context", "kind"),
        *("--address", "127.0.0.1", "service/shop-green-api", ":80"),
    ]


async def test_without_a_context_the_current_one_is_used(program: Fake) -> None:
    program.does(FORWARDS + STAYS)
    async with forwarded("", "trading", {"api": ("shop-green-api", 80)}):
        assert "--context" not in program.calls[0]


async def test_what_it_warns_of_before_does_no_harm(program: Fake) -> None:
    program.does(f'echo "W1124 memcache.go:265] unhandled" >&2\n{FORWARDS}{STAYS}')
    async with forwarded("", "trading", {"api": ("shop-green-api", 80)}) as ports:
        assert ports == {"api": 41001}


async def test_an_error_in_the_block_closes_the_ports(program: Fake) -> None:
    program.does(FORWARDS + STAYS)
    with pytest.raises(ZeroDivisionError):
        async with forwarded("", "trading", SERVICES):
            raise ZeroDivisionError
    assert alive(program) == []


async def test_where_one_cannot_be_reached_none_stays_open(program: Fake) -> None:
    program.does(
        f'{SAY}case $* in *fix*) echo "error: unable to forward port because pod is not running" >&2; exit 1;; esac\n'
        f"{FORWARDS}{STAYS}"
    )
    with pytest.raises(AdapterError) as caught:
        async with forwarded("", "trading", SERVICES):
            pytest.fail("it is not open")
    assert caught.value.message == (
        "service/shop-green-fix-gateway cannot be reached: error: unable to forward port because pod is not running"
    )
    assert (caught.value.system, caught.value.retryable, caught.value.effect) == ("kubectl", True, "not_applied")
    assert alive(program) == []


async def test_one_that_says_nothing_is_not_waited_for_for_ever(program: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "START_TIMEOUT_S", 0.1)
    program.does(f"{SAY}{STAYS}")
    with pytest.raises(AdapterError, match=r"service/shop-green-api cannot be reached: no answer within 0\.1 s"):
        async with forwarded("", "trading", {"api": ("shop-green-api", 80)}):
            pytest.fail("it is not open")
    assert alive(program) == []


async def test_one_that_does_not_want_to_end_is_ended(program: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "END_TIMEOUT_S", 0.1)
    program.does(f"trap '' TERM\n{FORWARDS}while :; do sleep 0.01; done")
    async with forwarded("", "trading", {"api": ("shop-green-api", 80)}):
        assert len(alive(program)) == 1
    assert alive(program) == []


async def test_what_it_says_of_each_connection_is_taken_from_it(program: Fake) -> None:
    """Some hundred kilobytes, which no pipe holds: kubectl would stop forwarding."""
    program.does(
        f"{FORWARDS}"
        'yes "Handling connection for 41001" | head -n 20000\n'
        f'echo $$ >"$KEPT/pid.new"; mv "$KEPT/pid.new" "$KEPT/pid"\n{STAYS}'
    )
    async with forwarded("", "trading", {"api": ("shop-green-api", 80)}):
        await program.pid()


async def test_cancelling_closes_the_ports(program: Fake) -> None:
    program.does(f'{FORWARDS}echo $$ >"$KEPT/pid.new"; mv "$KEPT/pid.new" "$KEPT/pid"\n{STAYS}')

    async def use() -> None:
        async with forwarded("", "trading", {"api": ("shop-green-api", 80)}):
            await asyncio.Event().wait()

    using = asyncio.create_task(use())
    await program.pid()
    using.cancel()
    with pytest.raises(asyncio.CancelledError):
        await using
    assert alive(program) == []


async def test_without_kubectl_it_is_said_what_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AdapterError, match="kubectl is not on PATH; it is needed to reach a slot") as caught:
        async with forwarded("", "trading", SERVICES):
            pytest.fail("it is not open")
    assert (caught.value.retryable, caught.value.effect) == (False, "not_applied")
