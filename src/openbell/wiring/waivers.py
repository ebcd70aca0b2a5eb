"""`findings.toml`, the file of waivers beside `openbell.toml`: read, checked, and added to.

It is a file of its own because somebody else answers for it: a review by the security officer can be required for this
file alone, and a command can add to it without touching the configuration of the pipeline.
"""

import json
from pathlib import Path

from openbell.adapters.toml import Layer, load_document, locate
from openbell.core.waivers import Waiver, WaiverFile, check_waivers

FILE_NAME = "findings.toml"
HEAD = """\
# Findings that we have decided to live with, each for a reason, under a name, until a day. Reviewed like code.
#   openbell findings list     what is open, waived, overdue
"""


class Waivers:
    """The waivers of a project, and where each of them stands."""

    def __init__(self, root: Path) -> None:
        """Read the file; raises `ConfigurationError` with all that is wrong in it."""
        self.file = root / FILE_NAME
        self._layer: Layer | None = None
        self.all: tuple[Waiver, ...] = ()
        if self.file.exists():
            found, self._layer = load_document(self.file, WaiverFile, relative_to=root, check=check_waivers)
            self.all = found.waivers

    def place_of(self, index: int) -> str:
        """Say where a waiver is written, as "findings.toml:12"."""
        return locate([self._layer] if self._layer else [], ("waivers", str(index)))

    def add(self, waiver: Waiver, note: str) -> None:
        """Write one more waiver at the end of the file, with a comment for those who review it."""
        # Imported where something is written: it loads the event loop, which no cached run waits for.
        from openbell.files import write_whole

        before = self.file.read_text(encoding="utf-8") if self.file.exists() else HEAD
        # A comment of TOML is one line, without characters that move a cursor.
        comment = "".join(character if character.isprintable() else "?" for character in " ".join(note.split()))
        lines = [f"# {comment}", "[[waivers]]"]
        lines += [f"{key} = {_quote(getattr(waiver, key))}" for key in _TEXTS if getattr(waiver, key)]
        lines.append(f"until = {waiver.until.isoformat()}")
        write_whole(self.file, f"{before.rstrip()}\n\n{chr(10).join(lines)}\n".encode(errors="replace"), mode=0o644)


_TEXTS = ("finding", "tool", "rule", "path", "reason", "author")


def _quote(text: str) -> str:
    """Write a text as TOML does; but for DEL, that is JSON's way."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
