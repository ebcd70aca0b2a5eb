"""The rules between fields: each bad configuration with the message that it gets."""

import tomllib
from collections.abc import Iterator
from typing import get_args

import msgspec
import pytest

from openbell.adapters.toml import ConfigurationError
from openbell.core.analysis.limits import LATENCY_EDGES_MS
from openbell.core.places import lay_over
from openbell.core.project import (
    Approval,
    Environment,
    Job,
    Project,
    RollbackTriggers,
    RolloutPolicy,
    Service,
    WatchLimits,
)
from openbell.core.ranges import RANGES, Range, plain
from openbell.core.validation import OBJECT_NAME_MAX, count_people, validate
from tests.fakes.configurations import SOUND, changed, convert, parse


def messages(project: Project) -> list[str]:
    return [f"{'.'.join(problem.path)}: {problem.message}" for problem in validate(project)]


def test_a_sound_configuration_has_no_problems() -> None:
    assert messages(parse(SOUND)) == []


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        # telemetry
        (
            '[telemetry]\nendpoint = "http://me:secret@collector:4318"',
            'telemetry.endpoint: endpoint = "http://me:secret@collector:4318": write http://HOST:PORT or https://HOST',
        ),
        ('[telemetry]\nendpoint = "collector:4318"', "write http://HOST:PORT or https://HOST, without a login"),
        # what is known of failures
        (
            '[[diagnoses]]\nmatch = "(a"\ncause = "c"\nfix = "f"',
            'diagnoses.0.match: match = "(a": is no regular expression of Python: missing ), unterminated',
        ),
        (
            '[[diagnoses]]\nmatch = "a"\ncause = "c"\nfix = "f"\njobs = ["nit"]',
            'diagnoses.0.jobs: jobs: there is no job "nit".',
        ),
        # names
        ('[project]\nname = " "', 'project.name: name = " ": is empty. Write something, or remove it.'),
        ('["jobs"."a b"]\nstage = "test"\nrun = "x"', 'jobs.a b: name "a b": use letters, digits, "-", "_"'),
        (
            '[services.postgres]\nprotocol = "http"\nrun = "x"',
            'name "postgres": each environment runs a program of its own',
        ),
        (
            '[services.green-api]\nprotocol = "http"\nrun = "x"',
            'name "green-api": instances of services have names that',
        ),
        # jobs
        (
            '[jobs.unit]\nstrict = true\nservices = ["valkey"]',
            "jobs.unit.strict: a strict job has no network, and services (valkey) cannot do without. Remove one.",
        ),
        (
            '[jobs.load]\nstage = "load"\nrun = "x"\nstrict = true',
            'jobs.load.strict: a strict job has no network, and a job of stage "load" cannot do without. Remove one.',
        ),
        # where results are shared
        ('[cache]\nremote = "ftp://x"', 'cache.remote: remote = "ftp://x" is no place for results. Write "/FOLDER"'),
        ('[cache]\nremote = "http://me:it@x/y"', 'cache.remote: remote = "http://***@x/y" is no place for results.'),
        ("[cache]\nsize_max_mb = 1", "cache.size_max_mb: size_max_mb = 1: must be 10 to 10000000. A run needs room"),
        ("[jobs.unit]\ntimeout_s = 0", "jobs.unit.timeout_s: timeout_s = 0: must be 0.1 to 86400."),
        ("[jobs.unit]\ntimeout_s = 100000", "timeout_s = 100000: must be 0.1 to 86400."),
        ("[jobs.unit]\nretries = -1", "jobs.unit.retries: retries = -1: must be 0 to 10."),
        ("[jobs.unit]\ncache_s = 0", "cache_s = 0: must be 1 to 31536000. Write cache = false"),
        ("[jobs.unit]\ncoverage_min_pct = 70", "needs reports.cobertura"),
        (
            '[jobs.unit]\ncoverage_min_pct = 170\nreports = { cobertura = "c" }',
            "coverage_min_pct = 170: must be 0 to 100.",
        ),
        ("[jobs.unit]\nshards = 65", "shards = 65: must be 1 to 64."),
        ('[jobs.unit]\nshards = 2\nrun = "x {tests}"', "shards need tests, the patterns of what is split"),
        ('[jobs.unit]\nshards = 2\ntests = ["t*"]', "each shard would run everything; name {tests}"),
        ('[jobs.unit]\ntests = ["t*"]', "tests are split over shards only"),
        ('[jobs.unit]\nrun = "x {shard}"', "unknown placeholder {shard}"),
        (
            '[jobs.unit]\nshards = 2\ntests = ["t*"]\nrun = "x {tests}"\nmatrix = { shard = ["1"] }',
            'axis "shard": shards take that name',
        ),
        (
            '[jobs.unit]\nshards = 64\ntests = ["t*"]\nrun = "x {tests}"\nmatrix = { n = ["1", "2", "3", "4", "5"] }',
            "320 legs; at most 256",
        ),
        (
            '[jobs.unit]\nreports = { junit = "j", gotest = "g" }',
            "reports.junit and reports.gotest both tell tests; keep one",
        ),
        ("[jobs.unit]\ncoverage_changed_min_pct = 70", "needs reports.cobertura or reports.gocover"),
        (
            2 * '[[quarantine]]\ntest = "a"\nowner = "x"\nuntil = 2027-01-31\n',
            '"a" is named twice',
        ),
        ("[jobs.unit]\nnot_checked_exit_codes = [0]", "not_checked_exit_codes = 0: must be 1 to 255. 0 is a success."),
        ("[jobs.unit]\nfindings_exit_codes = [1]", "findings_exit_codes needs reports.sarif"),
        ('[jobs.unit]\nfindings_severity = "high"', "findings_severity needs reports.sarif"),
        (
            '[jobs.unit]\nreports = { sarif = "x" }\nfindings_exit_codes = [1]\nnot_checked_exit_codes = [2, 1]',
            "1 cannot mean both",
        ),
        ('[scan]\njobs = ["unti"]', '"unti" is no job. Did you mean "unit"?'),
        ('[scan]\njobs = ["smoke"]', '"smoke" runs only in an environment (stage "smoke").'),
        ('[jobs.unit]\nrun = " "', 'jobs.unit.run: run = " ": is empty.'),
        (
            '[jobs.unit]\nrun = "x {pyhton}"',
            "run: unknown placeholder {pyhton}. Known here: out, root, cache, artifacts, history, folder. Write",
        ),
        ('[jobs.unit]\nrun = "x {api_url}"', "unknown placeholder {api_url}"),
        (
            '[jobs.smoke]\nrun = "x {apo_url}"',
            'unknown placeholder {apo_url}. Did you mean "api_url"? Known here: out, root, cache, release, api_url',
        ),
        ("[jobs.unit]\nmatrix = { python = [] }", 'axis "python" has no values'),
        ('[jobs.unit]\nmatrix = { "py.v" = ["3"] }', 'axis "py.v": {py.v} is no placeholder. Begin with a letter'),
        ('[jobs.unit]\nmatrix = { python = ["3", "3"] }', 'axis "python" names a value twice'),
        ('[jobs.unit]\nmatrix = { out = ["3"] }', 'axis "out": that name is taken ({out}). Rename it.'),
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
        (
            '[services.api]\nrun = "x {prot}"',
            'run: unknown placeholder {prot}. Did you mean "port"? Known here: port, http_port, slot',
        ),
        ('[services.api]\nhealth = "healthz"', 'services.api.health: health = "healthz": a path begins with "/".'),
        (
            "[environments.staging.rollout]\nhold_s = inf",
            "environments.staging.rollout.hold_s: rollout.hold_s = inf: must be a finite number.",
        ),
        (
            "[services.api]\ndrain_timeout_s = 0",
            "services.api.drain_timeout_s: drain_timeout_s = 0: must be 0.1 to 3600.",
        ),
        ('order = ["apo"]', 'order: "apo" is no service. Did you mean "api"?'),
        ('order = ["api", "api"]', "order: a service is named twice"),
        (
            '[release]\nexpand = "x {relase}"',
            'expand: unknown placeholder {relase}. Did you mean "release"? Known here: release, artifacts.',
        ),
        # environments
        ("[environments.staging]\nreplicas = 0", "environments.staging.replicas: replicas = 0: must be 1 to 1000."),
        (
            '[environments.staging]\nsmoke = "smoek"',
            'environments.staging.smoke: "smoek" is no job. Did you mean "smoke"?',
        ),
        ('[environments.staging]\nafter = ["unit"]', 'environments.staging.after: "unit" has stage "test"'),
        ('[environments.staging]\nrequires_passed = ["load"]', 'requires "load", which no other environment runs'),
        ('[environments.lab]\nbranch = "develop"', 'branch "develop" already brings releases to "staging"'),
        ('[environments.lab]\ntag = "v*.*.*"', 'tag "v*.*.*" already brings releases to "production"'),
        (
            "[environments.production.approval]\nrequired = 0",
            "approval.required = 0: must be 1 to 100. Leave approval out when nobody has to approve.",
        ),
        ("[environments.production.approval]\nfrom = []", "say who may approve"),
        ("[environments.production.approval]\nrequired = 3", "required = 3, but only 2 may approve"),
        (
            '[environments.production.approval]\nfrom = [""]',
            'production.approval.from.0: approval.from = "": is empty.',
        ),
        ('[environments.production.approval]\nfrom = [" \\t"]', 'approval.from = " \\t": is empty.'),
        (
            "[teams]\nrelease-managers = []",
            "required = 1, but only 0 may approve: nobody. Lower required, or add people.",
        ),
        ("[teams]\nnobody = []", 'teams.nobody: team "nobody" has no members: nobody could approve.'),
        ('[teams]\nrelease-managers = ["a@x", " "]', 'teams.release-managers.1: release-managers = " ": is empty.'),
        ('[teams]\n"a b" = ["a@x"]', 'teams.a b: name "a b": use letters'),
        (
            (
                '[environments.production.approval]\nrequired = 2\nfrom = ["one", "two"]\n'
                '[teams]\none = ["Ada <ada@x>"]\ntwo = ["ADA@x"]'
            ),
            "required = 2, but only 1 may approve: Ada <ada@x>, ADA@x.",
        ),
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
            "rollout.weight_pct = 0: must be 1 to 99. The candidate gets all traffic after the last weight",
        ),
        ("[environments.production.rollout]\nweight_pct = 100", "rollout.weight_pct = 100: must be 1 to 99."),
        ("[environments.staging.rollout]\nmax_surge = 0", "max_surge and max_unavailable cannot both be 0"),
        (
            "[environments.production.rollout]\nkeep_replicas = 6",
            "rollout.keep_replicas = 6: keep 0 to 5 of the old side.",
        ),
        (
            "[environments.production.rollout]\nhold_s = -1",
            "rollout.hold_s = -1: must be 1 to 604800. Without a hold nothing would be judged.",
        ),
        ("[environments.production.rollout]\ntick_s = 0", "rollout.tick_s = 0: must be 0.1 to 60."),
        (
            "[environments.staging.rollback_on]\nerror_rate_pct_max = 0",
            "rollback_on.error_rate_pct_max = 0: must be 0.01 to 99. No error rate is above 100 percent.",
        ),
    ],
)
def test_each_rule_says_what_is_wrong(lines: str, message: str) -> None:
    found = messages(changed(lines))
    assert [one for one in found if message in one], found


