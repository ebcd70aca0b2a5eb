"""Texts that others read: what they could not use is refused, and what nobody would fill in."""

import pytest

from openbell.core.texts import address_placeholders, suggest
from openbell.core.validation import validate
from tests.fakes.configurations import SOUND, changed, parse


def messages(lines: str) -> list[str]:
    return [f"{'.'.join(problem.path)}: {problem.message}" for problem in validate(changed(lines))]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        # nothing, and what no process can be given
        ('[jobs.unit]\nrun = "x\\u0000y"', "jobs.unit.run: run: has a NUL character, which no program can be given."),
        ('[jobs.unit]\nrun = "\\n \\n"', 'jobs.unit.run: run = "\\n \\n": is empty.'),
        ('[jobs.unit]\nenv = { A = "\\u0000" }', "jobs.unit.env.A: env.A: has a NUL character"),
        ('[environments.staging]\nenv = { A = "\\u0000" }', "environments.staging.env.A: env.A: has a NUL character"),
        ('[project]\nname = "\\u0000"', "project.name: name: has a NUL character"),
        ('[jobs.unit]\noutputs = [""]', 'jobs.unit.outputs.0: outputs = "": is empty.'),
        ('[environments.staging]\nbranch = ""', 'environments.staging.branch: branch = "": is empty.'),
        ('[branches]\nbuild = ["main", ""]', 'branches.build.1: build = "": is empty.'),
        ('[release]\nprepare = "\\n"', 'release.prepare: prepare = "\\n": is empty.'),
        # variables
        ('[jobs.unit]\nenv = { "A=B" = "1" }', 'jobs.unit.env.A=B: env: "A=B" is no name of a variable'),
        ('[jobs.unit]\nenv = { "" = "1" }', 'jobs.unit.env.: env: "" is no name of a variable'),
        ('[services.api]\nenv = { "A B" = "1" }', 'services.api.env.A B: env: "A B" is no name of a variable'),
        ('[environments.staging]\nenv = { "A\\u0000" = "1" }', 'env: "A\\x00" is no name of a variable'),
        ('[jobs.unit]\nsecrets = ["KEY=value"]', 'secrets: "KEY=value" is no name of a variable'),
        (
            '[environments.staging]\nsecrets = ["KEY", "A B"]',
            'staging.secrets.1: secrets: "A B" is no name of a variable',
        ),
        # reports
        ('[jobs.unit]\nreports = { junit = "/etc/x" }', 'reports.junit = "/etc/x": a report is a file in {out}'),
        ('[jobs.unit]\nreports = { sarif = "a/../../x" }', 'reports.sarif = "a/../../x": a report is a file in {out}'),
        # command lines
        ('[services.api]\nrun = "serve \'x"', 'services.api.run: run: no closing quotation in "serve \'x". Close it'),
        ("[services.api]\nrun = 'serve \\'", 'run: no escaped character in "serve \\\\".'),
        ('[services.api]\nrun = ""', 'run = "": is empty.'),
        ("[services.api]\nrun = \"''\"", "run = \"''\": its first word is empty; name a program."),
        (
            '[services.api]\nhealth = "/a\\nb"',
            "services.api.health: health: a path has no spaces and control characters.",
        ),
        # placeholders that nobody fills in there
        (
            '[jobs.unit]\nrun = "x {version}"',
            "run: unknown placeholder {version}. Known here: out, root, cache, artifacts, history, folder.",
        ),
        ('[jobs.unit]\nrun = "x {release}"', "unknown placeholder {release}."),
        ('[jobs.unit]\nrun = "x {foo}"', "Write {{foo}} for the literal text."),
        ('[jobs.unit]\nrun = "x {OUT}"', 'unknown placeholder {OUT}. Did you mean "out"?'),
        (
            '[jobs.unit]\nrun = "x {pyhton}"\nmatrix = { python = ["3"] }',
            'Did you mean "python"? Known here: out, root',
        ),
        ('[jobs.unit]\nenv = { A = "{ot}" }', 'jobs.unit.env.A: env.A: unknown placeholder {ot}. Did you mean "out"?'),
        ('[jobs.unit]\nenv = { A = "{artifacts}" }', "env.A: unknown placeholder {artifacts}."),
        ('[jobs.unit]\ntools = ["python{python}"]', "tools: unknown placeholder {python}. Known here: none."),
        ('[jobs.smoke]\nrun = "x {slot}"', "unknown placeholder {slot}."),
        ('[jobs.smoke]\nrun = "x {environment}"', "unknown placeholder {environment}."),
        ('[jobs.load]\nrun = "x {version}"', "unknown placeholder {version}."),
        ('[jobs.load]\nrun = "x {artifacts}"', "unknown placeholder {artifacts}."),
        ('[services.api]\nrun = "x {host}"', "unknown placeholder {host}."),
        ('[services.api]\nrun = "x {out}"', "unknown placeholder {out}."),
        ('[services.api]\nenv = { URL = ":{port}" }', "env.URL: {port} is filled in in run only. The process has PORT"),
        ('[environments.staging]\nenv = { S = "{slot}" }', "env.S: {slot} is filled in in run only."),
        ('[release]\nprepare = "x {config}"', "unknown placeholder {config}. Known here: release, artifacts."),
        ('[release]\ncontract = "x {port}"', "contract: unknown placeholder {port}."),
    ],
)
def test_each_text_that_cannot_be_meant_is_refused(lines: str, message: str) -> None:
    found = messages(lines)
    assert [one for one in found if message in one], found


