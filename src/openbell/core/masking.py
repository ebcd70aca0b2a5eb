"""Secrets in a text: every form in which tools print them, found also where terminals or line ends cut them apart.

A form is how the whole secret looks after something was done to it: escaped for JSON, URLs, HTML or a shell, encoded in
Base64, Base32 or as numbers, turned round, in capitals. Forms are looked for in the text without what does not print:
sequences for terminals, control characters, line ends, the zero bytes of UTF-16. So a secret that was coloured in its
midst or wrapped is found as well. A hash of a secret is no form of it, nor is what a cipher makes of it.
"""

import base64
import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from html import escape
from urllib.parse import quote

MASKED_LENGTH_MIN = 4
"""Shorter values would be replaced inside ordinary words and tell their length; they are not secrets."""

TURNED_LENGTH_MIN = 6
"""From this length on a secret is also looked for turned round and in other cases; a shorter one may be any word."""

BASE64_LENGTH_MIN = 8
"""The part of a secret's Base64 that is the same wherever the secret begins; what is shorter may be any word."""

BASE64_WIDTHS = (64, 76)
"""Where `openssl base64` and `base64` end their lines."""

BEGINNING_BYTES = 16
COMPARED_MAX = 300
"""So many forms are compared with each other to look for fewer; of more there is no use."""

MASK = "***"

_TERMINAL_COMMANDS = re.compile(
    r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"  # titles, links, the clipboard
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"  # colours, the cursor
    r"|\x1b[ -/]*[0-~]?"
)
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_UNSEEN = re.compile(
    rb"\x1b\][^\x07\x1b\n]*(?:\x07|\x1b\\)"  # a title without an end is none: what follows it is seen
    rb"|(?:\x1b\[|\xc2\x9b)[0-?]*[ -/]*[@-~]?"
    rb"|\x1b[ -/]*[0-~]?"
    rb"|[\x00-\x08\x0a-\x1f\x7f]+|\xc2[\x80-\x9f\xad]"
    rb"|\xe2\x80[\x8b-\x8f\xaa-\xae]|\xe2\x81[\xa0-\xa9]|\xef\xbb\xbf"  # spaces of no width, directions, byte order
)
_SEEN = bytes(number for number in range(256) if number not in (*range(9), *range(10, 32), 0x7F, 0xC2, 0xE2, 0xEF))
"""Bytes of which none begins what does not print."""


class Masker:
    """Replaces secret values in texts and in bytes."""

    def __init__(self, values: Iterable[str]) -> None:
        forms = dict.fromkeys(_encode(form) for value in values for form in _forms_of_value(value))
        squeezed = dict.fromkeys(_UNSEEN.sub(b"", form) for form in forms)
        self._forms = tuple(form for form in forms if len(form.strip()) >= MASKED_LENGTH_MIN)
        self._squeezed = tuple(form for form in squeezed if len(form.strip()) >= MASKED_LENGTH_MIN)
        # A form that has another one in it is found by that one.
        self._telling, self._telling_squeezed = _shortest(self._forms), _shortest(self._squeezed)
        self.longest_bytes = max(map(len, self._forms), default=0)

    def mask(self, text: str) -> str:
        """Return the text with every secret replaced."""
        content = _encode(text)
        masked = self.mask_bytes(content)
        return text if masked is content else _decode(masked)

    def mask_bytes(self, content: bytes) -> bytes:
        """Return the content with every secret replaced; the same object when there is none."""
        places = self.find(content)
        if not places:
            return content
        shown, end = [], 0
        for start, stop in places:
            shown += [content[end:start], MASK.encode()]
            end = stop
        return b"".join([*shown, content[end:]])

    def show(self, text: str) -> str:
        """Return a masked text for a screen; it is masked once more when it changes: other things are beside now."""
        clean = printable(text)
        return text if clean == text else self.mask(clean)

    def hides(self, content: bytes | str) -> bool:
        """Say whether a text or any other content has a secret in it."""
        if isinstance(content, str):
            content = _encode(content)
        if any(form in content for form in self._telling):
            return True
        squeezed = _squeeze(content) if self._telling else content
        return len(squeezed) < len(content) and any(form in squeezed for form in self._telling_squeezed)

    def find(self, content: bytes) -> list[tuple[int, int]]:
        """Find where the secrets are, in order; those that overlap are one."""
        if not self.hides(content):
            return []
        places = list(_occurrences(content, self._forms))
        squeezed, place = _squeeze_with_places(content)
        places += [(place(start), place(stop - 1) + 1) for start, stop in _occurrences(squeezed, self._squeezed)]
        found: list[tuple[int, int]] = []
        for start, stop in sorted(places):
            if found and start < found[-1][1]:
                found[-1] = (found[-1][0], max(stop, found[-1][1]))
            else:
                found.append((start, stop))
        return found

    def open_end(self, content: bytes) -> int:
        """Say from where on content may be the beginning of a secret of which the rest is to come, or where it ends."""
        if not self._squeezed:
            return len(content)
        # What does not print may be anywhere between; a tail of four times the longest form has room for much of it.
        begin = max(0, len(content) - 4 * self.longest_bytes - 1000)
        squeezed, place = _squeeze_with_places(content[begin:])
        tail = squeezed[-(self.longest_bytes - 1) :]
        first = len(tail)
        for form in self._squeezed:
            first = min(first, _beginning_at_end(form, tail))
        return len(content) if first == len(tail) else begin + place(len(squeezed) - len(tail) + first)