CLUSTERED = "[environments.production.cluster]"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            '[project]\nname = "Engine"\n' + CLUSTERED,
            'project.name: "Engine" is to be part of the names of objects in a cluster, which may have at most 28 of',
        ),
        ('[project]\nname = "engine-"\n' + CLUSTERED, 'project.name: "engine-" is to be part'),
        ('[project]\nname = "9engine"\n' + CLUSTERED, 'project.name: "9engine" is to be part'),
        (f'[project]\nname = "{"x" * 29}"\n{CLUSTERED}', "project.name: "),
        ('[services.a_b]\nprotocol = "http"\nrun = "x"\n' + CLUSTERED, 'services.a_b: "a_b" is to be part'),
        (
            '[environments."eu.west"]\ntag = "x"\n[environments."eu.west".cluster]',
            'environments.eu.west: "eu.west" is to be part of the names',
        ),
        (
            f'{CLUSTERED}\nnamespace = "Trading"',
            'environments.production.cluster.namespace: cluster.namespace = "Trading": a namespace has at most 63',
        ),
        (f'{CLUSTERED}\nnamespace = "a/b"', 'cluster.namespace = "a/b"'),
        (f'{CLUSTERED}\nnamespace = "{"x" * 64}"', "cluster.namespace"),
        (f'{CLUSTERED}\nchart = ""', 'cluster.chart = "": is empty'),
        (f'{CLUSTERED}\nchart = "/srv/chart"', 'cluster.chart = "/srv/chart": name a folder of the tree, by its path'),
        (f'{CLUSTERED}\nchart = "../chart"', 'cluster.chart = "../chart"'),
        (f'{CLUSTERED}\nchart = "a/../../chart"', 'cluster.chart = "a/../../chart"'),
        (f'{CLUSTERED}\nvalues = ["ok.yaml", "../b.yaml"]', 'cluster.values = "../b.yaml": name files of the tree'),
        (f'{CLUSTERED}\ngateway = "a/b/c"', 'cluster.gateway = "a/b/c": write NAME or NAMESPACE/NAME.'),
        (f'{CLUSTERED}\ngateway = "Openbell"', 'cluster.gateway = "Openbell"'),
        (f'{CLUSTERED}\naddress = "http://x"', 'cluster.address = "http://x": write a host name or an IP address'),
        (f'{CLUSTERED}\nmetrics_url = "x:9090"', 'cluster.metrics_url = "x:9090": write http://HOST:PORT'),
        (f'{CLUSTERED}\nmetrics_url = "http://"', 'cluster.metrics_url = "http://"'),
    ],
)
def test_each_rule_of_a_cluster_says_what_is_wrong(lines: str, message: str) -> None:
    found = messages(changed(lines))
    assert [one for one in found if message in one], found


