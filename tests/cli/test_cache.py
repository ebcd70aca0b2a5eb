"""`explain`, `verify` and `cache` as a person meets them."""

import json
import os
from pathlib import Path

import pytest

from openbell.adapters.store import Store
from tests.fakes.commands import Call, caller
from tests.fakes.projects import QUICK, ScratchProject, isolate

UNSOUND = '[jobs.chance]\nstage = "quality"\nrun = "date +%s%N > {out}/now"\noutputs = ["now"]\n'


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    isolate(monkeypatch, tmp_path)
    project = ScratchProject(tmp_path / "p", QUICK + UNSOUND)
    monkeypatch.chdir(project.root)
    return caller(capsys)


def test_explain_says_what_changed(call: Call) -> None:
    code, out, _ = call("explain", "unit")
    assert code == 0
    assert "unit (n=1) would run: has no result that was kept" in out
    call("run", "--no-deploy")
    assert "lint would be reused: same fingerprint as run " in call("explain")[1]
    Path("a.txt").write_text("changed\n")
    Path("openbell.toml").write_text(QUICK.replace('inputs = ["*.txt"]', 'inputs = ["*.txt"]\nenv = { A = "1" }'))
    _, out, _ = call("explain", "unit-1")
    assert "unit (n=1) would run: A is new, a.txt changed" in out
    assert "    env A is new: none -> 1\n    file a.txt changed\n" in out
    found = json.loads(call("explain", "unit-1", "--json")[1])
    assert [one["name"] for one in found["jobs"][0]["differences"]] == ["A", "a.txt"]
    code, out, err = call("explain", "nope")
    assert (code, out) == (2, "")
    assert 'there is no job "nope"' in err


@pytest.mark.slow
def test_verify_names_what_differs_and_fails(call: Call) -> None:
    call("run", "--no-deploy")
    code, _, err = call("verify", "lint", "unit")
    assert code == 0
    assert "3 of 3 results that would be reused: executed again, and the same." in err
    code, out, err = call("verify", "--sample", "all", "--json")
    assert code == 1
    assert "output now has other contents" in err
    assert [one["job"] for one in json.loads(out)["jobs"] if one["outcome"] == "differs"] == ["chance"]


@pytest.mark.parametrize("sample", ["0", "-1", "many", "1.5"])
def test_a_sample_that_is_none_is_refused(call: Call, sample: str) -> None:
    code, _, err = call("verify", f"--sample={sample}")
    assert (code, err) == (2, f'--sample {sample}: write a number from 1, or "all".\n')


def test_cache_says_how_much_is_kept_and_removes_it(call: Call) -> None:
    call("run", "--no-deploy")
    code, out, _ = call("cache")
    assert code == 0
    assert "5 results and 2 files that jobs left: 0.0 MB of 5,000.0 MB in " in out
    assert "Not shared with other machines" in out
    code, out, _ = call("cache", "clean", "--all", "--json")
    found = json.loads(out)
    assert (code, found["removed"]["results"], found["results"]) == (0, 0, 5), "what was just used stays"
    with Store(Path(".openbell/store").absolute()).in_use():
        code, out, err = call("cache", "clean")
    assert (code, out) == (1, "")
    assert "a run is in progress" in err


def test_what_a_release_stands_on_stays(call: Call) -> None:
    call("run", "--no-deploy")
    for file in Path(".openbell/store/results").glob("*/*/result.json"):
        os.utime(file, (1000, 1000))
    found = json.loads(call("cache", "clean", "--all", "--json")[1])
    assert (found["removed"]["results"], found["results"]) == (0, 5), "each job is evidence of the release"
    for file in Path(".openbell/releases").glob("*/evidence.json"):
        file.write_text("[]")
    found = json.loads(call("cache", "clean", "--all", "--json")[1])
    assert (found["removed"]["results"], found["results"], found["size_bytes"]) == (5, 0, 0)
    assert call("run", "--no-deploy")[0] == 0


@pytest.mark.parametrize("remote", ["shared", "ftp://host/x", "https://me:secret@host/x", "s3://", "s3://Bucket", "/"])
def test_a_place_that_is_none_is_refused(call: Call, remote: str) -> None:
    Path("openbell.toml").write_text(f'{QUICK}[cache]\nremote = "{remote}"\n')
    code, _, err = call("cache")
    assert (code == 2) == (remote != "/")
    assert "secret" not in err
    assert code == 0 or 'is no place for results. Write "/FOLDER"' in err
