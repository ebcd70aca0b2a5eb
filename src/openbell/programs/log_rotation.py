"""Keeps log files from filling the disk: a small process that copies and empties those that have grown too large.

The writers keep their files open in append mode, so a file is copied to `NAME.1` and emptied in place. What is written
between the last read and the truncation, some microseconds, is lost; once per `BYTES_MAX` that is nothing, and the
alternative, a pipe through the supervisor, breaks every log when the supervisor dies.

Run as `python -I -S log_rotation.py FOLDER`. Must not import anything but the standard library.
"""

import os
import sys
import time

BYTES_MAX = 32 * 1024 * 1024
BACKUPS = 2
INTERVAL_S = 5.0


def rotate(path: str, *, bytes_max: int = BYTES_MAX, backups: int = BACKUPS) -> bool:
    """Copy a log that is larger than `bytes_max` to `path.1`, the older copies one further, and empty it."""
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND)
    try:
        if os.fstat(descriptor).st_size <= bytes_max:
            return False
        for number in range(backups - 1, 0, -1):
            if os.path.exists(f"{path}.{number}"):  # noqa: PTH110  (pathlib costs 5 ms and 2 MB in each environment)
                os.replace(f"{path}.{number}", f"{path}.{number + 1}")  # noqa: PTH105
        copy = os.open(f"{path}.1", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            while block := os.read(descriptor, 1 << 20):
                os.write(copy, block)
            os.ftruncate(descriptor, 0)
        finally:
            os.close(copy)
    finally:
        os.close(descriptor)
    return True


def main(folder: str) -> None:
    """Look at the folder's logs every few seconds, for ever."""
    while True:
        for entry in os.scandir(folder):
            if entry.name.endswith(".log"):
                try:
                    rotate(entry.path)
                except OSError as error:
                    print(f"{entry.name}: {error}", file=sys.stderr)  # noqa: T201
        time.sleep(INTERVAL_S)


if __name__ == "__main__":
    main(sys.argv[1])
