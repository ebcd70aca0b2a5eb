"""Strict jobs: what is there, what is not, and what is said when something is missed."""

import socket
import sys
from pathlib import Path

import pytest

from openbell.adapters import bubblewrap
from openbell.core.pipeline import JobNode
from openbell.core.project import Job
from openbell.wiring import strict
from tests.wiring.test_jobs import Bench

needs_enclosure = pytest.mark.skipif(bool(bubblewrap.refusal()), reason=bubblewrap.refusal())


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@needs_enclosure
async def test_a_strict_job_works_in_its_copy(bench: Bench) -> None:
    result = await bench.run(
        "cat a.txt; echo out > {out}/x; echo {cache} $HOME $TMPDIR; touch {cache}/y $HOME/z $TMPDIR/t; pwd; ls {root}",
        strict=True, outputs=("x",), files=("a.txt",),
    )  # fmt: skip
    assert (result.outcome, result.reason) == ("success", "")
    assert [output.path for output in result.outputs] == ["x"]
    lines = bench.log.splitlines()
    assert lines[0] == "a"
    assert str(bench.workplace.cache) not in bench.log, "what outlives a run would be an input that nobody declared"
    assert lines[-1] == "a.txt"


@needs_enclosure
async def test_it_has_no_network(bench: Bench) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        script = f"exec 3<>/dev/tcp/127.0.0.1/{server.getsockname()[1]} && echo connected"
        assert (await bench.run(script)).outcome == "success"
        assert (await bench.run(script, strict=True)).outcome == "failure"
    assert "connected" not in bench.log


@needs_enclosure
@pytest.mark.parametrize("place", ["{whole}/a.txt", "{home}", "{test}", "/proc/1/root{whole}/a.txt"])
async def test_nothing_else_of_the_machine_is_there(bench: Bench, place: str) -> None:
    found = place.format(whole=bench.workplace.tree, home=Path.home(), test=Path(__file__))
    script = f"test -e {found}"
    assert (await bench.run(script)).outcome == ("success" if not place.startswith("/proc") else "failure")
    assert (await bench.run(script, strict=True)).outcome == "failure"


@needs_enclosure
async def test_system_folders_are_there_to_read_only(bench: Bench) -> None:
    for script in ("ls /usr/bin > /dev/null; ! touch /usr/openbell-was-here", "! mount -o remount,rw /usr"):
        assert (await bench.run(script, strict=True)).outcome == "success"


@needs_enclosure
async def test_its_tools_are_there_and_others_are_not(bench: Bench, tmp_path: Path) -> None:
    python = Path(sys.executable).name
    script = f"{python} -c 'import hypothesis, sys; print(sys.prefix)'"
    assert (await bench.run(script, strict=True, tools=(python,))).outcome == "success", bench.log
    assert bench.log.strip() == sys.prefix
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools/measure").write_text("#!/bin/sh\necho measured\n")
    (tmp_path / "tools/measure").chmod(0o755)
    assert (await bench.run(f"{tmp_path}/tools/measure", strict=True)).outcome == "failure"


@needs_enclosure
async def test_the_environment_leads_nowhere(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:1")
    result = await bench.run('env; test -z "${HTTPS_PROXY:-}"; test "$MINE" = 1', strict=True, env={"MINE": "1"})
    assert result.outcome == "success"
    assert f"HOME={Path.home()}\n" not in bench.log


@needs_enclosure
async def test_what_it_starts_ends_with_it(bench: Bench) -> None:
    result = await bench.run("env -i setsid sleep 4242 & echo started", strict=True)
    assert result.outcome == "success"
    processes = Path("/proc").glob("[0-9]*")  # noqa: ASYNC240
    assert [process for process in processes if command_of(process) == "sleep 4242 "] == []


def command_of(process: Path) -> str:
    try:
        return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


MISSED = {
    "cat src/b.py": "src/b.py",
    "cat ./src/b.py": "src/b.py",
    "cat $PWD/src/b.py": "src/b.py",
    "PYTHONPATH=src python3 -c 'import b'": "src/b.py",
}


@pytest.mark.parametrize("script", MISSED)
@pytest.mark.parametrize("enclosed", [False, pytest.param(True, marks=needs_enclosure)])
async def test_a_file_that_is_not_declared_is_named(bench: Bench, script: str, *, enclosed: bool) -> None:
    result = await bench.run(script, files=("a.txt",), strict=enclosed)
    assert result.outcome == "failure"
    assert result.reason.startswith(f"reads {MISSED[script]}, which is not among its inputs (exit code 1: ")


@pytest.mark.parametrize("script", ["cat nowhere", "echo see src/b.py; exit 1", "cat ../tree/src/b.py", "cat a.txt/x"])
async def test_what_is_nowhere_is_not_blamed_on_the_inputs(bench: Bench, script: str) -> None:
    result = await bench.run(script, files=("a.txt",))
    assert result.reason.startswith("exit code 1")


async def test_where_nothing_can_be_enclosed_a_strict_job_is_not_run(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(bubblewrap, "refusal", lambda: "the kernel does not permit it: no namespaces")
    result = await bench.run(f"touch {tmp_path}/ran", strict=True)
    assert (result.outcome, result.reason) == (
        "not-checked", "not strict here: the kernel does not permit it: no namespaces",
    )  # fmt: skip
    assert not [path for path in tmp_path.iterdir() if path.name == "ran"]  # noqa: ASYNC240


def test_a_tool_is_all_that_it_is_installed_with(tmp_path: Path) -> None:
    real = tmp_path / "python-3/bin/python"
    (tmp_path / "venv/bin").mkdir(parents=True)
    real.parent.mkdir(parents=True)
    real.write_text("#!/usr/bin/env none\n")
    real.chmod(0o755)
    (tmp_path / "venv/bin/python").symlink_to(real)
    (tmp_path / "venv/bin/tool").write_text(f"#!{tmp_path}/venv/bin/python\n")
    (tmp_path / "venv/bin/tool").chmod(0o755)
    assert strict.tool_places("tool", str(tmp_path / "venv/bin")) == [tmp_path / "venv", tmp_path / "python-3"]
    assert strict.tool_places("no-such-tool", str(tmp_path)) == []
    assert strict.tool_places("sh", "/bin:/usr/bin") == []


def test_being_strict_is_part_of_the_fingerprint() -> None:
    from openbell.core.fingerprint import fingerprint, write_manifest

    nodes = [JobNode("a", "a", Job(stage="test", run="x", strict=on)) for on in (False, True)]
    one, other = (fingerprint(write_manifest(node, {}, {}, {}, platform="p", env={})) for node in nodes)
    assert one != other
