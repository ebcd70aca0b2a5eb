"""Commands: their logs, their secrets, and that nothing of them is left."""

import asyncio
import os
import signal
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbell.adapters import shell
from openbell.adapters.shell import Ended, Masker
from openbell.ports import AdapterError

ENV = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}


async def run(
    tmp_path: Path,
    script: str,
    *,
    stop: asyncio.Event | None = None,
    secrets: Iterable[str] = (),
    on_line: Callable[[str], None] | None = None,
    grace_s: float = 5.0,
) -> Ended:
    return await shell.run(
        script, folder=tmp_path, env=ENV, log=tmp_path / "logs/x.log", stop=stop or asyncio.Event(), secrets=secrets,
        on_line=on_line, grace_s=grace_s,
    )  # fmt: skip


def log(tmp_path: Path) -> str:
    return (tmp_path / "logs/x.log").read_text()


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


async def wait_until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - a condition outside this process
            await asyncio.sleep(0.01)


async def test_output_exit_code_and_folder(tmp_path: Path) -> None:
    ended = await run(tmp_path, "echo one; echo two >&2; pwd; exit 3")
    assert ended == Ended(3, ("one", "two", str(tmp_path)))
    assert log(tmp_path) == f"one\ntwo\n{tmp_path}\n"


async def test_a_script_stops_at_the_first_failure(tmp_path: Path) -> None:
    assert (await run(tmp_path, "false\necho never")).exit_code == 1
    assert (await run(tmp_path, "false | true\necho never")).exit_code == 1
    assert (await run(tmp_path, 'echo "$UNSET_VARIABLE"')).exit_code != 0
    assert "never" not in log(tmp_path)


async def test_a_command_that_is_not_there_says_so(tmp_path: Path) -> None:
    ended = await run(tmp_path, "no-such-program")
    assert ended.exit_code == 127
    assert "no-such-program" in ended.last_lines[-1]


async def test_only_the_given_environment_and_no_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEAKED", "1")
    ended = await run(tmp_path, "env | sort; cat")
    names = {line.partition("=")[0] for line in ended.last_lines}
    assert "LEAKED" not in names
    assert names <= {"PATH", "LANG", "PWD", "SHLVL", "_", "OLDPWD"}


async def test_a_signal_is_a_negative_exit_code(tmp_path: Path) -> None:
    assert (await run(tmp_path, "kill -SEGV $$")).exit_code == -signal.SIGSEGV


async def test_secrets_never_reach_the_log_in_any_form(tmp_path: Path) -> None:
    secret = 'p@ss "word"/é'
    (tmp_path / "secret").write_text(secret)
    lines: list[str] = []
    script = "cat secret; echo; echo end | cat secret -; printf 'x%.0s' $(seq 70000); cat secret; echo"
    ended = await run(tmp_path, script, secrets=[secret, "abc"], on_line=lines.append)
    for text in (log(tmp_path), "\n".join(lines), "\n".join(ended.last_lines)):
        assert secret not in text
        assert "***" in text


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        ("token s3cr3t!", "token ***"),
        ('{"t": "a\\"b\\\\c"}', '{"t": "***"}'),
        ("https://u:a%22b%5Cc@host", "https://u:***@host"),
        ("first line of key", "***"),
        ("abc", "abc"),
    ],
)
def test_forms_of_secrets(printed: str, shown: str) -> None:
    assert Masker(["s3cr3t!", 'a"b\\c', "first line of key\nsecond line", "abc"]).mask(printed) == shown


@given(st.text(min_size=4).filter(lambda text: len(text.strip()) >= 4 and "*" not in text), st.text(), st.text())
def test_a_masked_text_has_no_secret(secret: str, before: str, after: str) -> None:
    assert secret not in Masker([secret]).mask(before + secret + after)


