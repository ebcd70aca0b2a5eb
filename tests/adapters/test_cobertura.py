"""Cobertura: rates from counts or rates, and nothing from anywhere else."""

from pathlib import Path

import pytest

from openbell import report_file
from openbell.adapters import cobertura
from openbell.ports import AdapterError

DOCTYPE = '<?xml version="1.0"?><!DOCTYPE coverage SYSTEM "http://cobertura.sourceforge.net/xml/coverage-04.dtd">'


def write(tmp_path: Path, content: str) -> Path:
    file = tmp_path / "coverage.xml"
    file.write_text(content)
    return file


@pytest.mark.parametrize(
    ("attributes", "lines", "branches"),
    [
        ('line-rate="0.7" branch-rate="0" branches-valid="0"', 70.0, None),
        ('line-rate="0.7" lines-covered="699" lines-valid="1000"', 69.9, None),
        ('line-rate="1" branch-rate="0.5" branches-covered="1" branches-valid="2"', 100.0, 50.0),
        ('line-rate="0" lines-covered="0" lines-valid="0"', 0.0, None),
    ],
)
def test_rates(tmp_path: Path, attributes: str, lines: float, branches: float | None) -> None:
    found = cobertura.read(write(tmp_path, f"{DOCTYPE}<coverage {attributes}/>"))
    assert (found.lines_pct, found.branches_pct) == (lines, branches)


@pytest.mark.parametrize(
    "attributes", ["", 'line-rate="x"', 'line-rate="nan"', 'line-rate="7"', 'line-rate="-1"', 'line-rate="inf"']
)
def test_a_rate_that_is_none(tmp_path: Path, attributes: str) -> None:
    with pytest.raises(AdapterError, match="does not say which share"):
        cobertura.read(write(tmp_path, f"<coverage {attributes}/>"))


def test_what_is_no_cobertura(tmp_path: Path) -> None:
    unknown_encoding = '<?xml version="1.0" encoding="bogus"?><coverage/>'
    for text in (
        "",
        "<coverage",
        unknown_encoding,
        '<!DOCTYPE c [<!ENTITY a SYSTEM "file:///etc/passwd">]><coverage line-rate="&a;"/>',
    ):
        with pytest.raises(AdapterError, match="no Cobertura file"):
            cobertura.read(write(tmp_path, text))
    with pytest.raises(AdapterError, match="does not say"):
        cobertura.read(write(tmp_path, '<html line-rate="1"/>'))
    with pytest.raises(AdapterError, match="was not written"):
        cobertura.read(tmp_path / "gone.xml")
    file = tmp_path / "huge.xml"
    with file.open("wb") as stream:
        stream.truncate(report_file.SIZE_BYTES_MAX + 1)
    with pytest.raises(AdapterError, match="larger than 50 MB"):
        cobertura.read(file)


CLASSES = """<coverage line-rate="0.5"><sources><source>/build/copy/3f/src</source></sources><packages>
<package name="p"><classes><class filename="p/a.py"><lines><line number="1" hits="1"/>
<line number="2" hits="0"/></lines></class><class filename="p/a.py"><lines><line number="2" hits="3"/>
<line number="x" hits="1"/><line number="9" hits="-1"/>
</lines></class><class filename="p/b.py"><methods><method><lines><line number="7" hits="1"/></lines></method></methods>
<lines><line number="4" hits="0"/></lines></class></classes></package></packages></coverage>"""


def test_lines_of_classes(tmp_path: Path) -> None:
    found = cobertura.read(write(tmp_path, CLASSES))
    assert found.hits == {"p/a.py": {1: True, 2: True}, "p/b.py": {4: False}}
    assert found.counts == {"p/a.py": (2, 2), "p/b.py": (0, 1)}
    assert found.roots == ("/build/copy/3f/src",)