def test_names_that_are_none_in_a_cluster_are_fine_elsewhere() -> None:
    assert messages(changed('[project]\nname = "Engine_9"\n[services.a_b]\nprotocol = "http"\nrun = "x"')) == []


@pytest.mark.parametrize(
    "lines",
    [
        "",
        'namespace = "trading-eu"\ngateway = "gateways/openbell"\naddress = "trade.example"\ncontext = "arn:aws:eks:x"',
        'gateway = "openbell.v2"\naddress = "2001:db8::1"\nmetrics_url = "https://prometheus.example/tenant/a/"',
        'chart = "deploy/..chart"\nvalues = ["deploy/values-eks.yaml", "b..yaml"]\nsettings = { a = { b = [1] } }',
        'chart = "."',
    ],
)
def test_clusters_that_are_sound(lines: str) -> None:
    name = "x" * OBJECT_NAME_MAX
    laid_over = f'[services.{name}]\nprotocol = "http"\nrun = "x"\n[project]\nname = "{name}"\n{CLUSTERED}\n{lines}'
    assert messages(changed(laid_over)) == []


def test_the_longest_names_make_the_name_of_a_service_of_a_cluster() -> None:
    assert len(f"{'x' * OBJECT_NAME_MAX}-green-{'x' * OBJECT_NAME_MAX}") <= 63


