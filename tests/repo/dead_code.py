"""Dead code: functions, classes, methods and properties that nothing in the sources names. Tests do not count as use.

Names are matched wherever they occur, so what is reported is dead, and some dead code is missed. `# used-ok: reason` on
the line of the definition waives it: a name that a library calls, a part of a published interface.

Usage: python -m tests.repo.dead_code. Exits with 1 if there is any.
"""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import vulture  # type: ignore[import-untyped]

from tests.repo.syntax import waived

ROOT = Path(__file__).parents[2]
KINDS = frozenset({"class", "function", "method", "property", "import", "unreachable_code"})
PROGRAMS: dict[str, tuple[str, ...]] = {"src": ("docs", "bench"), "engine/src": ()}
"""The sources of each program, and what else may use them."""
CALLED_BY_DECORATOR = ("@get", "@post", "@put", "@delete", "@websocket", "@app.*", "@overload")
CALLED_BY_LIBRARIES = ("connection_made", "connection_lost", "data_received", "on_*", "capture_signals", "visit_*")
PROTOCOLS = ("ports.py", "machine.py")


def dead_code(sources: Sequence[Path], users: Iterable[Path], *, called: Iterable[str] = ()) -> list[str]:
    """List what is defined in the sources and named nowhere in them or in their users; `called` are names in use."""
    finder = vulture.Vulture(ignore_names=[*CALLED_BY_LIBRARIES, *called], ignore_decorators=list(CALLED_BY_DECORATOR))
    finder.scavenge([str(path) for path in [*sources, *users]])
    found = []
    for item in finder.get_unused_code(min_confidence=60):
        path = Path(item.filename)
        if item.typ not in KINDS or not any(path.is_relative_to(source) for source in sources):
            continue
        if path.name in PROTOCOLS or waived(path.read_text(), item.first_lineno, "used"):
            continue
        found.append(f"{_shown(path)}:{item.first_lineno}: {item.typ} {item.name} is used by nothing")
    return found


def _shown(path: Path) -> Path:
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


def main() -> int:
    """Report the dead code of both programs."""
    from openbell.cli.main import COMMANDS

    functions = [name.replace(" ", "_") for name in COMMANDS]
    found = []
    for sources, users in PROGRAMS.items():
        found += dead_code([ROOT / sources], [ROOT / user for user in users], called=functions)
    sys.stdout.writelines(f"{line}\n" for line in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