async def test_a_secret_in_an_endless_line_is_not_cut_in_two(tmp_path: Path) -> None:
    secret = "0123456789abcdef" * 4
    script = f"for i in $(seq 4000); do printf '%s' xyz{secret}; done"
    await run(tmp_path, script, secrets=[secret])
    text = log(tmp_path).replace("\n", "")
    assert set(text) == {"x", "y", "z", "*"}
    assert text.count("***") == 4000


async def test_nothing_outlives_the_command(tmp_path: Path) -> None:
    ended = await run(tmp_path, "sleep 300 & echo $!")
    pid = int(ended.last_lines[0])
    await wait_until(lambda: not is_alive(pid))


async def test_stopping_ends_the_whole_group(tmp_path: Path) -> None:
    stop = asyncio.Event()
    lines: list[str] = []
    running = asyncio.create_task(
        run(tmp_path, "(sleep 300 & echo $!; wait) & echo $!; wait", stop=stop, on_line=lines.append)
    )
    await wait_until(lambda: len(lines) == 2)
    stop.set()
    assert (await running).exit_code == -signal.SIGTERM
    await wait_until(lambda: not any(is_alive(int(pid)) for pid in lines))


async def test_who_does_not_listen_is_killed(tmp_path: Path) -> None:
    stop = asyncio.Event()
    lines: list[str] = []
    script = "trap '' TERM; echo $$; while true; do sleep 0.05; done"
    running = asyncio.create_task(run(tmp_path, script, stop=stop, on_line=lines.append, grace_s=0.3))
    await wait_until(lambda: bool(lines))
    stop.set()
    assert (await running).exit_code == -signal.SIGKILL
    assert not is_alive(int(lines[0]))


async def test_who_listens_may_finish(tmp_path: Path) -> None:
    stop = asyncio.Event()
    lines: list[str] = []
    script = "trap 'echo saved; exit 9' TERM; echo ready; while true; do sleep 0.05; done"
    running = asyncio.create_task(run(tmp_path, script, stop=stop, on_line=lines.append))
    await wait_until(lambda: bool(lines))
    stop.set()
    assert (await running).exit_code == 9
    assert "saved" in log(tmp_path)


async def test_cancelling_the_task_leaves_nothing(tmp_path: Path) -> None:
    lines: list[str] = []
    running = asyncio.create_task(run(tmp_path, "echo $$; sleep 300", on_line=lines.append))
    await wait_until(lambda: bool(lines))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not is_alive(int(lines[0]))


@pytest.mark.slow
async def test_a_daemon_that_keeps_the_pipe_does_not_hold_the_job(tmp_path: Path) -> None:
    script = "setsid sh -c 'echo $$; exec sleep 300' & sleep 0.3; echo done"
    async with asyncio.timeout(10):
        ended = await run(tmp_path, script)
    assert ended.exit_code == 0
    pid = int(next(line for line in ended.last_lines if line.isdigit()))
    os.kill(pid, signal.SIGKILL)


async def test_a_huge_log_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "LOG_BYTES_MAX", 10_000)
    ended = await run(tmp_path, "for i in $(seq 5000); do echo line $i; done")
    assert "the log is cut here" in log(tmp_path)
    assert (tmp_path / "logs/x.log").stat().st_size < 11_000
    assert ended.last_lines[-1] == "line 5000", "what it said last is known all the same"


async def test_binary_output_does_no_harm(tmp_path: Path) -> None:
    ended = await run(tmp_path, "head -c 200000 /dev/urandom; echo; echo end")
    assert ended.last_lines[-1] == "end"


async def test_a_folder_that_is_gone_is_not_the_jobs_failure(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="cannot be started: No such file or directory"):
        await shell.run("true", folder=tmp_path / "gone", env=ENV, log=tmp_path / "x", stop=asyncio.Event())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
async def test_a_full_disk_ends_the_job_and_says_so(tmp_path: Path) -> None:
    script = "for i in $(seq 20000); do echo $i; done; sleep 300"
    with pytest.raises(AdapterError, match=r"log cannot be written: No space left on device \(/dev\)"):
        await shell.run(script, folder=tmp_path, env=ENV, log=Path("/dev/full"), stop=asyncio.Event())
