"""A shared store in a folder that several machines mount: one file per content, whole or not there.

Knows nothing of what is in the files; a `Blobs`. Contents are written beside their place and renamed into it.
"""

import os
import shutil
import tempfile
from pathlib import Path

from openbell.ports import AdapterError

SYSTEM = "shared folder"


class FolderBlobs:
    """Contents below one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def get(self, name: str, target: Path, *, size_bytes_max: int) -> bool:
        """Copy a content to a file; False when there is none. What is too large is refused."""
        source = self.root / name
        try:
            if source.stat().st_size > size_bytes_max:
                raise self._error("read", f"{name} is larger than {size_bytes_max} bytes")
            shutil.copyfile(source, target)
            # Its owner sees by this what is still wanted.
            os.utime(source)
        except (FileNotFoundError, NotADirectoryError):
            self._look()
            return False
        except PermissionError:
            return target.exists() and target.stat().st_size == source.stat().st_size
        except OSError as error:
            raise self._error("read", error.strerror or str(error)) from error
        return True

    def put(self, name: str, source: Path) -> None:
        """Keep a file's content under a name; one that is there already is replaced."""
        target = self.root / name
        self._look()
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with (
                tempfile.NamedTemporaryFile(dir=target.parent, prefix=".new-", delete=False) as copy,
                source.open("rb") as content,
            ):
                shutil.copyfileobj(content, copy)
            Path(copy.name).chmod(0o644)
            Path(copy.name).replace(target)
        except OSError as error:
            raise self._error("write", error.strerror or str(error)) from error

    def remove(self, name: str) -> None:
        """Remove a content, if it is there."""
        try:
            (self.root / name).unlink(missing_ok=True)
        except OSError as error:
            raise self._error("remove", error.strerror or str(error)) from error

    def close(self) -> None:
        """Nothing is open."""

    def _look(self) -> None:
        """A folder that is not there is not made: a mount that is missing would be written into."""
        if not self.root.is_dir():
            raise self._error("look", "there is no such folder; is it mounted?")

    def _error(self, operation: str, why: str) -> AdapterError:
        return AdapterError(SYSTEM, operation, f"{self.root}: {why}", retryable=True)
