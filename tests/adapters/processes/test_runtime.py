"""A release made ready once, and what its processes get."""

import asyncio
import os
import sys
from pathlib import Path

import msgspec
import pytest

from openbell.adapters.processes import runtime
from openbell.adapters.processes.placement import Instance
from openbell.adapters.processes.runtime import Mask, Runtime, Surroundings
from openbell.core.project import Environment, Project, ProjectInfo, ReleaseInfo, Service
from openbell.core.release import Release
from openbell.files import exclusive
from openbell.ports import AdapterError
from openbell.programs import supervised

BASE = {"PATH": os.environ["PATH"]}


def made(folder: Path, *, prepare: str | None = None, secrets: tuple[str, ...] = (), run: str = "serve") -> Runtime:
    project = Project(
        project=ProjectInfo(name="tiny"),
        services={"api": Service(protocol="http", run=run, env={"LEVEL": "service", "MODE": "fast"})},
        release=ReleaseInfo(prepare=prepare),
        environments={"production": Environment(secrets=secrets, env={"LEVEL": "environment"})},
    )
    release = Release(project, "c0ffee", ())
    (folder / "artifacts").mkdir(parents=True)
    (folder / "manifest.json").write_bytes(msgspec.json.encode(release))
    return runtime.load(folder, release.digest)


def surroundings(**secrets: str) -> Surroundings:
    return Surroundings("production", lambda: {"DATABASE_URL": "postgresql://x"}, secrets.get, os.environ["PATH"], BASE)


async def test_a_release_is_prepared_once_also_by_several_at_once(tmp_path: Path) -> None:
    release = made(tmp_path / "r", prepare="mkdir {release} && ls {artifacts} && echo once >> ../count")
    log = tmp_path / "prepare.log"
    await asyncio.gather(*(runtime.prepare(release, log, BASE) for _ in range(3)))
    assert (tmp_path / "r" / "count").read_text() == "once\n"
    assert release.prepared.is_dir()


async def test_a_preparation_that_was_cut_short_begins_anew(tmp_path: Path) -> None:
    release = made(tmp_path / "r", prepare="mkdir {release}; touch {release}/good")
    release.prepared.mkdir()
    (release.prepared / "half").touch()
    await runtime.prepare(release, tmp_path / "log", BASE)
    assert [path.name for path in release.prepared.iterdir()] == ["good"]


async def test_a_preparation_that_fails_tells_the_command_and_its_last_lines(tmp_path: Path) -> None:
    release = made(tmp_path / "r", prepare="echo before\necho the reason >&2\nfalse\necho never")
    for _ in range(2):
        with pytest.raises(AdapterError, match=r"ended with 1\nbefore\nthe reason$"):
            await runtime.prepare(release, tmp_path / "log", BASE)


async def test_a_command_that_hangs_is_ended_with_all_it_started(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="did not end within 0 s"):
        await runtime.run(
            "expand", "sleep 60 & echo $! > child; wait", tmp_path, {}, tmp_path / "log", timeout_s=0.3, mask=Mask(())
        )
    assert supervised.start_ticks(int((tmp_path / "child").read_text())) is None


def test_a_process_gets_its_environment_most_special_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNRELATED", "x")
    release = made(
        tmp_path / "r", secrets=("API_KEY",), run="serve --port {port} --as {instance} --json '{\"a\": {b}}'"
    )
    instance = Instance("blue-api-1", "api", 20001, 20001)
    program = runtime.program_of(release, surroundings(API_KEY="k"), "blue", "1.0.0", instance)
    assert program.command == ("serve", "--port", "20001", "--as", "blue-api-1", "--json", '{"a": {b}}')
    env = program.env
    assert (env["LEVEL"], env["MODE"], env["API_KEY"], env["DATABASE_URL"]) == (
        "service",
        "fast",
        "k",
        "postgresql://x",
    )
    assert (env["OPENBELL_SLOT"], env["OPENBELL_INSTANCE"], env["PORT"]) == ("blue", "blue-api-1", "20001")
    assert env["PATH"].startswith(str(release.prepared / "bin") + ":")
    assert "UNRELATED" not in env
    assert program.folder == str(release.artifacts)


def test_placeholders_are_those_of_the_configuration(tmp_path: Path) -> None:
    release = made(tmp_path, run="serve --port {port} '{{port}} ${port} {slot}'")
    instance = Instance("blue-api-1", "api", 20001, 20001)
    program = runtime.program_of(release, surroundings(), "blue", "1.0.0", instance)
    assert program.command == ("serve", "--port", "20001", "{port} ${port} blue")