def test_an_environment_needs_services_and_something_to_deploy() -> None:
    text = '[project]\nname = "x"\n[environments.staging]\nbranch = "develop"\n'
    assert messages(parse(text)) == [
        'environments.staging: "staging" has nothing to run: there are no [services.NAME].',
        'environments.staging: "staging" has nothing to deploy: no job has stage = "build".',
    ]


TABLES: dict[type[msgspec.Struct], str] = {
    Job: "jobs.load",
    Service: "services.api",
    Environment: "environments.production",
    Approval: "environments.production.approval",
    RolloutPolicy: "environments.production.rollout",
    RollbackTriggers: "environments.production.rollback_on",
    WatchLimits: "environments.production.watch_for",
}
NUMBERS = [(table, key, allowed) for struct, table in TABLES.items() for key, allowed in RANGES[struct].items()]


@pytest.mark.parametrize(("table", "key", "allowed"), NUMBERS)
def test_a_number_outside_its_range_is_refused(table: str, key: str, allowed: Range) -> None:
    for value in (allowed.minimum - 1, allowed.maximum + 1, -(2**62)):
        written = f"[{value}]" if key.endswith("_exit_codes") else str(value)
        found = messages(changed(f"[{table}]\n{key} = {written}"))
        assert [one for one in found if f"{key} = {plain(value)}: must be {allowed.words}." in one], found


