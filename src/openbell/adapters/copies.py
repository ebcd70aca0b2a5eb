"""Copies of files for those who may change them: the quickest way that the machine has and that is safe.

A clone shares the blocks of a file until one side is written to (btrfs, XFS, bcachefs), so it is always safe. A hard
link is the same file under another name: whoever writes to one has written to both, so it is for trees only that nobody
else will look at. Otherwise the content is copied. Modes and times stay.

Source: ioctl_ficlone(2), link(2), copy_file_range(2)
"""

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

FICLONE = 0x40049409
_CANNOT = frozenset({
    errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EPERM, errno.EMLINK, errno.EBADF,
})  # fmt: skip
"""What a file system answers that has no such way; the next way is tried then, and this one no more."""


def copy_files(source: Path, target: Path, names: Iterable[str], *, links: bool = False) -> None:
    """Copy files and symbolic links of one folder into another; `links` allows hard links. Raises `OSError`.

    Names that are not there, or are neither, are passed over.
    """
    ways: list[Callable[[str, str, os.stat_result], None]] = [_clone, *([_link] if links else []), _copy]
    made: dict[str, bool] = {}
    for name in names:
        old, new = f"{source}/{name}", f"{target}/{name}"
        try:
            status = os.lstat(old)
        except (FileNotFoundError, NotADirectoryError):
            continue
        folder = new.rpartition("/")[0]
        if folder not in made:
            Path(folder).mkdir(parents=True, exist_ok=True)
            made[folder] = True
        if stat.S_ISLNK(status.st_mode):
            Path(new).symlink_to(os.readlink(old))  # noqa: PTH115
        elif stat.S_ISREG(status.st_mode):
            _by_the_first_way(ways, old, new, status)


def _by_the_first_way(
    ways: list[Callable[[str, str, os.stat_result], None]], old: str, new: str, status: os.stat_result
) -> None:
    while True:
        try:
            return ways[0](old, new, status)
        except OSError as error:
            if len(ways) == 1 or error.errno not in _CANNOT:
                raise
            ways.pop(0)


def _link(old: str, new: str, status: os.stat_result) -> None:
    del status
    os.link(old, new, follow_symlinks=False)


def _clone(old: str, new: str, status: os.stat_result) -> None:
    reading = os.open(old, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        writing = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            fcntl.ioctl(writing, FICLONE, reading)
            _finish(writing, status)
        finally:
            os.close(writing)
    except OSError as error:
        if error.errno in _CANNOT:
            Path(new).unlink(missing_ok=True)
        raise
    finally:
        os.close(reading)


def _copy(old: str, new: str, status: os.stat_result) -> None:
    reading = os.open(old, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        writing = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            while chunk := os.read(reading, 1 << 18):
                content = memoryview(chunk)
                while content:
                    content = content[os.write(writing, content) :]
            _finish(writing, status)
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def _finish(writing: int, status: os.stat_result) -> None:
    os.fchmod(writing, stat.S_IMODE(status.st_mode))
    os.utime(writing, ns=(status.st_atime_ns, status.st_mtime_ns))