@pytest.mark.parametrize("name", ["a b", "a;b$HOME", "it's"])
async def test_a_folder_is_one_word_whatever_its_name_is(tmp_path: Path, name: str) -> None:
    prepare = "mkdir {release} && cp {artifacts}/*.whl {release}/copied"
    release = made(tmp_path / name, prepare=prepare, run="{release}/bin/serve --data={artifacts}/x --port {port}")
    (release.artifacts / "one.whl").touch()
    await runtime.prepare(release, tmp_path / "log", BASE)
    assert (release.prepared / "copied").exists()
    instance = Instance("blue-api-1", "api", 20001, 20001)
    program = runtime.program_of(release, surroundings(), "blue", "1.0.0", instance)
    serve = str(release.prepared / "bin" / "serve")
    assert program.command == (serve, f"--data={release.artifacts}/x", "--port", "20001")


async def test_a_preparation_gets_what_it_is_given_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_KEY", "of the caller")
    release = made(tmp_path / "r", prepare="mkdir {release}; env > {release}/env")
    await runtime.prepare(release, tmp_path / "log", {**BASE, "MIRROR": "here"})
    written = (release.prepared / "env").read_text()
    assert "MIRROR=here" in written
    assert "API_KEY" not in written


async def test_a_message_holds_no_secret(tmp_path: Path) -> None:
    key = "-----BEGIN-----\nabcdef\n-----END-----"
    release = made(tmp_path / "r", secrets=("API_KEY", "SIGNING_KEY"))
    addresses = {"DATABASE_URL": "postgresql://openbell:p%40ss@127.0.0.1:1/x"}
    around = Surroundings(
        "production", lambda: addresses, {"API_KEY": "k3y", "SIGNING_KEY": key}.get, os.environ["PATH"], BASE
    )
    env = runtime.environment_of(release, around)
    mask = runtime.mask_of(release, around, env)
    script = 'echo "$API_KEY k3y, $DATABASE_URL, p%40ss, p@ss"; echo "$SIGNING_KEY" | tail -n 2; false'
    with pytest.raises(AdapterError) as caught:
        await runtime.run("expand", script, tmp_path, env, tmp_path / "log", timeout_s=20, mask=mask)
    assert caught.value.message.splitlines()[1:] == ["*** ***, ***, ***, ***", "***", "***"]
    assert "k3y" not in caught.value.message


async def test_a_preparation_that_fails_shows_no_password_of_a_mirror(tmp_path: Path) -> None:
    release = made(tmp_path / "r", prepare="echo $MIRROR; false")
    with pytest.raises(AdapterError, match=r"https://me:\*\*\*@mirror/simple$"):
        await runtime.prepare(release, tmp_path / "log", {**BASE, "MIRROR": "https://me:hush@mirror/simple"})


def test_a_secret_that_nobody_gave_is_named(tmp_path: Path) -> None:
    release = made(tmp_path / "r", secrets=("API_KEY",))
    with pytest.raises(AdapterError, match=r"secret API_KEY of environment production is not set.*secrets\.toml"):
        runtime.environment_of(release, surroundings())


@pytest.mark.parametrize(("content", "message"), [(None, "is not on this machine"), ("{}", "cannot be read")])
def test_a_manifest_that_is_missing_or_damaged(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(AdapterError, match=message) as caught:
        runtime.load(tmp_path, "sha256:1")
    assert caught.value.effect == "not_applied"


async def test_what_a_killed_openbell_left_preparing_does_not_meet_its_successor(tmp_path: Path) -> None:
    """The orphan makes the folder late; whoever prepares next waits for its end and begins from nothing."""
    go_on = tmp_path / "go-on"
    wait = f"timeout 30 sh -c 'while [ ! -e {go_on} ]; do sleep 0.02; done'"
    script = f"touch ../begun; {wait}; mkdir {{release}}; touch {{release}}/late"
    release = made(tmp_path / "r", prepare=script)
    log = tmp_path / "prepare.log"
    code = (
        "import asyncio, os, pathlib, sys; from openbell.adapters.processes import runtime;"
        "folder = pathlib.Path(sys.argv[1]); release = runtime.load(folder, sys.argv[2]);"
        "asyncio.run(runtime.prepare(release, folder / 'log', {'PATH': os.environ['PATH']}))"
    )
    arguments = (str(release.folder), release.release.digest)
    killed = await asyncio.create_subprocess_exec(sys.executable, "-c", code, *arguments)
    async with asyncio.timeout(20):
        while not (release.folder / "begun").exists():  # noqa: ASYNC110 - a file of another process
            await asyncio.sleep(0.01)
    killed.kill()
    await killed.wait()
    with pytest.raises(AdapterError, match="is held by another process"):
        async with exclusive(release.folder / "runtime.lock", timeout_s=0.0):
            pytest.fail("nothing keeps a successor from what still runs")
    successor = asyncio.create_task(runtime.prepare(release, log, BASE))
    go_on.touch()
    await asyncio.wait_for(successor, 30)
    assert (release.prepared / "late").exists()
