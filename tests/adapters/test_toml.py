"""Configuration files: layers, lines, and every mistake with its place."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbell.adapters.toml import ConfigurationError, index_lines, load, locate
from openbell.core.places import lay_over
from tests.fakes.configurations import SOUND


def problems(tmp_path: Path, text: str, *policies: str) -> list[str]:
    files = [tmp_path / "openbell.toml"]
    files[0].write_text(text)
    for number, policy in enumerate(policies):
        files.append(tmp_path / f"policy{number}.toml")
        files[-1].write_text(policy)
    try:
        load(files, relative_to=tmp_path)
    except ConfigurationError as error:
        return list(error.problems)
    return []


MINIMAL = '[project]\nname = "x"\n'


def test_a_sound_file_is_a_project(tmp_path: Path) -> None:
    (tmp_path / "openbell.toml").write_text(SOUND)
    found = load([tmp_path / "openbell.toml"], relative_to=tmp_path)
    assert found.project.environments["production"].replicas == 5
    assert found.locate(("environments", "production", "replicas")) == "openbell.toml:43"
    assert found.locate(("environments", "production", "approval_timeout_s")) == "openbell.toml:40"
    assert found.origin(("environments", "production", "approval_timeout_s")) == "default"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "[environments.staging]\nreplica = 2\n",
            'openbell.toml:4: unknown key "replica" in [environments.staging]. Did you mean "replicas"?',
        ),
        (
            "[environment.staging]\n",
            'openbell.toml:3: unknown key "environment" in the file. Did you mean "environments"?',
        ),
        ("[branches]\nzzz = 1\n", 'openbell.toml:4: unknown key "zzz" in [branches]. Known: build, tags.'),
        (
            '[jobs.a]\nstage = "tests"\nrun = "x"\n',
            (
                'openbell.toml:4: [jobs.a] stage: expected one of "quality", "test", "build", "smoke", "load", '
                'found "tests" (text).'
            ),
        ),
        (
            '[jobs.a]\nstage = "test"\nrun = "x"\nretries = "2"\n',
            'openbell.toml:6: [jobs.a] retries: expected a whole number, found "2" (text).',
        ),
        (
            '[jobs.a]\nstage = "test"\nrun = "x"\nmatrix = { python = [3.12, "3.13"] }\n',
            "openbell.toml:6: [jobs.a] matrix.python.0: expected text, found 3.12. Put it in quotes.",
        ),
        (
            '[jobs.a]\nstage = "test"\nrun = "x"\nneeds = "b"\n',
            'openbell.toml:6: [jobs.a] needs: expected a list (text), found "b" (text).',
        ),
        (
            '[jobs.a]\nstage = "test"\nrun = "x"\ncache = 1\n',
            "openbell.toml:6: [jobs.a] cache: expected true or false, found 1.",
        ),
        ('[jobs.a]\nstage = "test"\n', 'openbell.toml:3: [jobs.a] key "run" is missing in [jobs.a]: text.'),
        ("[jobs]\na = 3\n", "openbell.toml:4: [jobs.a] jobs.a: expected a table, found 3."),
        (
            '[[jobs]]\nstage = "test"\n',
            "openbell.toml:3: jobs: expected a table, found [{'stage': 'test'}] (a list).",
        ),
        ("[x\n", "openbell.toml:3: expected ']' at the end of a table declaration."),
        ('[jobs.a]\nrun = "x"\nrun = "y"\n', "openbell.toml:5: cannot overwrite a value."),
    ],
)
def test_each_mistake_is_said_with_its_line(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in problems(tmp_path, MINIMAL + text)


def test_all_mistakes_are_said_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = MINIMAL + '[jobs.a]\nstage = "test"\nrun = "x"\nretrys = 2\ntimeout_s = "1"\nneeds = [1]\n'
    found = problems(tmp_path, text)
    assert [line.partition(": ")[0] for line in found] == [f"openbell.toml:{n}" for n in (6, 7, 8)]
    with pytest.raises(ConfigurationError, match=r"3 errors\. Nothing was run\."):
        load([tmp_path / "openbell.toml"], relative_to=tmp_path)


def test_rules_between_fields_have_lines_too(tmp_path: Path) -> None:
    text = MINIMAL + '\n[jobs.a]\nstage = "test"\nrun = "x"\nneeds = [\n  "b",\n]\n'
    assert problems(tmp_path, text) == ['openbell.toml:7: [jobs.a] needs "b", but there is no [jobs.b].']


def test_a_missing_file_a_folder_and_bytes_that_are_no_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"^gone\.toml: no such file\."):
        load([tmp_path / "gone.toml"], relative_to=tmp_path)
    with pytest.raises(ConfigurationError, match="is a folder; a configuration is a file of text"):
        load([tmp_path], relative_to=tmp_path.parent)
    (tmp_path / "openbell.toml").write_bytes(b'[project]\nname = "\xff"\n')
    with pytest.raises(ConfigurationError, match=r"openbell\.toml: not UTF-8 at byte 18\. Save it as UTF-8"):
        load([tmp_path / "openbell.toml"], relative_to=tmp_path)
    (tmp_path / "openbell.toml").write_bytes(b"#" * 1_000_001)
    with pytest.raises(ConfigurationError, match="larger than 1000 kB"):
        load([tmp_path / "openbell.toml"], relative_to=tmp_path)


def test_a_pipe_and_a_device_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "openbell.toml")
    for file in (tmp_path / "openbell.toml", Path("/dev/zero")):
        with pytest.raises(ConfigurationError, match=r"is no regular file; a configuration is a file of text\."):
            load([file], relative_to=tmp_path)


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    assert problems(tmp_path, "\ufeff" + MINIMAL) == []
    assert problems(tmp_path, "\ufeff" + MINIMAL + "x = 1\n") == [
        'openbell.toml:3: unknown key "x" in [project]. Known: name, description.'
    ]


JOB = '[jobs.a]\nstage = "test"\nrun = "x"\n'
DEEP = "nested too deeply; at most 16 levels are allowed."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"x = {'[' * 100_000}{']' * 100_000}\n", f"openbell.toml: {DEEP}"),
        (f"x = {'{a=' * 900}1{'}' * 900}\n", f"openbell.toml: {DEEP}"),
        (f"{JOB}env = {'{a=' * 300}1{'}' * 300}\n", f"openbell.toml:6: [jobs.a] env.a: {DEEP}"),
        (f"[jobs.a.env.{'.'.join(['a'] * 2000)}]\n", f"openbell.toml:3: [jobs.a] env.a: {DEEP}"),
        (f"{JOB}retries = {'9' * 5000}\n", "openbell.toml:6: a number of more than 4300 digits; whole numbers have at"),
        (f"{JOB}retries = {'9' * 400}\n", "openbell.toml:6: [jobs.a] retries: a whole number of 1329 bits; it has at"),
        (f"{JOB}timeout_s = {2**63}\n", "openbell.toml:6: [jobs.a] timeout_s: a whole number of 64 bits; it has at"),
        (f"{JOB}foo = 0x{'f' * 44_000}\n", "openbell.toml:6: [jobs.a] foo: a whole number of 176000 bits; it has at"),
    ],
    ids=["lists", "tables", "env", "header", "digits", "integer", "64 bits", "hexadecimal"],
)
def test_what_python_would_choke_on_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    (found,) = problems(tmp_path, MINIMAL + text)
    assert found.startswith(expected), found


@pytest.mark.parametrize("pattern", ["\\", "src/\\", "!", "/", "[", "[z-a]", "# a comment"])
def test_patterns_that_git_could_not_read_are_refused(tmp_path: Path, pattern: str) -> None:
    for key in ("inputs", "outputs"):
        (found,) = problems(tmp_path, f"{MINIMAL}{JOB}{key} = ['*.py', '{pattern}']\n")
        assert found.startswith(f'openbell.toml:6: [jobs.a] {key}: "{pattern}" is no pattern of files')
    (found,) = problems(tmp_path, f"{MINIMAL}[release]\nconfig = ['{pattern}']\n")
    assert found.startswith("openbell.toml:4: [release.config] config: ")


def test_patterns_that_git_reads_are_accepted(tmp_path: Path) -> None:
    patterns = ["**", "src/**", "!tests/", "/a", "[a-z]*.py", "\\!x", "a\\ ", "*.{x}"]
    listed = ", ".join(f"'{pattern}'" for pattern in patterns)
    assert problems(tmp_path, f"{MINIMAL}{JOB}inputs = [{listed}]\n") == []


def test_a_flood_of_mistakes_is_cut_and_counted(tmp_path: Path) -> None:
    found = problems(tmp_path, MINIMAL + "".join(f"k{number} = 1\n" for number in range(3000)))
    assert len(found) == 51
    assert found[-1] == "... and 2950 more."
    with pytest.raises(ConfigurationError, match=r"3000 errors\. Nothing was run\."):
        load([tmp_path / "openbell.toml"], relative_to=tmp_path)


def test_policies_are_laid_over_and_name_their_own_lines(tmp_path: Path) -> None:
    policy = "\n[environments.production]\nreplicas = 2\n"
    assert problems(tmp_path, SOUND, policy) == []
    found = load([tmp_path / "openbell.toml", tmp_path / "policy0.toml"], relative_to=tmp_path)
    assert found.project.environments["production"].replicas == 2
    assert found.project.environments["production"].tag == "v*.*.*"
    assert found.locate(("environments", "production", "replicas")) == "policy0.toml:3"
    assert problems(tmp_path, SOUND, policy, "[environments.production]\nreplicas = 0\n") == [
        "policy1.toml:2: [environments.production] replicas = 0: must be 1 to 1000."
    ]


def test_tables_merge_and_lists_replace() -> None:
    assert lay_over({"a": {"b": 1, "c": [1]}, "d": 1}, {"a": {"c": [2]}, "d": {"e": 1}}) == {
        "a": {"b": 1, "c": [2]},
        "d": {"e": 1},
    }


AWKWARD = '''
# comment = 1
a.b = 1 # [not.a.table]
"quo ted" = "x = 1 ] }"
multi = """
[fake]
key = 1 \\"""
"""
literal = \'\'\'
[fake2]
\'\'\'
list = [ 1, # one
  { x = 1, "y z" = [2] },
  "]",
]

