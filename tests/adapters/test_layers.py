"""Packages in the layers of an image; a later layer hides what it takes away."""

import io
import tarfile
from pathlib import Path

import pytest

from openbell.adapters.layers import read_components
from openbell.core.sbom import Component
from openbell.ports import AdapterError

SIX, IDNA = "usr/lib/six.dist-info/METADATA", "usr/lib/idna.dist-info/METADATA"


def layer(folder: Path, name: str, files: dict[str, str]) -> Path:
    path = folder / name
    with tarfile.open(path, "w:gz") as archive:
        for file, text in files.items():
            entry = tarfile.TarInfo(file)
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    return path


def metadata(name: str, version: str) -> str:
    return f"Name: {name}\nVersion: {version}\n"


def test_packages_of_all_layers(tmp_path: Path) -> None:
    below = layer(tmp_path, "a", {SIX: metadata("six", "1"), f"./{IDNA}": metadata("idna", "3")})
    above = layer(tmp_path, "b", {SIX: metadata("six", "2")})
    assert read_components([below, above]) == (Component("pypi", "idna", "3"), Component("pypi", "six", "2"))


@pytest.mark.parametrize(
    ("whiteout", "left"),
    [
        ("usr/lib/.wh.six.dist-info", ["idna"]),
        (f"usr/lib/six.dist-info/.wh.{'METADATA'}", ["idna"]),
        ("usr/.wh.lib", []),
        ("usr/lib/.wh..wh..opq", []),
        (".wh.usr", []),
        ("usr/.wh.li", ["idna", "six"]),
    ],
)
def test_what_a_later_layer_takes_away(tmp_path: Path, whiteout: str, left: list[str]) -> None:
    below = layer(tmp_path, "a", {SIX: metadata("six", "1"), IDNA: metadata("idna", "3")})
    assert [one.name for one in read_components([below, layer(tmp_path, "b", {whiteout: ""})])] == left


def test_what_a_layer_hides_and_brings_again_is_there(tmp_path: Path) -> None:
    below = layer(tmp_path, "a", {SIX: metadata("six", "1")})
    above = layer(tmp_path, "b", {"usr/lib/.wh..wh..opq": "", IDNA: metadata("idna", "3")})
    assert [one.name for one in read_components([below, above])] == ["idna"]


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x1f\x8b\x08\x00nonsense"])
def test_what_is_no_layer_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "layer").write_bytes(content)
    with pytest.raises(AdapterError, match="is no layer"):
        read_components([tmp_path / "layer"])
