"""What software is made of, as its files tell."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbell.core.sbom import Component, go_modules, reader_of
from tests.fakes.images import require


def read(path: str, content: bytes) -> list[Component]:
    reader = reader_of(path)
    assert reader is not None
    return reader(content)


def test_an_installed_distribution() -> None:
    content = b"Metadata-Version: 2.4\nName: Flask_Login\nVersion: 1.0\nLicense-Expression: MIT\n\nName: other\n"
    assert read("opt/x/flask.dist-info/METADATA", content) == [Component("pypi", "Flask_Login", "1.0", "MIT")]
    assert Component("pypi", "Flask_Login", "1.0").purl == "pkg:pypi/flask-login@1.0"


def test_a_lock_file() -> None:
    content = b"# made by uv\na==1.0 \\\n    --hash=sha256:00\nb_c==2.0rc1 ; python_version < '4'\n-e .\n"
    assert read("requirements.lock", content) == [Component("pypi", "a", "1.0"), Component("pypi", "b_c", "2.0rc1")]


def test_packages_of_distributions() -> None:
    debian = b"Package: libc6\nStatus: install ok installed\nVersion: 2.36-9\nDescription: x\n Package: no\n\n"
    debian += b"Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n"
    assert read("var/lib/dpkg/status", debian) == [Component("deb/debian", "libc6", "2.36-9")]
    assert read("var/lib/dpkg/status.d/base", b"Package: base\nVersion: 1+b1\n")[0].purl == "pkg:deb/debian/base@1%2Bb1"
    assert read("lib/apk/db/installed", b"C:x\nP:musl\nV:1.2.5-r0\n\n") == [Component("apk/alpine", "musl", "1.2.5-r0")]


def test_other_files_tell_nothing() -> None:
    assert reader_of("opt/x/module.py") is None
    assert read("usr/bin/tool", b"#!/bin/sh\n") == []


@pytest.mark.slow
def test_a_go_program_names_its_compiler_and_modules(tmp_path: Path) -> None:
    require("go")
    (tmp_path / "go.mod").write_text("module example.org/tiny\n\ngo 1.25\n")
    (tmp_path / "main.go").write_text("package main\n\nfunc main() {}\n")
    subprocess.run(["go", "build", "-o", "tiny", "."], cwd=tmp_path, check=True)
    found = read("tiny", (tmp_path / "tiny").read_bytes())
    assert [one.name for one in found] == ["stdlib", "example.org/tiny"]
    assert found[0].version.startswith("1.")


def built_with(modules: str) -> bytes:
    def text(value: str) -> bytes:
        content, length, prefix = value.encode(), len(value.encode()), b""
        while length >= 0x80:
            prefix += bytes([length & 0x7F | 0x80])
            length >>= 7
        return prefix + bytes([length]) + content

    return (
        b"\x7fELF...\xff Go buildinf:\x08\x02" + bytes(16) + text("go1.26.1 X:y") + text("0123456789abcdef" + modules)
    )


def test_replaced_modules_are_named_as_what_they_are() -> None:
    modules = (
        "\npath\ta\nmod\ta\t(devel)\t\ndep\tb\tv1.0.0\th1:x=\n=>\tfork/b\tv1.0.1\th1:y=\ndep\tc\tv2.0.0+incompatible\n"
    )
    assert go_modules(built_with(modules)) == [
        Component("golang", "stdlib", "1.26.1"),
        Component("golang", "a", ""),
        Component("golang", "fork/b", "v1.0.1"),
        Component("golang", "c", "v2.0.0+incompatible"),
    ]


@given(st.binary(max_size=200))
def test_nonsense_is_read_without_harm(content: bytes) -> None:
    for path in ("a.dist-info/METADATA", "requirements.lock", "var/lib/dpkg/status", "lib/apk/db/installed", "program"):
        read(path, content)
    go_modules(b"\xff Go buildinf:\x08\x02" + content)
