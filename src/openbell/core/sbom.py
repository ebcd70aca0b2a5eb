"""What software is made of: the packages that files of an image or of a bundle tell of.

Reads what package managers and compilers leave behind: METADATA of Python distributions, lock files of pip, the build
information in Go programs, the databases of Debian and Alpine. A file that tells nothing adds nothing.

Source: PEP 566 and 639; https://pkg.go.dev/debug/buildinfo; deb-control(5); apk's installed database; package-url.
"""

import re
from collections.abc import Callable, Iterator

import msgspec

GO_MAGIC = b"\xff Go buildinf:"
GO_TEXT_AT = 32
GO_INLINE = 2
FILE_BYTES_MAX = 256_000_000
_LOCKED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)", re.MULTILINE)


class Component(msgspec.Struct, frozen=True, order=True):
    """One package: its kind as package URLs say it, its name, its version, and its licence as an SPDX expression."""

    kind: str
    name: str
    version: str
    licence: str = ""

    @property
    def purl(self) -> str:
        """Its package URL."""
        name = re.sub(r"[-_.]+", "-", self.name).lower() if self.kind == "pypi" else self.name
        version = self.version.replace("+", "%2B")
        return f"pkg:{self.kind}/{name}@{version}" if version else f"pkg:{self.kind}/{name}"


Reader = Callable[[bytes], list[Component]]


def reader_of(path: str) -> Reader | None:
    """Return what reads a file of that path, or None when it can tell nothing of packages."""
    if path.endswith((".dist-info/METADATA", ".egg-info/PKG-INFO")):
        return python_distribution
    if path.endswith(("requirements.lock", "requirements.txt")):
        return locked_distributions
    if path.endswith("var/lib/dpkg/status") or "/var/lib/dpkg/status.d/" in f"/{path}":
        return debian_packages
    if path.endswith("lib/apk/db/installed"):
        return alpine_packages
    return go_modules if "." not in path.rpartition("/")[2] else None


def python_distribution(content: bytes) -> list[Component]:
    """Read the METADATA of an installed distribution: its headers, not the description that follows them."""
    headers = next(_paragraphs(content.replace(b"\r\n", b"\n"), ":"), {})
    name, version = headers.get("Name", ""), headers.get("Version", "")
    return [Component("pypi", name, version, headers.get("License-Expression", ""))] if name else []


def locked_distributions(content: bytes) -> list[Component]:
    """Read a lock file of pip: every `NAME==VERSION`."""
    return [Component("pypi", name, version) for name, version in _LOCKED.findall(content.decode(errors="replace"))]


def debian_packages(content: bytes) -> list[Component]:
    """Read dpkg's database."""
    return [
        Component("deb/debian", fields["Package"], fields.get("Version", ""))
        for fields in _paragraphs(content, ": ")
        if "Package" in fields and "deinstall" not in fields.get("Status", "")
    ]


def alpine_packages(content: bytes) -> list[Component]:
    """Read apk's database, whose fields are single letters."""
    return [
        Component("apk/alpine", fields["P"], fields.get("V", ""))
        for fields in _paragraphs(content, ":")
        if "P" in fields
    ]


def _paragraphs(content: bytes, separator: str) -> Iterator[dict[str, str]]:
    for paragraph in content.decode(errors="replace").split("\n\n"):
        pairs = (line.partition(separator) for line in paragraph.splitlines() if line[:1] not in (" ", "\t"))
        yield {key: value.strip() for key, found, value in pairs if found}


def go_modules(content: bytes) -> list[Component]:
    """Read the build information of a Go program: the compiler, the main module and what it is made of."""
    at = content.find(GO_MAGIC)
    if at < 0 or len(content) < at + GO_TEXT_AT or not content[at + 15] & GO_INLINE:
        return []
    compiler, rest = _text(content, at + GO_TEXT_AT)
    modules, _ = _text(content, rest)
    found = [Component("golang", "stdlib", compiler.partition(" ")[0].removeprefix("go"))] if compiler else []
    replaced: Component | None = None
    for line in modules.splitlines():
        what, *words = line.split("\t")
        if what not in ("mod", "dep", "=>") or len(words) < 2:
            continue
        module = Component("golang", words[0], words[1] if words[1] != "(devel)" else "")
        if what == "=>" and replaced is not None:
            found.remove(replaced)
        found.append(module)
        replaced = module
    return found


def _text(content: bytes, at: int) -> tuple[str, int]:
    """Read a text that its length precedes, seven bits to a byte; returns it and where it ends."""
    length, shift = 0, 0
    while at < len(content) and shift < 35:
        byte = content[at]
        at += 1
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    return content[at : at + length].decode(errors="replace"), at + length