[ "t" . u ] # header
k = { deep.er = 1 }
[[arr]]
n = 1
[[arr]]
n = 2
[arr.sub]
m = 1
date = 1979-05-27T07:32:00Z
'''


def test_lines_of_awkward_files() -> None:
    lines = index_lines(AWKWARD)
    expected: dict[tuple[str, ...], int] = {
        ("a", "b"): 3, ("quo ted",): 4, ("multi",): 5, ("literal",): 9, ("list",): 12, ("list", "0"): 12,
        ("list", "1", "x"): 13, ("list", "1", "y z", "0"): 13, ("list", "2"): 14, ("t", "u"): 17,
        ("t", "u", "k", "deep", "er"): 18, ("arr",): 19, ("arr", "0", "n"): 20, ("arr", "1", "n"): 22,
        ("arr", "1", "sub", "m"): 24, ("arr", "1", "sub", "date"): 25,
    }  # fmt: skip
    assert {path: lines[path] for path in expected} == expected
    assert not [path for path in lines if "fake" in path or "fake2" in path]


def test_windows_line_ends_count_once() -> None:
    assert index_lines("a = 1\r\nb = 2\r\n") == {("a",): 1, ("b",): 2}


def test_a_path_that_is_nowhere_is_the_first_line() -> None:
    assert locate((), ("a",)) == "openbell.toml:1"


keys = st.text("abc-_9", min_size=1, max_size=4)
values = st.recursive(
    st.one_of(st.integers(), st.booleans(), st.text('ab"\\]}#=, \n', max_size=6)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=3)),
    max_leaves=8,
)


@given(st.dictionaries(keys, values, max_size=4), st.dictionaries(keys, st.dictionaries(keys, values), max_size=3))
def test_every_key_of_any_file_is_found_on_its_line(
    top: dict[str, object], tables: dict[str, dict[str, object]]
) -> None:
    lines: list[str] = []
    expected: dict[tuple[str, ...], int] = {}
    for key, value in top.items():
        expected[(key,)] = len(lines) + 1
        lines.append(f"{key} = {write(value)}")
    for table, content in tables.items():
        if table in top:
            continue
        expected[(table,)] = len(lines) + 1
        lines.append(f"[{table}]")
        for key, value in content.items():
            expected[(table, key)] = len(lines) + 1
            lines.append(f"{key} = {write(value)}")
    found = index_lines("\n".join(lines))
    assert {path: found[path] for path in expected} == expected


def write(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {write(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(write, value)) + "]"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'"{escaped}"'
    return str(value).lower()
