"""`explain` and `verify` as a person meets them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from openbell.cli.parser import parse_and_run
from tests.fakes.projects import QUICK, ScratchProject, isolate

Call = Callable[..., tuple[int, str, str]]
UNSOUND = '[jobs.chance]\nstage = "quality"\nrun = "date +%s%N > {out}/now"\noutputs = ["now"]\n'


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    isolate(monkeypatch, tmp_path)
    project = ScratchProject(tmp_path / "p", QUICK + UNSOUND)
    monkeypatch.chdir(project.root)

    def run_command(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = parse_and_run(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run_command


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