def printable(text: str) -> str:
    """Return a line without what a terminal would obey: escape sequences and control characters, but for tabs."""
    if text.isprintable():
        return text
    # What is no UTF-8 goes first: bytes that a removed sequence kept apart may be a control character together.
    text = text.encode(errors="surrogateescape").decode(errors="replace")
    return _CONTROLS.sub("", re.sub("[\r\n]+", " ", _TERMINAL_COMMANDS.sub("", text.rstrip("\r\n"))))


def _encode(text: str) -> bytes:
    """Bytes that are no UTF-8 are expected as `surrogateescape` has them; other halves of characters come from JSON."""
    try:
        return text.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return text.encode(errors="surrogatepass")


def _decode(content: bytes) -> str:
    try:
        return content.decode(errors="surrogatepass")
    except UnicodeDecodeError:
        return content.decode(errors="surrogateescape")


def _squeeze(content: bytes) -> bytes:
    return _UNSEEN.sub(b"", content) if content.translate(None, _SEEN) else content


def _beginning_at_end(form: bytes, content: bytes) -> int:
    """Say from where on content ends as a form begins, without having all of it; its length if nowhere."""
    start = max(0, len(content) - len(form) + 1)
    # Longer beginnings are looked for by their first bytes: to compare all of it everywhere takes too long.
    key = form[:BEGINNING_BYTES]
    at = content.find(key, start) if len(form) > BEGINNING_BYTES else -1
    while at >= 0:
        if form.startswith(content[at:]):
            return at
        at = content.find(key, at + 1)
    for at in range(max(start, len(content) - BEGINNING_BYTES + 1), len(content)):
        if form.startswith(content[at:]):
            return at
    return len(content)


def _occurrences(content: bytes, forms: Iterable[bytes]) -> Iterator[tuple[int, int]]:
    for form in forms:
        at = content.find(form)
        while at >= 0:
            yield at, at + len(form)
            at = content.find(form, at + len(form))


class _Places:
    """Where the bytes of squeezed content were before."""

    def __init__(self, starts: list[int], origins: list[int]) -> None:
        self._starts, self._origins = starts, origins

    def __call__(self, at: int) -> int:
        piece = bisect_right(self._starts, at) - 1
        return self._origins[piece] + at - self._starts[piece]


def _squeeze_with_places(content: bytes) -> tuple[bytes, _Places]:
    """Take out what does not print, and keep where the rest was."""
    pieces, starts, origins = [], [], []
    end = length = 0
    for match in (*_UNSEEN.finditer(content), None):
        start = match.start() if match else len(content)
        if start > end or not match:
            pieces.append(content[end:start])
            starts.append(length)
            origins.append(end)
            length += start - end
        end = match.end() if match else start
    return b"".join(pieces), _Places(starts, origins)


def _shortest(forms: Iterable[bytes]) -> tuple[bytes, ...]:
    kept: list[bytes] = []
    found = sorted(forms, key=len)
    if len(found) > COMPARED_MAX:
        return tuple(found)
    for form in found:
        if not any(other in form for other in kept):
            kept.append(form)
    return tuple(kept)


def _forms_of_value(value: str) -> Iterator[str]:
    """Write a secret in all ways, and each of its lines in those in which a key of many lines is printed in parts."""
    lines = value.splitlines()
    if len(value.strip()) >= MASKED_LENGTH_MIN:
        yield from _forms(value)
    for line in lines if len(lines) > 1 else ():
        if len(line.strip()) >= MASKED_LENGTH_MIN:
            content = _encode(line)
            yield from (*_escaped(line), content.hex(), content.hex().upper())
            for text in _base64_forms(content):
                yield from (text, text.translate({ord("+"): "-", ord("/"): "_"}))


