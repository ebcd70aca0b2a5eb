"""`release list`, `show`, `verify`, `key` and a deployment that wants proof, as a person meets them."""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

from openbell.adapters import dsse
from tests.fakes.commands import Call, caller
from tests.fakes.projects import ScratchProject, isolate

if find_spec("securesystemslib") is None:
    pytest.skip("needs openbell[images]", allow_module_level=True)
SOURCE = "https://example.com/acme/shop"
SHOP = f"""
[project]
name = "shop"
[jobs.lint]
stage = "quality"
run = "echo no scanner; exit 75"
not_checked_exit_codes = [75]
[jobs.bundle]
stage = "build"
run = "echo 'six==1.17.0' > {{out}}/requirements.lock"
[services.api]
protocol = "http"
run = "true"
[release.provenance]
source = "{SOURCE}"
builder = "https://ci.example.com"
[environments.staging]
branch = "develop"
verify = {{ key = "release.pub", source = "{SOURCE}", builder = "https://ci.example.com" }}
"""
PRIVATE, PUBLIC = dsse.make_key()


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    isolate(monkeypatch, tmp_path)

    def run_command(project: ScratchProject, *arguments: str, key: str = "") -> tuple[int, str, str]:
        monkeypatch.chdir(project.root)
        monkeypatch.setenv("OPENBELL_SIGNING_KEY", key)
        return caller(capsys)(*arguments)

    return run_command


@pytest.fixture
def shop(tmp_path: Path) -> ScratchProject:
    project = ScratchProject(tmp_path / "p", SHOP)
    project.repository.commit(files={"release.pub": PUBLIC, ".gitignore": ".openbell\n"})
    return project


def run(call: Call, shop: ScratchProject, key: str = PRIVATE) -> str:
    code, _, errors = call(shop, "run", "--trigger", "push", "--no-deploy", key=key)
    assert code == 0, errors
    assert "PRIVATE KEY" not in errors
    return errors


def folder_of(shop: ScratchProject) -> Path:
    (folder,) = (shop.root / ".openbell" / "releases").iterdir()
    return folder


def test_a_signed_release_is_listed_shown_and_verified(shop: ScratchProject, call: Call) -> None:
    assert "not signed" not in run(call, shop)
    code, out, _ = call(shop, "release", "list")
    assert (code, "develop" in out, "signed" in out, "no image" in out) == (0, True, True, True)
    code, out, _ = call(shop, "release", "show", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["bills_of_materials"] == {"bundle.cdx.json": 1}
    assert [one["kind"] for one in found["statements"] if one["signed"]] == ["SBOM", "provenance"]
    assert {one["job"]: one["outcome"] for one in found["evidence"]} == {"lint": "not-checked", "bundle": "success"}
    code, out, _ = call(shop, "release", "show")
    assert "lint                     not-checked" in out
    assert f"source {SOURCE}, builder https://ci.example.com; signed" in out
    code, out, errors = call(shop, "release", "verify")
    assert (code, "✗" in out, "verified" in errors) == (0, False, True)


def test_each_commit_of_one_content_has_a_provenance_of_its_own(shop: ScratchProject, call: Call) -> None:
    run(call, shop)
    first = shop.repository.git("rev-parse", "HEAD")
    second = shop.repository.commit("docs: nothing that is built")
    run(call, shop)
    statements = json.loads(call(shop, "release", "show", "--json")[1])["statements"]
    assert {one["commit"] for one in statements if one["kind"] == "provenance"} == {first, second}
    assert call(shop, "release", "verify", first)[0] == call(shop, "release", "verify", second)[0] == 0


def test_a_release_that_nobody_signed_is_not_deployed_until_it_is(shop: ScratchProject, call: Call) -> None:
    assert "The release is not signed: OPENBELL_SIGNING_KEY is not set" in run(call, shop, key="")
    code, _, errors = call(shop, "deploy", "staging")
    assert code == 1
    assert "is not verified, and staging wants it to be" in errors
    assert "provenance: nobody has signed it" in errors
    assert "SBOM bundle: nobody has signed it" in errors
    assert "not signed" not in run(call, shop)
    assert call(shop, "release", "verify")[0] == 0


def test_a_key_that_is_a_file_and_one_that_is_not_there(shop: ScratchProject, call: Call, tmp_path: Path) -> None:
    assert "cannot be read: No such file" in run(call, shop, key=str(tmp_path / "none"))
    (tmp_path / "key").write_text(PRIVATE)
    run(call, shop, key=str(tmp_path / "key"))
    assert call(shop, "release", "verify")[0] == 0


def test_another_key_is_refused(shop: ScratchProject, call: Call) -> None:
    run(call, shop, key=dsse.make_key()[0])
    code, out, errors = call(shop, "release", "verify", "--json")
    assert (code, json.loads(out)["ok"]) == (1, False)
    assert "signed by another key" in out
    code, _, errors = call(shop, "deploy", "staging")
    assert (code, "signed by another key" in errors) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--source", "https://example.com/fork"), f"its source is {SOURCE}, and must be https://example.com/fork"),
        (("--builder", "https://other.example"), "its builder is https://ci.example.com"),
    ],
)
def test_another_origin_is_refused(shop: ScratchProject, call: Call, arguments: tuple[str, ...], said: str) -> None:
    run(call, shop)
    code, out, _ = call(shop, "release", "verify", *arguments)
    assert (code, said in out) == (1, True), out


