"""Ports: chosen once, remembered, never shared between siblings."""

import os
import socket
from pathlib import Path

import pytest

from openbell.adapters import loopback
from openbell.adapters.loopback import PortBook
from openbell.ports import AdapterError


def book(folder: Path, name: str) -> PortBook:
    return PortBook(folder / name / "ports.json")


def test_a_port_is_chosen_once_and_remembered(tmp_path: Path) -> None:
    first = book(tmp_path, "staging")
    port = first.port("api")
    assert loopback.PORT_MIN <= port <= loopback.PORT_MAX
    assert loopback.is_free(port)
    assert book(tmp_path, "staging").port("api") == port
    assert first.port("websocket") != port


def test_siblings_do_not_share_ports_even_while_they_are_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loopback, "PORT_MAX", loopback.PORT_MIN + 9)
    monkeypatch.setattr(loopback, "is_free", lambda _port: True)
    ports = [book(tmp_path, environment).port(f"s{n}") for environment in ("a", "b") for n in range(5)]
    assert len(set(ports)) == 10
    with pytest.raises(AdapterError, match="no free port between 20000 and 20009"):
        book(tmp_path, "a").port("one more")


def test_forgotten_ports_are_chosen_anew(tmp_path: Path) -> None:
    ports = book(tmp_path, "a")
    kept, _ = ports.port("api"), ports.port("websocket")
    ports.forget({"websocket", "never-there"})
    assert ports.ports() == {"api": kept}
    ports.forget()
    assert ports.ports() == {}


def test_a_taken_port_is_not_chosen_and_its_holder_is_named(tmp_path: Path) -> None:
    wanted = book(tmp_path, "a").port("api")
    book(tmp_path, "a").forget()
    with socket.socket() as server:
        server.bind(("127.0.0.1", wanted))
        server.listen()
        assert not loopback.is_free(wanted)
        assert f"(process {os.getpid()})" in loopback.holder(wanted)
        assert book(tmp_path, "a").port("api") != wanted
    assert loopback.holder(1) == "another user's process"


def test_a_damaged_book_names_the_remedy(tmp_path: Path) -> None:
    ports = book(tmp_path, "a")
    ports.port("api")
    (tmp_path / "a" / "ports.json").write_text("{")
    with pytest.raises(AdapterError, match=r"ports\.json is damaged .* Remove it"):
        ports.port("api")
