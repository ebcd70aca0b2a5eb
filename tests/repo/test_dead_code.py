"""The search for dead code finds it and leaves alone what is used. `make check-dead-code` runs it on the tree."""

from pathlib import Path

from tests.repo.dead_code import dead_code

SOURCE = '''\
"""Doc."""


def used() -> int:
    return 1


def dead() -> int:
    return used()


def hook() -> None:  # used-ok: called by the interpreter
    ...


def command() -> None: ...


class Shape:
    def area(self) -> int:
        return 2

    @property
    def name(self) -> str:
        return ""
'''


def test_finds_what_nothing_uses(tmp_path: Path) -> None:
    sources, users = tmp_path / "src", tmp_path / "bench"
    sources.mkdir()
    users.mkdir()
    (sources / "shape.py").write_text(SOURCE)
    (users / "measure.py").write_text("from shape import Shape\nShape().area()\n")
    found = dead_code([sources], [users], called=["command"])
    assert [line.rpartition(": ")[2] for line in found] == [
        "function dead is used by nothing",
        "property name is used by nothing",
    ]
