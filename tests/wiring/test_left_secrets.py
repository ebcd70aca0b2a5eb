"""Secrets in every form in which they get about: none reaches the terminal, a log, a report, the store or a record."""

import base64
import gzip
import html
import io
import json
import shlex
import urllib.parse
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from openbell.adapters.store import Store
from openbell.cli.parser import parse_and_run
from tests.fakes.projects import ScratchProject, isolate

SECRET = 'tr0ub4dor&3\'<"Ünï">/+= x'
RAW = SECRET.encode()
HALF = len(RAW) // 2
B64 = base64.b64encode(RAW)


def each(pattern: str, *, separator: str = "", content: bytes = RAW) -> bytes:
    return separator.join(pattern.format(byte) for byte in content).encode()


def wrapped(content: bytes, *, width: int, end: bytes = b"\n") -> bytes:
    return end.join(content[at : at + width] for at in range(0, len(content), width))


FORMS: dict[str, bytes] = {
    "plain": RAW,
    "twice": RAW + RAW,
    "in a word": b"token=" + RAW + b"&other",
    "JSON": json.dumps(SECRET).encode(),
    "JSON without ASCII": json.dumps(SECRET, ensure_ascii=False).encode(),
    "JSON of PHP": json.dumps(SECRET).replace("/", "\\/").encode(),
    "JSON of Go": json.dumps(SECRET, ensure_ascii=False)
    .replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026").encode(),
    "JSON in JSON": json.dumps(json.dumps(SECRET)).encode(),
    "URL": urllib.parse.quote(SECRET, safe="").encode(),
    "URL in small letters": urllib.parse.quote(SECRET, safe="").lower().encode(),
    "path of a URL": urllib.parse.quote(SECRET).encode(),
    "form": urllib.parse.quote_plus(SECRET).encode(),
    "URL in a URL": urllib.parse.quote(urllib.parse.quote(SECRET, safe=""), safe="").encode(),
    "URL, all of it": each("%{:02X}"),
    "Base64": B64,
    "Base64 without padding": B64.rstrip(b"="),
    "Base64 for URLs": base64.urlsafe_b64encode(RAW),
    "Base64 after one byte": base64.b64encode(b":" + RAW + b"!"),
    "Base64 after two bytes": base64.b64encode(b"u:" + RAW + b"!!"),
    "Base64 after a name": base64.b64encode(b"user:" + RAW),
    "Base64 in lines": wrapped(base64.b64encode(b"x" * 60 + RAW + b"y" * 60), width=76),
    "Base64 in narrow lines": wrapped(B64, width=8),
    "Base64 of UTF-16": base64.b64encode(SECRET.encode("utf-16-le")),
    "Base32": base64.b32encode(RAW),
    "Base85": base64.b85encode(RAW),
    "ASCII85": base64.a85encode(RAW),
    "hexadecimal": RAW.hex().encode(),
    "hexadecimal in capitals": RAW.hex().upper().encode(),
    "hexadecimal with colons": RAW.hex(":").encode(),
    "hexadecimal with spaces": RAW.hex(" ").encode(),
    "hexadecimal in lines": wrapped(RAW.hex().encode(), width=16),
    "xxd": RAW.hex(" ", -2).encode(),
    "escapes of C": each("\\x{:02x}"),
    "octal escapes": each("\\{:03o}"),
    "escapes of Unicode": "".join(f"\\u{ord(c):04x}" for c in SECRET).encode(),
    "numbers": each("{}", separator=", "),
    "bits": each("{:08b}", separator=" "),
    "entities of HTML": html.escape(SECRET).encode(),
    "numbers of HTML": "".join(f"&#{ord(c)};" for c in SECRET).encode(),
    "quoted-printable": each("={:02X}"),
    "word of a shell": shlex.quote(SECRET).encode(),
    "word of bash": "".join(c if c.isalnum() else f"\\{c}" for c in SECRET).encode(),
    "literal of Python": repr(SECRET).encode(),
    "literal of SQL": SECRET.replace("'", "''").encode(),
    "cell of CSV": SECRET.replace('"', '""').encode(),
    "turned round": SECRET[::-1].encode(),
    "in capitals": SECRET.upper().encode(),
    "UTF-16": SECRET.encode("utf-16-le"),
    "UTF-16 the other way": SECRET.encode("utf-16-be"),
    "over two lines": RAW[:HALF] + b"\n" + RAW[HALF:],
    "over many lines": wrapped(RAW, width=3),
    "lines of Windows": RAW[:HALF] + b"\r\n" + RAW[HALF:],
    "in colours": RAW[:HALF] + b"\x1b[1;31m" + RAW[HALF:] + b"\x1b[0m",
    "each character in a colour": b"\x1b[0m".join(bytes([b]) if b < 128 else b"" for b in RAW if b < 128)
    if RAW.isascii() else RAW[:4] + b"\x1b[0m" + RAW[4:],
    "with a title in its midst": RAW[:HALF] + b"\x1b]0;title\x07" + RAW[HALF:],
    "with zero bytes": RAW[:HALF] + b"\x00\x07" + RAW[HALF:],
    "with a space of no width": RAW[:6] + "\u200b".encode() + RAW[6:],
}  # fmt: skip
"""What a job prints. `tests` decides what counts as printed by itself: nothing here is taken from the masking code."""