def _forms(secret: str) -> Iterator[str]:
    """Write a secret in all the ways in which it may be printed."""
    yield from _escaped(secret)
    yield from _numbers(_encode(secret))
    for content in (_encode(secret), *_wide_encodings(secret)):
        yield content.decode(errors="surrogateescape")
        for text in _base64_forms(content):
            yield from (text, text.translate({ord("+"): "-", ord("/"): "_"}))
        padded = base64.b32encode(content).decode()
        yield from (padded, padded.rstrip("="), padded.lower(), padded.rstrip("=").lower())
        yield from (base64.b85encode(content).decode(), base64.a85encode(content).decode())
    if len(secret) >= TURNED_LENGTH_MIN:
        turned = secret[::-1]
        yield from (turned, secret.upper(), secret.lower(), secret.swapcase())
        yield from base64.b64encode(_encode(turned)).decode().split()


def _escaped(secret: str) -> Iterator[str]:
    """Escape a secret as JSON, URLs, HTML, SQL and shells do."""
    for escaped in (json.dumps(secret), json.dumps(secret, ensure_ascii=False)):
        yield escaped[1:-1]
        yield escaped[1:-1].replace("/", "\\/")
        # Go writes what has a meaning in HTML as numbers.
        yield re.sub("[<>&]", lambda match: f"\\u{ord(match[0]):04x}", escaped[1:-1])
        # JSON in JSON, as in logs of logs.
        yield json.dumps(escaped[1:-1])[1:-1]
    content = _encode(secret)
    for kept in ("", "/", "!'()*"):
        quoted = quote(content, safe=kept)
        yield from (quoted, quoted.replace("%20", "+"), re.sub("%..", lambda match: match[0].lower(), quoted))
        yield quote(quoted, safe=kept)
    units = secret.encode("utf-16-be", errors="surrogatepass").hex()
    yield from ("".join(f"\\u{u}" for u in four) for four in (_fours(units), _fours(units.upper())))
    yield from ("".join(f"&#{ord(c)};" for c in secret), "".join(f"&#x{ord(c):x};" for c in secret))
    marked = escape(secret)
    yield from (marked, marked.replace("&#x27;", "&#39;"), marked.replace("&#x27;", "&apos;"))
    yield escape(secret, quote=False)
    yield from (secret.replace("'", "''"), secret.replace('"', '""'), secret.replace("'", "'\\''"))
    yield secret.replace("'", "'\"'\"'")
    yield repr(secret)[1:-1]
    # Shells and regular expressions put a backslash before all that might mean something.
    yield from (re.sub(r"([^\w])", r"\\\1", secret), re.sub(r"([^\w])", r"\\\1", secret, flags=re.ASCII))
    yield from (re.sub(r"([^\w/+=.:@%,-])", r"\\\1", secret), re.escape(secret))


def _fours(digits: str) -> Iterator[str]:
    return (digits[at : at + 4] for at in range(0, len(digits), 4))


def _numbers(content: bytes) -> Iterator[str]:
    """Write each byte as a number, as dumps, escapes and entities do."""
    dumped = content.hex()
    for digits in (dumped, dumped.upper()):
        pairs = [digits[at : at + 2] for at in range(0, len(digits), 2)]
        yield from (separator.join(pairs) for separator in ("", " ", ":", "-", ", ", ",", "\\x"))
        yield from ("%" + "%".join(pairs), "=" + "=".join(pairs), ", ".join(f"0x{pair}" for pair in pairs))
        # `xxd` and `hexdump` write two bytes together.
        yield from (" ".join(digits[at : at + 4] for at in range(from_, len(digits), 4)) for from_ in (0, 2))
    yield from (separator.join(map(str, content)) for separator in (" ", ",", ", "))
    yield from ("".join(f"\\{byte:03o}" for byte in content), " ".join(f"{byte:03o}" for byte in content))
    yield from (" ".join(f"{byte:08b}" for byte in content), "".join(f"{byte:08b}" for byte in content))


def _wide_encodings(secret: str) -> Iterator[bytes]:
    for name in ("utf-16-le", "utf-16-be"):
        yield secret.encode(name, errors="surrogatepass")


def _base64_forms(content: bytes) -> Iterator[str]:
    """Encode content alone, with its padding and without, and as it looks in the midst of something else."""
    padded = base64.b64encode(content).decode()
    yield from (padded, padded.rstrip("="))
    for before in range(3):
        # A character is six bits: those that hold bits of a neighbour differ, those between are always the same.
        encoded = base64.b64encode(bytes(before) + content).decode()
        kept = encoded[-(-before * 8 // 6) : (before + len(content)) * 8 // 6]
        parts = [kept]
        if not before:
            parts += [kept[at : at + width] for width in BASE64_WIDTHS for at in range(0, len(kept), width)]
        yield from (part for part in parts if len(part) >= BASE64_LENGTH_MIN)
