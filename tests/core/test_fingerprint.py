"""Fingerprints: what changes them, what does not, and how a difference is said."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbell.core.fingerprint import Difference, Manifest, compare, explain_difference, fingerprint, write_manifest
from openbell.core.pipeline import JobNode
from openbell.core.project import Job, Reports

JOB = Job(
    stage="test", run="pytest", env={"A": "1"}, secrets=("TOKEN",), services=("postgres",),
    reports=Reports(junit="junit.xml"), outputs=("*.txt",), timeout_s=60, retries=1,
)  # fmt: skip


def manifest(
    job: Job = JOB,
    *,
    axes: dict[str, str] | None = None,
    files: dict[str, str] | None = None,
    tools: dict[str, str] | None = None,
    upstream: dict[str, str] | None = None,
    platform: str = "linux-x86_64",
    env: dict[str, str] | None = None,
) -> Manifest:
    node = JobNode("unit", "unit", job, {"python": "3.12"} if axes is None else axes)
    return write_manifest(
        node,
        {"a.py": "1", "b.py": "2"} if files is None else files,
        {"uv": "uv 1"} if tools is None else tools,
        {"lint": "f"} if upstream is None else upstream,
        platform=platform,
        env={"LANG": "C"} if env is None else env,
    )


BASE = manifest()


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (manifest(msgspec.structs.replace(JOB, run="pytest -x")), "the command changed"),
        (manifest(msgspec.structs.replace(JOB, env={"A": "2"})), "A changed"),
        (manifest(msgspec.structs.replace(JOB, env={"A": "1", "B": "1"})), "B is new"),
        (manifest(msgspec.structs.replace(JOB, secrets=())), "the secrets changed"),
        (manifest(msgspec.structs.replace(JOB, services=())), "the services changed"),
        (manifest(msgspec.structs.replace(JOB, outputs=())), "the settings changed"),
        (manifest(msgspec.structs.replace(JOB, reports=Reports())), "the settings changed"),
        (manifest(msgspec.structs.replace(JOB, coverage_min_pct=70)), "the settings changed"),
        (manifest(msgspec.structs.replace(JOB, not_checked_exit_codes=(7,))), "the settings changed"),
        (manifest(axes={"python": "3.13"}), "the axes changed"),
        (manifest(files={"a.py": "9", "b.py": "2"}), "a.py changed"),
        (manifest(files={"a.py": "1"}), "b.py is gone"),
        (manifest(files={"a.py": "1", "b.py": "2", "c.py": "3"}), "c.py is new"),
        (manifest(tools={"uv": "uv 2"}), "tool uv changed"),
        (manifest(upstream={"lint": "g"}), "job lint changed"),
        (manifest(platform="linux-aarch64"), "the platform changed"),
        (manifest(env={"LANG": "D"}), "LANG changed"),
        (msgspec.structs.replace(BASE, schema=99), "openbell runs jobs differently now"),
    ],
)
def test_all_that_a_result_can_depend_on_changes_it(other: Manifest, words: str) -> None:
    assert fingerprint(other) != fingerprint(BASE)
    assert explain_difference(BASE, other) == words


def test_the_order_of_files_and_variables_does_not() -> None:
    other = manifest(files={"b.py": "2", "a.py": "1"})
    assert fingerprint(other) == fingerprint(BASE)
    assert explain_difference(BASE, other) == ""


@pytest.mark.parametrize("change", [{"timeout_s": 5.0}, {"retries": 3}, {"allow_failure": True}, {"cache_s": 5.0}])
def test_how_long_and_how_often_it_is_tried_does_not(change: dict[str, float]) -> None:
    assert fingerprint(manifest(msgspec.structs.replace(JOB, **change))) == fingerprint(BASE)


def test_a_fingerprint_survives_being_written_down() -> None:
    stored = msgspec.json.decode(msgspec.json.encode(BASE), type=Manifest)
    assert fingerprint(stored) == fingerprint(BASE)
    assert len(fingerprint(BASE)) == 64


def test_many_differences_are_counted() -> None:
    other = manifest(files={str(n): str(n) for n in range(10)})
    assert explain_difference(BASE, other).endswith("and 9 more")


def test_a_difference_says_what_was_and_what_is() -> None:
    other = manifest(msgspec.structs.replace(JOB, env={"A": ""}), files={"a.py": "9", "c.py": "3"})
    assert compare(BASE, other) == (
        Difference("env", "A", "1", '""'),
        Difference("file", "a.py", "1", "9"),
        Difference("file", "b.py", "2", ""),
        Difference("file", "c.py", "", "3"),
    )
    assert compare(BASE, BASE) == ()


NAMED = st.dictionaries(st.sampled_from("abc"), st.sampled_from(["", "1", "2"]), max_size=3)


@given(NAMED, NAMED, st.sampled_from(["env", "tools", "files", "upstream", "axes", "settings"]))
def test_there_is_a_difference_exactly_when_fingerprints_differ(
    one: dict[str, str], other: dict[str, str], field: str
) -> None:
    before = msgspec.structs.replace(BASE, **{field: one})
    after = msgspec.structs.replace(BASE, **{field: other})
    assert (compare(before, after) == ()) == (fingerprint(before) == fingerprint(after))
