"""The rules between fields: each bad configuration with the message that it gets."""

import pytest

from openbell.adapters.toml import ConfigurationError
from openbell.core.project import Project
from openbell.core.validation import address_placeholders, suggest, validate
from tests.fakes.configurations import SOUND, changed, parse


def messages(project: Project) -> list[str]:
    return [f"{'.'.join(problem.path)}: {problem.message}" for problem in validate(project)]


def test_a_sound_configuration_has_no_problems() -> None:
    assert messages(parse(SOUND)) == []


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        # names
        ('[project]\nname = " "', "project.name: the project needs a name."),
        ('["jobs"."a b"]\nstage = "test"\nrun = "x"', 'jobs.a b: name "a b": use letters'),
        # jobs
        ("[jobs.unit]\ntimeout_s = 0", "jobs.unit.timeout_s: 0 s: a time limit is more than 0"),
        ("[jobs.unit]\ntimeout_s = 100000", "at most 86400"),
        ("[jobs.unit]\nretries = -1", "jobs.unit.retries: -1: retries are 0 to 10."),
        ("[jobs.unit]\ncache_s = 0", "jobs.unit.cache_s: 0 s: write cache = false"),
        ("[jobs.unit]\ncoverage_min_pct = 70", "needs reports.cobertura"),
        ('[jobs.unit]\ncoverage_min_pct = 170\nreports = { cobertura = "c" }', "170: a percentage is 0 to 100."),
        ("[jobs.unit]\nnot_checked_exit_codes = [0]", "0: exit codes are 1 to 255; 0 is a success."),
        ('[jobs.unit]\nrun = " "', "jobs.unit.run: the command is empty."),
        ('[jobs.unit]\nrun = "x {pyhton}"', "unknown placeholder {pyhton}; known here: out, root, cache, artifacts."),
        ('[jobs.unit]\nrun = "x {api_url}"', "unknown placeholder {api_url}"),
        ('[jobs.smoke]\nrun = "x {apo_url}"', "unknown placeholder {apo_url}"),
        ("[jobs.unit]\nmatrix = { python = [] }", 'axis "python" has no values'),
        ('[jobs.unit]\nmatrix = { python = ["3", "3"] }', 'axis "python" names a value twice'),
        ('[jobs.unit]\nmatrix = { out = ["3"] }', 'axis "out": that name is taken'),
        (f"[jobs.unit]\nmatrix = {{ a = {[str(n) for n in range(257)]} }}", "257 legs; at most 256"),
        ('[jobs.unit]\nneeds = ["lintt"]', 'needs "lintt", but there is no [jobs.lintt]. Did you mean "lint"?'),
        ('[jobs.lint]\nneeds = ["unit"]', 'needs "unit" of the later stage "test".'),
        ('[jobs.unit]\nneeds = ["smoke"]', 'needs "smoke", which runs only in an environment'),
        ('[jobs.lint]\non = ["schedule"]\n[jobs.unit]\nneeds = ["lint"]', 'needs "lint", which runs only on schedule.'),
        ('[jobs.smoke]\nmatrix = { a = ["1"] }', 'jobs.smoke.matrix: a job of stage "smoke" runs when an environment'),
        ('[jobs.unit]\nmatrix = { a = ["x/y", "x-y"] }', '"unit (a=x-y)" and "unit (a=x/y)" would share the file name'),
        (
            '[jobs.unit]\nmatrix = { a = ["1"] }\n[jobs.unit-1]\nstage = "test"\nrun = "x"',
            "would share the file name unit-1",
        ),
        # cycles, spelled out
        ('[jobs.unit]\nneeds = ["unit"]', "the jobs wait for each other: unit -> unit."),
        (
            (
                '[jobs.unit]\nneeds = ["b"]\n[jobs.b]\nstage = "test"\nrun = "b"\nneeds = ["c"]\n'
                '[jobs.c]\nstage = "test"\nrun = "c"\nneeds = ["unit"]'
            ),
            "the jobs wait for each other: unit -> b -> c -> unit. Remove one need.",
        ),
        # services
        ('[services.api]\nrun = "x {prot}"', "unknown placeholder {prot}; known here: port, http_port"),
        ('[services.api]\nhealth = "healthz"', 'services.api.health: "healthz": a path begins with "/".'),
        (
            "[environments.staging.rollout]\nhold_s = inf",
            "environments.staging.rollout.hold_s: inf: must be a finite number.",
        ),
        ("[services.api]\ndrain_timeout_s = 0", "services.api.drain_timeout_s: 0 s: must be more than 0."),
        ('order = ["apo"]', 'order: "apo" is no service. Did you mean "api"?'),
        ('order = ["api", "api"]', "order: a service is named twice"),
        ('[release]\nexpand = "x {relase}"', "unknown placeholder {relase}; known here: release, artifacts"),
        # environments
        ("[environments.staging]\nreplicas = 0", "environments.staging.replicas: 0: replicas are 1 to 1000."),
        (
            '[environments.staging]\nsmoke = "smoek"',
            'environments.staging.smoke: "smoek" is no job. Did you mean "smoke"?',
        ),
        ('[environments.staging]\nafter = ["unit"]', 'environments.staging.after: "unit" has stage "test"'),
        ('[environments.staging]\nrequires_passed = ["load"]', 'requires "load", which no other environment runs'),
        ('[environments.lab]\nbranch = "develop"', 'branch "develop" already brings releases to "staging"'),
        ('[environments.lab]\ntag = "v*.*.*"', 'tag "v*.*.*" already brings releases to "production"'),
        ("[environments.production.approval]\nrequired = 0", "required = 0: at least one person approves"),
        ("[environments.production.approval]\nfrom = []", "say who may approve"),
        ("[environments.production.approval]\nrequired = 3", "required = 3, but only 2 may approve"),
        ('[environments.production.approval]\nfrom = ["release-managres"]', 'Did you mean "release-managers"?'),
        # rollouts
        (
            (
                '[environments.staging]\nstrategy = "canary"\n'
                "[[environments.staging.rollout.phases]]\nweight_pct = 25\n"
                "hold_s = 1\n[[environments.staging.rollout.phases]]\nweight_pct = 5\nhold_s = 1"
            ),
            'strategy "canary": weights must rise (25, then 5).',
        ),
        ('[environments.staging]\nstrategy = "canary"\nrollout = { phases = [] }', "at least one phase is needed."),
        (
            "[environments.production.rollout]\nweight_pct = 0",
            "weight 0 %: a candidate beside the stable side gets 1 to 99",
        ),
        ("[environments.production.rollout]\nweight_pct = 100", "weight 100 %"),
        ("[environments.staging.rollout]\nmax_surge = 0", "max_surge and max_unavailable cannot both be 0"),
        ("[environments.production.rollout]\nkeep_replicas = 6", "6: keep 0 to 5 replicas of the old side."),
        ("[environments.production.rollout]\nhold_s = -1", "hold_s: -1 s: must be 0 or more."),
        ("[environments.production.rollout]\ntick_s = 0", "tick_s: 0 s: must be more than 0."),
        (
            "[environments.staging.rollback_on]\nerror_rate_pct_max = 0",
            "error_rate_pct_max: 0: more than 0, at most 100.",
        ),
    ],
)
def test_each_rule_says_what_is_wrong(lines: str, message: str) -> None:
    found = messages(changed(lines))
    assert [one for one in found if message in one], found


def test_an_environment_needs_services_and_something_to_deploy() -> None:
    text = '[project]\nname = "x"\n[environments.staging]\nbranch = "develop"\n'
    assert messages(parse(text)) == [
        'environments.staging: "staging" has nothing to run: there are no [services.NAME].',
        'environments.staging: "staging" has nothing to deploy: no job has stage = "build".',
    ]


def test_without_teams_approvers_are_people() -> None:
    project = parse(SOUND.replace("[teams]", "[teams]\n#").replace("release-managers = ", "# = "))
    assert project.teams == {}
    assert [problem.message for problem in validate(project)] == []


def test_addresses_have_the_names_of_their_services() -> None:
    assert address_placeholders(parse(SOUND)) == ("api_url", "fix-gateway_address")


def test_the_nearest_name_is_suggested_or_none() -> None:
    assert suggest("replica", {"replicas": 1, "strategy": 2}) == ' Did you mean "replicas"?'
    assert suggest("zzz", {"replicas": 1}) == ""


def test_broken_helpers_would_be_noticed() -> None:
    with pytest.raises(ConfigurationError):
        parse("nonsense = 1")
    assert isinstance(parse(SOUND), Project)