PRINT = """
import base64, os, sys, time
for line in open("forms.b64", "rb"):
    form = base64.b64decode(line)
    os.write(1, b"|" + form + b"|\\n")
half = len(form) // 2
for part in (b"two writes ", SECRET[:5], SECRET[5:], b"\\n"):
    os.write(1, part)
    time.sleep(0.01)
"""


def stripped(content: bytes) -> bytes:
    """What is left when all that does not print is taken out, by other means than those of the code."""
    text = content.decode(errors="replace")
    plain, skipping = [], ""
    for character in text:
        if skipping:
            done = character == "\x07" if skipping == "]" else character.isalpha()
            skipping = "" if done else "]" if skipping == "\x1b" and character == "]" else skipping
        elif character == "\x1b":
            skipping = "\x1b"
        elif character.isprintable():
            plain.append(character)
    return "".join(plain).encode()


def check_nothing_is_told(content: bytes, where: str) -> None:
    for name, form in FORMS.items():
        assert form not in content, f"{name} is in {where}"
    assert RAW not in stripped(content), f"what was cut apart is in {where}"
    assert B64.rstrip(b"=") not in stripped(content), f"Base64 in lines is in {where}"


@pytest.fixture
def call(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> Callable[..., tuple[int, bytes]]:
    isolate(monkeypatch, tmp_path)
    monkeypatch.setenv("TOKEN", SECRET)

    def run_command(project: ScratchProject, *arguments: str) -> tuple[int, bytes]:
        monkeypatch.chdir(project.root)
        code = parse_and_run(arguments)
        captured = capfdbinary.readouterr()
        return code, captured.out + captured.err

    return run_command


def check_state(project: ScratchProject) -> None:
    files = [path for path in (project.root / ".openbell").rglob("*") if path.is_file()]
    assert any(path.name == "result.json" for path in files)
    assert any(path.suffix == ".log" for path in files)
    for path in files:
        check_nothing_is_told(path.read_bytes(), str(path))
        check_nothing_is_told(str(path).encode(), "the name of a file")


def test_there_are_fifty_forms() -> None:
    assert len(FORMS) >= 50
    assert len(frozenset(FORMS.values())) == len(FORMS)


@pytest.mark.parametrize("name", FORMS)
def test_each_form_is_masked(name: str) -> None:
    from openbell.core.masking import Masker

    text = FORMS[name].decode(errors="surrogateescape")
    shown = Masker([SECRET]).mask(f"before {text} after").encode(errors="surrogateescape")
    check_nothing_is_told(shown, name)
    assert b"***" in shown
    assert shown.startswith(b"before ")
    assert shown.endswith(b" after")


PROJECT = """
[project]
name = "secrets"
[jobs.print]
stage = "quality"
run = "python print.py"
secrets = ["TOKEN"]
[jobs.reports]
stage = "quality"
run = "cp j.xml s.json c.xml k.json {out}/; exit 1"
reports = { junit = "j.xml", sarif = "s.json", cobertura = "c.xml", k6 = "k.json" }
secrets = ["TOKEN"]
allow_failure = true
[jobs.error]
stage = "quality"
run = 'echo "cannot log in with $TOKEN"; exit 3'
secrets = ["TOKEN"]
allow_failure = true
[jobs.named]
stage = "quality"
run = '''mkdir -p {out}/"$NAME"; touch {out}/"$NAME"/x {out}/$'\\xff'tr0ub4dor'''
outputs = ["**"]
secrets = ["TOKEN", "NAME"]
allow_failure = true
[jobs.left]
stage = "quality"
run = 'cp left.* {out}/; ln -s "$TOKEN" {out}/link; echo fine > {out}/fine'
outputs = ["*"]
secrets = ["TOKEN"]
allow_failure = true
[jobs.spare]
stage = "quality"
run = 'echo "$TOKEN" > {out}/spare; echo fine > {out}/fine'
outputs = ["fine"]
secrets = ["TOKEN"]
"""


def packed() -> dict[str, bytes]:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as members:
        members.writestr("a/b.txt", b"x" * 3_000_000 + RAW)
    return {
        "left.bin": bytes(range(256)) * 9000 + RAW + bytes(range(256)) * 9000,
        "left.utf16": SECRET.encode("utf-16"),
        "left.whl": archive.getvalue(),
        "left.tar.gz": gzip.compress(b"\0" * 2_000_000 + RAW + b"\0" * 100),
    }


def documents() -> dict[str, str]:
    quoted = html.escape(SECRET)
    return {
        "j.xml": f'<testsuite><testcase name="{quoted}"><failure message="{quoted}"/></testcase></testsuite>',
        "s.json": json.dumps(
            {"version": "2.1.0", "runs": [{"results": [{"ruleId": "r", "message": {"text": SECRET}}]}]}
        ),
        "c.xml": f'<coverage line-rate="0.9"><packages><package name="{quoted}"/></packages></coverage>',
        "k.json": json.dumps({"metrics": {"m": {"p(95)": 1, "thresholds": {SECRET: False}}}}),
    }


@pytest.mark.slow
def test_no_form_of_a_secret_gets_anywhere(
    tmp_path: Path, call: Callable[..., tuple[int, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAME", "tr0ub4dor")
    project = ScratchProject(tmp_path / "p", PROJECT)
    forms = b"\n".join(base64.b64encode(base64.b85encode(form)) for form in FORMS.values())
    script = PRINT.replace("base64.b64decode(line)", "base64.b85decode(base64.b64decode(line))")
    script = script.replace("SECRET", 'os.environb[b"TOKEN"]')
    project.repository.write({"print.py": script, **documents()})
    (project.root / "forms.b64").write_bytes(forms)
    for name, content in packed().items():
        (project.root / name).write_bytes(content)
    project.repository.commit("feat: plant")
    code, told = call(project, "run")
    assert code == 0, told.decode(errors="replace")
    check_nothing_is_told(told, "the terminal")
    assert b"*** failed" not in told
    words = told.decode()
    assert "a secret is in what it left: left.bin, left.tar.gz, left.utf16, left.whl, link." in words
    assert "exit code 3: cannot log in with ***" in words
    log = next((project.root / ".openbell/runs").glob("*/logs/print.log")).read_bytes()
    assert log.count(b"***") >= len(FORMS)
    for arguments in (["log", "last", "print"], ["log", "last", "--json"], ["run", "--json"], ["runs", "--json"]):
        _, told = call(project, *arguments)
        check_nothing_is_told(told, " ".join(arguments))
    check_state(project)
    kept = [path for path in Store(project.root / ".openbell/store").root.glob("objects/*/*") if path.is_file()]
    assert [path.read_bytes() for path in kept] == [b"fine\n"]


def test_a_secret_that_names_a_file_or_stands_in_the_configuration_is_not_kept(
    tmp_path: Path, call: Callable[..., tuple[int, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "tr0ub4dor")
    configuration = '[project]\nname = "x"\n[jobs.a]\nstage = "test"\nrun = "true"\nsecrets = ["TOKEN"]\n'
    project = ScratchProject(tmp_path / "p", configuration)
    project.repository.commit("feat: plant", {"tr0ub4dor.txt": "x"})
    call(project, "run")
    project.repository.commit("feat: change", {"tr0ub4dor.txt": "y"})
    _, told = call(project, "run")
    assert b"***.txt" in told
    for path in (project.root / ".openbell/store").rglob("*.json"):
        assert b"tr0ub4dor" not in path.read_bytes()
    assert b"tr0ub4dor" not in told
