"""Where state is kept, and what is said when it cannot be."""

from pathlib import Path

import pytest

from openbell.ports import AdapterError
from openbell.wiring.state import StateFolder


def test_the_state_folder_is_for_its_owner_alone(tmp_path: Path) -> None:
    state = StateFolder(tmp_path / "a" / "b")
    state.make()
    state.make()
    assert state.root.stat().st_mode & 0o777 == 0o700


def test_a_state_folder_that_cannot_be_made_names_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AdapterError, match=r"Not a directory.*can be written: OPENBELL_STATE") as caught:
        StateFolder(tmp_path / "file" / "state").make()
    assert caught.value.effect == "not_applied"
