"""Files that jobs leave as reports: read whole, within bounds, and whatever stands in their place.

A job is not trusted: in place of its report may be a pipe that nobody writes to, a link to a device without end, or
bytes that make a parser fall over. Reading never waits, and what is no report is an `AdapterError` that says why. What
the reports mean is known by the adapters of their formats.
"""

import os
import stat
from pathlib import Path
from typing import TypeVar
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
import msgspec
from defusedxml.common import DefusedXmlException

from openbell.ports import AdapterError

SIZE_BYTES_MAX = 50_000_000

Document = TypeVar("Document")


def read_bytes(file: Path, system: str) -> bytes:
    """Read a regular file of `SIZE_BYTES_MAX` at most; raises `AdapterError` when it is missing, larger or no file."""
    try:
        # Without O_NONBLOCK, opening a pipe waits for a writer. What was opened is looked at, not what is there now.
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise AdapterError(system, "read", f"{file.name} is no regular file")
            with os.fdopen(descriptor, "rb", closefd=False) as stream:
                content = stream.read(SIZE_BYTES_MAX + 1) or b""
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise AdapterError(system, "read", f"{file.name} was not written") from None
    except OSError as error:
        raise AdapterError(system, "read", f"{file.name} cannot be read: {error.strerror or error}") from None
    if len(content) > SIZE_BYTES_MAX:
        raise AdapterError(system, "read", f"{file.name} is larger than {SIZE_BYTES_MAX // 1_000_000} MB")
    return content


def read_xml(file: Path, system: str, *, kind: str) -> Element:
    """Read an XML file without entities and return its root; `kind` names the format in the `AdapterError`."""
    content = read_bytes(file, system)
    try:
        root: Element = defusedxml.ElementTree.fromstring(content)
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        # A LookupError is an encoding that nobody knows.
        raise AdapterError(system, "read", f"{file.name} is no {kind}: {error}") from None
    return root


def read_json(file: Path, system: str, document: type[Document], *, kind: str) -> Document:
    """Read a JSON file as a `document`; `kind` names the format in the `AdapterError`."""
    content = read_bytes(file, system)
    try:
        return msgspec.json.decode(content, type=document)
    except (ValueError, RecursionError) as error:
        # A ValueError is text that is no UTF-8, and what msgspec refuses.
        raise AdapterError(system, "read", f"{file.name} is no {kind}: {error}") from None
