"""Runs one command and sees to it that nothing of it is left: what it started, however far that went from its parents.

Its standard input is a socket to who wants the command run. When that side is closed, by wish or because its process
was killed, everything is ended: SIGTERM to each, SIGKILL to what is left after the grace time. The same happens when
the command has ended by itself. Then the exit code (negative: the number of a signal) is written to the socket.

On Linux the reaper is made the parent of all orphans among its descendants, so neither `setsid` nor a cleared
environment nor a double fork leads away from it. Elsewhere only the command's process group is known.

Run as `python -I -S reaper.py GRACE_S COMMAND...`. Must not import anything but the standard library.

Source: prctl(2), PR_SET_CHILD_SUBREAPER
"""

import ctypes
import errno
import os
import select
import signal
import sys
import time

PR_SET_CHILD_SUBREAPER = 36
FORCING_S = 5.0
"""So long it is tried to kill what is left; a process in the midst of a system call may take a moment to go."""

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


class Reaper:
    """One command and its descendants."""

    def __init__(self, command: list[str], grace_s: float) -> None:
        self.grace_s = grace_s
        self.asked = False
        self.status: int | None = None
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self.woken, self.waking = os.pipe()
        os.set_blocking(self.waking, False)
        os.set_blocking(self.woken, False)
        signal.set_wakeup_fd(self.waking, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in SIGNALS:
            signal.signal(number, self._ask)
        self.child = self._start(command)

    def run(self) -> int:
        """Wait for the command, end what is left, and return the command's exit code."""
        while self._reap() and self.status is None and not self.asked:
            self._wait(None)
        self._end()
        return self.status if self.status is not None else -signal.SIGKILL

    def _ask(self, *_: object) -> None:
        self.asked = True

    def _start(self, command: list[str]) -> int:
        child = os.fork()
        if child:
            return child
        try:
            os.setsid()
            for number in (signal.SIGPIPE, signal.SIGXFSZ):
                # Python ignores them, and who is executed would go on to.
                signal.signal(number, signal.SIG_DFL)
            nothing = os.open(os.devnull, os.O_RDONLY)
            os.dup2(nothing, 0)
            os.execvp(command[0], command)  # noqa: S606 - the shell of a job
        except OSError as error:
            os.write(2, f"{command[0]}: {error.strerror}\n".encode())
        finally:
            os._exit(127)

    def _reap(self) -> bool:
        """Collect the dead; False when no descendant is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self.child:
                self.status = os.waitstatus_to_exitcode(status)

    def _wait(self, timeout_s: float | None) -> None:
        """Wait for a signal, such as that of a child's end, or for the other side to close."""
        watched = [self.woken] if self.asked else [self.woken, 0]
        ready, _, _ = select.select(watched, [], [], timeout_s)
        if self.woken in ready:
            os.read(self.woken, 4096)
        if 0 in ready:
            self.asked = True

    def _end(self) -> None:
        """End all descendants: ask, wait, and force."""
        if not self._reap():
            return
        self.asked = True
        self._signal(signal.SIGTERM)
        deadline_s = time.monotonic() + self.grace_s
        while self._reap() and (left_s := deadline_s - time.monotonic()) > 0:
            self._wait(min(left_s, 0.5))
        deadline_s = time.monotonic() + FORCING_S
        while self._reap() and time.monotonic() < deadline_s:
            self._signal(signal.SIGKILL)
            self._wait(0.01)

    def _signal(self, number: signal.Signals) -> None:
        for pid in self._descendants():
            try:
                os.kill(pid, number)
            except OSError as error:
                if error.errno not in (errno.ESRCH, errno.EPERM):
                    raise

    def _descendants(self) -> list[int]:
        """List all that descend from this process, those near to it first."""
        children: dict[int, list[int]] = {}
        try:
            entries = [entry for entry in os.listdir("/proc") if entry.isdigit()]  # noqa: PTH208  (pathlib costs 5 ms)
        except OSError:
            return [-self.child]
        for entry in entries:
            try:
                with open(f"/proc/{entry}/stat", "rb") as stream:  # noqa: PTH123
                    # The name of a program may have spaces and brackets; after its last bracket come state and parent.
                    parent = int(stream.read().rpartition(b")")[2].split()[1])
            except (OSError, IndexError, ValueError):
                continue
            children.setdefault(parent, []).append(int(entry))
        found = list(children.get(os.getpid(), []))
        for pid in found:
            found += children.get(pid, [])
        return found


def main(arguments: list[str]) -> None:
    """Run the command, and say on standard input how it ended."""
    code = Reaper(arguments[1:], float(arguments[0])).run()
    try:
        os.write(0, b"%d\n" % code)
    except OSError:
        # Nobody is there any more who wants to know.
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
