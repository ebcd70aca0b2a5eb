"""What supervisord starts in place of a program: it writes down who it is, and becomes the program.

Three things that supervisord does not do itself are done here, in a few milliseconds and before the program runs:
1. It notes each start in a file, so that restarts can be counted whoever asks and whenever.
2. Output goes straight to the log file, not through a pipe that breaks when supervisord is killed.
3. When supervisord was killed and a new one starts the program again while the old process still lives, that process is
   *adopted*: this one waits for it and passes signals on. Nothing is interrupted, and nothing runs twice.

Run as `python -I -S supervised.py SPECIFICATION`, a JSON file that only its owner can read (its environment may hold
secrets). Must not import anything but the standard library. Linux only (/proc, pidfd_open).
"""

import json
import os
import select
import signal
import sys
import time
from types import FrameType
from typing import Any

FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def start_ticks(pid: int) -> int | None:
    """Return when a process began, in clock ticks since boot; none if there is no such process, or only its remains."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123  (pathlib costs 5 ms at each start)
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def living_process(pid_file: str) -> int | None:
    """Return the process that the file names, if that very process (same start time) is alive."""
    try:
        with open(pid_file) as file:  # noqa: PTH123
            pid, began = (int(word) for word in file.read().split())
    except (OSError, ValueError):
        return None
    return pid if start_ticks(pid) == began else None


def adopt(pid: int, pid_file: str) -> None:
    """Wait until the process ends, and pass on the signals that were meant for it."""
    descriptor = os.pidfd_open(pid)
    if living_process(pid_file) != pid:
        return

    def forward(number: int, _frame: FrameType | None) -> None:
        signal.pidfd_send_signal(descriptor, number)

    for number in FORWARDED:
        signal.signal(number, forward)
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    poll.poll()


def become(program: dict[str, Any]) -> None:
    """Note the start, send output to the log, and turn into the program."""
    pid = os.getpid()
    replace_file(program["pid_file"], f"{pid} {start_ticks(pid)}\n")
    append_line(program["starts_file"], f"{time.time():.3f} {pid}")
    log = os.open(program["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(log, f"--- {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} start, process {pid}\n".encode())
    # supervisord learns of the program's end at once when the last writer of this pipe is gone, else a second later.
    os.set_inheritable(os.dup(1), True)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    # Python ignores SIGPIPE, and the programs would inherit that.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    command = program["command"]
    try:
        os.chdir(program["folder"])
        os.execvpe(command[0], command, program["env"])  # noqa: S606  (becoming the program is what this is for)
    except OSError as error:
        os.write(2, f"cannot run {command[0]}: {error.strerror} (PATH={program['env'].get('PATH', '')})\n".encode())
        sys.exit(127)


def replace_file(path: str, content: str) -> None:
    """Write a small file whole or not at all."""
    descriptor = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.write(descriptor, content.encode())
    os.close(descriptor)
    os.replace(path + ".new", path)  # noqa: PTH105


def append_line(path: str, line: str) -> None:
    """Append one line to a file."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(descriptor, line.encode() + b"\n")
    os.close(descriptor)


def main(specification: str) -> None:
    """Adopt the program's process if one is left, else become it."""
    with open(specification) as file:  # noqa: PTH123
        program = json.load(file)
    survivor = living_process(program["pid_file"])
    if survivor is None:
        become(program)
    else:
        adopt(survivor, program["pid_file"])


if __name__ == "__main__":
    main(sys.argv[1])