@pytest.mark.parametrize(
    "run",
    [
        "echo ${HOME} ${out} ${HOME%/} $PORT",
        "awk '{print $1}' f | cp a.{b,c} {1..3} -- {} ; { true; }",
        """curl -d '{"a": {"b": 1}}' -d {\\"side\\":1}""",
        "printf {{word}} ; curl -w %{{http_code}} x",
        "f() { echo x; } ; f ; echo '{ x }' \\{x}",
    ],
)
def test_braces_of_shells_and_json_are_no_placeholders(run: str) -> None:
    for table, key in (("jobs.unit", "run"), ("jobs.smoke", "run"), ("release", "prepare")):
        assert messages(f"[{table}]\n{key} = '''{run} '''") == []


def test_all_that_is_filled_in_is_known() -> None:
    filled = "{port} {http_port} {slot} {instance} {version} {release} {artifacts}"
    assert messages(f'[services.api]\nrun = "x {filled}"') == []
    assert messages('[jobs.unit]\nrun = "{out} {root} {cache} {artifacts}"\nenv = { A = "{artifacts}" }') == []
    assert messages('[jobs.smoke]\nrun = "{out} {root} {cache} {release} {api_url} {fix-gateway_address}"') == []
    matrix = 'matrix = { Part_1 = ["x"] }\nrun = "{Part_1}"\ntools = ["t{Part_1}"]\nenv = { A = "{Part_1}" }'
    assert messages(f"[jobs.unit]\n{matrix}") == []
    assert messages('[release]\nprepare = "{release} {artifacts}"\nexpand = "{release}"') == []


def test_what_may_be_empty_may_be_empty() -> None:
    assert messages('[project]\ndescription = ""\n[jobs.unit]\nenv = { A = "" }\nmatrix = { flag = ["", "-x"] }') == []
    assert (
        messages('[services.api]\nenv = { LOG_FORMAT = "{message}" }\n[environments.staging]\nenv = { A = "" }') == []
    )


def test_addresses_have_the_names_of_their_services() -> None:
    assert address_placeholders(parse(SOUND)) == ("api_url", "fix-gateway_address")


def test_the_nearest_name_is_suggested_or_none() -> None:
    assert suggest("replica", {"replicas": 1, "strategy": 2}) == ' Did you mean "replicas"?'
    assert suggest("zzz", {"replicas": 1}) == ""
