"""Commands: their logs, their secrets, and that nothing of them is left."""

import asyncio
import base64
import os
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbell.adapters import shell
from openbell.adapters.shell import Ended
from openbell.core.masking import Masker, printable
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
        # Base64: with padding and without, for URLs, behind "user:", behind "x:" and with the end of a line.
        ("czNjcjN0IQ==", "***"),
        ("czNjcjN0IQ", "***"),
        ("PDw_Pz8-Pg", "***"),
        ("dXNlcjpzM2NyM3Qh", "dXNlcjp***"),
        ("eDpzM2NyM3QhCg==", "eDp***Cg=="),
        ("czNjcjN0IQo=", "***o="),
        # JSON of Go and of PHP, URLs of browsers, forms and small hexadecimals.
        ('{"t": "\\u003c\\u003c???\\u003e\\u003e"}', '{"t": "***"}'),
        ("https:\\/\\/x\\/y", "***"),
        ("t=a%22b%5cc", "t=***"),
        ("t=first+line+of+key", "t=***"),
        ("t=https%3A%2F%2Fx%2Fy https%3a%2f%2fx%2fy", "t=*** ***"),
    ],
)
def test_forms_of_secrets(printed: str, shown: str) -> None:
    secrets = ["s3cr3t!", 'a"b\\c', "first line of key\nsecond line", "abc", "<<???>>", "https://x/y"]
    assert Masker(secrets).mask(printed) == shown


def test_secrets_that_overlap_leave_nothing_of_each_other() -> None:
    assert Masker(["abcdef", "efghij", "abcd"]).mask("-abcdefghij-abcd-") == "-***-***-"


@pytest.mark.parametrize("width", [64, 76])
def test_a_long_secret_in_lines_of_base64(width: int) -> None:
    secret = "".join(f"line {number} of a key\n" for number in range(20))
    encoded = base64.b64encode(f"{secret}\n".encode()).decode()
    lines = [encoded[at : at + width] for at in range(0, len(encoded), width)]
    assert [line for line in lines[:-1] if Masker([secret]).mask(line) != "***"] == []
    assert len(Masker([secret]).mask(lines[-1])) < 10


async def test_a_secret_that_is_no_text_is_masked_as_well(tmp_path: Path) -> None:
    ended = await run(tmp_path, r"printf 'x\xff\xfe\xfdpassword\n'", secrets=[os.fsdecode(b"\xff\xfe\xfdpassword")])
    assert ended.last_lines == ("x***",)


async def test_a_secret_in_two_writes_is_masked(tmp_path: Path) -> None:
    script = "printf 'key s3c'; sleep 0.1; printf 'r3t czNj'; sleep 0.1; echo cjN0IQ=="
    await run(tmp_path, script, secrets=["s3cr3t", "s3cr3t!"])
    assert log(tmp_path) == "key *** ***\n"


def feed_endless(tmp_path: Path, content: bytes, *, cut_at: int, secrets: Iterable[str]) -> bytes:
    """Feed a line that is too long to wait for its end, in two chunks; the log without its line ends."""
    with (tmp_path / "log").open("wb", buffering=0) as stream:
        writer = shell._Log(stream, Masker(secrets), None)
        writer.feed(content[:cut_at])
        writer.feed(content[cut_at:])
        writer.close()
    return (tmp_path / "log").read_bytes().replace(b"\n", b"")


@pytest.mark.parametrize("cut", range(13))
def test_an_endless_line_may_be_cut_anywhere(tmp_path: Path, cut: int) -> None:
    filler = b"." * shell.LINE_BYTES_MAX
    content = filler + "pässwörd-longer".encode() + filler
    shown = feed_endless(tmp_path, content, cut_at=len(filler) + cut, secrets=["pässwörd", "pässwörd-longer"])
    assert shown == filler + b"***" + filler


def test_a_secret_longer_than_an_endless_line(tmp_path: Path) -> None:
    secret = "".join(map(str, range(20_000)))
    assert feed_endless(tmp_path, secret.encode(), cut_at=shell.LINE_BYTES_MAX + 5, secrets=[secret]) == b"***"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("\x1b[1;31mred\x1b[0m and\ttab", "red and\ttab"),
        ("\x1b]0;title\x07a\x1b]52;c;eA==\x1b\\b\x1b]8;;http://x", "ab"),
        ("\x9b31mred\x1b(B\x1bc\x1b7", "red"),
        ("10 %\r20 %\r", "10 % 20 %"),
        ("one\r\ntwo\n", "one two"),
        ("a\x00\x07\x08\x7f\x85b\u202ec\u2066d", "abcd"),
        ("\x1b", ""),
        ("\udcc2\x1b[m\udc9b", "\ufffd\ufffd"),
        ("pässwörd 日本 \U0001f600", "pässwörd 日本 \U0001f600"),
    ],
)
def test_what_is_shown_commands_no_terminal(line: str, shown: str) -> None:
    assert printable(line) == shown