def test_the_numbers_of_a_phase_have_ranges_and_places() -> None:
    lines = (
        '[environments.staging]\nstrategy = "canary"\n'
        "[[environments.staging.rollout.phases]]\nweight_pct = {}\nhold_s = {}"
    )
    where = "environments.staging.rollout.phases.0"
    for weight_pct, hold_s, message in ((0, 1, "weight_pct = 0"), (100, 1, "weight_pct = 100"), (5, 0, "hold_s = 0")):
        (found,) = messages(changed(lines.format(weight_pct, hold_s)))
        assert found.startswith(f"{where}.{message.split()[0]}: rollout.phases.{message}: must be 1 to "), found


def test_every_number_of_the_configuration_has_a_range_that_its_default_is_in() -> None:
    numbers = {
        (struct, field.name): field.default
        for struct in structs_of(Project)
        for field in msgspec.structs.fields(struct)
        if any(part in (int, float) for part in (field.type, *get_args(field.type)))
    }
    assert numbers.keys() == {(struct, key) for struct, ranges in RANGES.items() for key in ranges}
    for (struct, key), default in numbers.items():
        if isinstance(default, (int, float)):
            assert RANGES[struct][key].minimum <= default <= RANGES[struct][key].maximum, (struct, key)


def structs_of(root: type[msgspec.Struct]) -> Iterator[type[msgspec.Struct]]:
    yield root
    for field in msgspec.structs.fields(root):
        for part in (field.type, *get_args(field.type)):
            if isinstance(part, type) and issubclass(part, msgspec.Struct):
                yield from structs_of(part)


def test_a_limit_that_nothing_could_exceed_is_none() -> None:
    latency_ms_max = LATENCY_EDGES_MS[-1]
    for struct in (RollbackTriggers, WatchLimits):
        assert RANGES[struct]["p95_ms_max"].maximum < latency_ms_max
        assert RANGES[struct]["error_rate_pct_max"].maximum < 100


@pytest.mark.parametrize("section", ["jobs", "services", "environments", "teams"])
@pytest.mark.parametrize(
    "name", ["", " ", ".", "..", "../x", "a/b", "/", "-x", "_x", ".x", "a\n", "é", "a\x00", "x" * 64]
)
def test_a_name_that_is_no_folder_of_its_own_is_refused(section: str, name: str) -> None:
    content = {
        "jobs": {"stage": "test", "run": "x"},
        "services": {"protocol": "http", "run": "x"},
        "environments": {},
        "teams": ["a@example.org"],
    }
    laid_over = convert(lay_over(tomllib.loads(SOUND), {section: {name: content[section]}}))
    path = f"{section}.{name}: "
    assert [one for one in messages(laid_over) if one.startswith(path) and "begin with a letter or digit" in one]


def test_names_that_are_allowed() -> None:
    for name in ("a", "9", "unit-tests", "a.b_c", "Ab", "x" * 63):
        assert messages(changed(f'["jobs"."{name}"]\nstage = "test"\nrun = "x"')) == []


def test_more_jobs_than_anybody_has_are_refused() -> None:
    jobs = "".join(f'[jobs.j{n}]\nstage = "test"\nrun = "x"\nneeds = ["j{n + 1}"]\n' for n in range(2000))
    assert "jobs: 2005 jobs; at most 500 are allowed. A matrix makes many of one." in messages(changed(jobs))


def test_without_teams_approvers_are_addresses() -> None:
    text = SOUND.replace("[teams]", "[teams]\n#").replace("release-managers = ", "# = ")
    (found,) = messages(parse(text))
    assert found == (
        'environments.production.approval: from: "release-managers" is no team in [teams] and no e-mail address. '
        "Add the team, or write the person's address."
    )
    assert messages(parse(text.replace('["release-managers"]', '["Ada <ada@example.org>"]'))) == []


def test_one_person_by_two_names_counts_once() -> None:
    assert count_people(["Ada <ada@x>", "ada@x", "Grace <grace@x>", " "]) == 2


def test_broken_helpers_would_be_noticed() -> None:
    with pytest.raises(ConfigurationError):
        parse("nonsense = 1")
    assert isinstance(parse(SOUND), Project)