def test_a_provenance_of_another_release_or_commit_is_refused(shop: ScratchProject, call: Call) -> None:
    run(call, shop)
    (old,) = (folder_of(shop) / "statements").glob("provenance-*.dsse.json")
    kept = old.read_bytes()
    old.unlink()
    assert "there is none: nobody says where it comes from" in call(shop, "release", "verify")[1]
    other = shop.repository.commit(files={"openbell.toml": SHOP.replace("1.17.0", "1.16.0")})
    run(call, shop)
    for folder in (shop.root / ".openbell" / "releases").iterdir():
        for path in (folder / "statements").glob("provenance-*.dsse.json"):
            path.write_bytes(kept)
    code, out, _ = call(shop, "release", "verify", other)
    assert code == 1
    assert "it is about another content" in out
    assert "its commit is" in out


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("manifest.json", "it was changed"),
        ("artifacts/requirements.lock", "changed since they were built: requirements.lock"),
        ("statements/bundle.cdx.json", "SBOM bundle"),
    ],
)
def test_what_was_changed_is_refused(shop: ScratchProject, call: Call, path: str, said: str) -> None:
    run(call, shop)
    file = folder_of(shop) / path
    file.write_text(file.read_text().replace("1.17.0", "1.17.1").replace("six", "sin"))
    code, out, _ = call(shop, "release", "verify")
    assert (code, said in out) == (1, True), out


def test_a_release_of_an_older_openbell_is_shown_and_not_verified(shop: ScratchProject, call: Call) -> None:
    run(call, shop)
    shutil.rmtree(folder_of(shop) / "statements")
    code, out, _ = call(shop, "release", "show")
    assert (code, "requirements.lock" in out) == (0, True)
    code, out, _ = call(shop, "release", "verify")
    assert (code, "✗ provenance" in out) == (1, True)
    shutil.rmtree(folder_of(shop))
    assert "not on this machine" in call(shop, "release", "list")[1]
    code, _, errors = call(shop, "release", "show")
    assert (code, "Build it again: openbell run" in errors) == (1, True)


def test_a_public_key_that_is_not_there_is_told(shop: ScratchProject, call: Call) -> None:
    run(call, shop)
    (shop.root / "release.pub").unlink()
    code, _, errors = call(shop, "deploy", "staging")
    assert (code, "the public key release.pub cannot be read" in errors) == (1, True)


def test_a_pair_of_keys_signs_and_verifies_and_is_not_written_over(shop: ScratchProject, call: Call) -> None:
    assert call(shop, "release", "key", "keys")[0] == 0
    private, public = shop.root / "keys" / "release.key", shop.root / "keys" / "release.pub"
    assert private.stat().st_mode & 0o077 == 0
    assert dsse.verify(dsse.sign(b"{}", private.read_text()), public.read_text()) == b"{}"
    code, _, errors = call(shop, "release", "key", "keys")
    assert (code, "is there already" in errors) == (2, True)


def test_nothing_to_list_and_nothing_to_verify(shop: ScratchProject, call: Call) -> None:
    code, out, errors = call(shop, "release", "list")
    assert (code, out, "No release was built yet" in errors) == (0, "", True)
    code, _, errors = call(shop, "release", "verify", "--environment", "nowhere")
    assert code != 0