@given(st.binary())
def test_nothing_that_is_shown_is_a_control_character(content: bytes) -> None:
    shown = printable(content.decode(errors="surrogateescape"))
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in shown.replace("\t", ""))
    assert shown.encode().decode() == shown


async def test_the_log_keeps_the_bytes_of_which_the_screen_gets_the_text(tmp_path: Path) -> None:
    lines: list[str] = []
    ended = await run(tmp_path, r"printf '\033[31mred\033]0;t\007 \xff\n'; exit 3", on_line=lines.append)
    assert (tmp_path / "logs/x.log").read_bytes() == b"\x1b[31mred\x1b]0;t\x07 \xff\n"
    assert ended.last_lines == tuple(lines) == ("red \ufffd",)


async def test_a_secret_that_was_coloured_in_its_midst_is_not_shown(tmp_path: Path) -> None:
    ended = await run(tmp_path, r"printf 's3c\033[31mr3t\n'", secrets=["s3cr3t"])
    assert ended.last_lines == ("***",)


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


AWAY = {
    "in the background": "sleep 300 & echo $!",
    "in a session of its own": "setsid sh -c 'echo $$; exec sleep 300' & sleep 0.2",
    "with no environment": "env -i setsid sh -c 'echo $$; exec sleep 300' & sleep 0.2",
    "twice removed": "(setsid sh -c '(echo $$; exec sleep 300) & echo $!' &) ; sleep 0.2",
    "deaf": "env -i setsid sh -c 'trap \"\" TERM HUP INT; echo $$; sleep 300; sleep 300' & sleep 0.2",
    "deaf and the command itself": "trap '' TERM; echo $$; sleep 300; sleep 300",
    "stopped": "setsid sh -c 'echo $$; kill -STOP $$' & sleep 0.2",
}
"""Ways for a process to leave its parents."""


@pytest.mark.slow
@pytest.mark.parametrize("away", AWAY)
@pytest.mark.parametrize("how", ["ends", "is stopped", "is cancelled"])
async def test_nothing_that_a_command_started_is_left(tmp_path: Path, away: str, how: str) -> None:
    stop = asyncio.Event()
    lines: list[str] = []
    script = AWAY[away] + ("" if how == "ends" else "; while true; do sleep 0.05; done")
    if how == "ends" and away == "deaf and the command itself":
        script = "trap '' TERM; echo $$"
    running = asyncio.create_task(run(tmp_path, script, stop=stop, on_line=lines.append, grace_s=0.2))
    async with asyncio.timeout(20):
        await wait_until(lambda: bool(lines))
        if how == "is stopped":
            stop.set()
        if how == "is cancelled":
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
        else:
            assert (await running).swept
    assert [line for line in lines if is_alive(int(line))] == []


async def test_who_kills_its_reaper_is_not_taken_for_swept(tmp_path: Path) -> None:
    ended = await run(tmp_path, "kill -KILL $PPID; sleep 0.05")
    assert (ended.exit_code, ended.swept) == (-signal.SIGKILL, False)


@pytest.mark.slow
async def test_nothing_is_left_when_openbell_is_killed(tmp_path: Path) -> None:
    starter = """
import asyncio, os, sys
from pathlib import Path
from openbell.adapters import shell
script = "env -i setsid sh -c 'echo $$; exec sleep 300' & sleep 0.1; echo $$; sleep 300"
asyncio.run(shell.run(script, folder=Path.cwd(), env={"PATH": os.environ["PATH"]}, log=Path("log"),
                      stop=asyncio.Event(), grace_s=0.2))
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", starter, cwd=tmp_path)
    await wait_until(lambda: (tmp_path / "log").exists() and (tmp_path / "log").read_text().count("\n") == 2)
    process.kill()
    await process.wait()
    pids = [int(line) for line in (tmp_path / "log").read_text().split()]
    await wait_until(lambda: not any(is_alive(pid) for pid in pids))


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


async def test_what_the_system_cannot_take_is_no_traceback(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="cannot be started: embedded null byte"):
        await run(tmp_path, "echo a\0b")
    with pytest.raises(AdapterError, match="cannot be started: embedded null byte"):
        await shell.run(
            "true", folder=tmp_path, env={**ENV, "A": "a\0b"}, log=tmp_path / "x", stop=asyncio.Event()
        )  # fmt: skip
    with pytest.raises(AdapterError, match="cannot be started: illegal environment variable name"):
        await shell.run("true", folder=tmp_path, env={**ENV, "A=B": "c"}, log=tmp_path / "x", stop=asyncio.Event())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
async def test_a_full_disk_ends_the_job_and_says_so(tmp_path: Path) -> None:
    script = "for i in $(seq 20000); do echo $i; done; sleep 300"
    with pytest.raises(AdapterError, match=r"log cannot be written: No space left on device \(/dev\)"):
        await shell.run(script, folder=tmp_path, env=ENV, log=Path("/dev/full"), stop=asyncio.Event())
