# size-ok: the whole of openbell.toml, one struct for each table
"""The configuration, `openbell.toml`, as frozen structs.

Every default here is a number of the user's specification, so a project that agrees with it writes nothing down. This
module knows the shape of the configuration and nothing else; `openbell.core.validation` holds the rules between fields,
`openbell.adapters.toml` the file, its lines and the origin of each value.

Units are last in every name: `_s` seconds, `_ms` milliseconds, `_pct` percent (0 to 100).
"""

from datetime import date
from typing import Any, Literal

import msgspec

from openbell.core.sightings import Severity

Protocol = Literal["http", "websocket", "fix", "leader"]
StrategyName = Literal["rolling", "blue-green", "canary"]
TriggerKind = Literal["push", "pull-request", "tag", "schedule", "person"]
Stage = Literal["quality", "test", "build", "smoke", "load"]
JobService = Literal["postgres", "valkey"]
OnBreak = Literal["notify", "rollback"]
OnDrift = Literal["take-over", "rollback"]
FailNew = Literal["critical", "high", "medium", "low", "never"]

COMMIT_STAGES: tuple[Stage, ...] = ("quality", "test", "build")
"""Stages that a commit goes through, in order; smoke and load belong to an environment's deployment."""


class Frozen(msgspec.Struct, frozen=True, kw_only=True):
    """Configuration is immutable. `openbell.adapters.toml` refuses unknown keys; journals and manifests may have some,
    which an older or newer openbell has written.
    """


class ProjectInfo(Frozen, frozen=True, kw_only=True):
    """`[project]`: who this is."""

    name: str
    description: str = ""


class Reports(Frozen, frozen=True, kw_only=True):
    """Files that a job leaves in `{out}`, by format; each is read after the job and can fail it."""

    sarif: str | None = None
    junit: str | None = None
    gotest: str | None = None
    cobertura: str | None = None
    gocover: str | None = None
    pytest_benchmark: str | None = None
    gobench: str | None = None
    cyclonedx: str | None = None
    k6: str | None = None

    @property
    def tests(self) -> str | None:
        """The file that names the tests, whatever wrote it."""
        return self.junit or self.gotest

    @property
    def benchmarks(self) -> str | None:
        """The file that has the benchmarks, whatever wrote it."""
        return self.pytest_benchmark or self.gobench

    @property
    def coverage(self) -> str | None:
        """The file that says which lines ran, whatever wrote it."""
        return self.cobertura or self.gocover


class Job(Frozen, frozen=True, kw_only=True):
    """`[jobs.NAME]`: one command in one environment; `matrix` multiplies it.

    `run` is a shell script (`bash -eu -o pipefail`). It may use `{out}` (the job's output folder), `{root}` (its copy
    of the tree), `{cache}` (a folder that outlives runs), `{artifacts}` (outputs of the jobs it needs), `{history}` (a
    bare repository with the commit and what led to it) and `{folder}` (where the project lies in it), and the axes of
    its matrix; in smoke and load, instead of these three, `{release}` (the release made ready to run) and the
    addresses of the services (`{api_url}`, `{fix-gateway_address}` ...). `env` may use the same, `tools` the axes.
    Others are refused; a literal brace pair around a word is written `{{word}}`, and `${WORD}` is the shell's.

    `matrix_exclude` leaves legs out, `matrix_include` adds values to legs or legs to the matrix, as in GitHub Actions.

    A job of several `shards` runs once per shard, each on its part of the files that `tests` names among its inputs:
    `{tests}` is a file with one of them per line (in Go, packages), `{shard}` counts from 1 to `{shards}`. They are
    split by what they took before; no file is in two parts or in none.

    With `regression_max_pct` a job of benchmarks runs up to `rounds_max` times on each of two trees, the commit's and
    its base's, by turns. It fails when a benchmark is certainly slower than that, and is not checked when it stays
    undecided.

    Without `needs` a job waits for all jobs of earlier stages, with it for exactly these. `inputs` are gitignore-style
    patterns of the tree, `outputs` of `{out}`. `tools` are commands whose `--version` the result depends on. `on` names
    the triggers that the job is for; empty means each that includes its stage. A result is reused for `cache_s` seconds
    (none: for ever), never when `cache` is false. `not_checked_exit_codes` say "could not check": never a success, and
    never a failure of the commit either. `findings_exit_codes` say "something was found": what is in `reports.sarif` is
    then judged by `[findings]`, and does not fail the job.
    """

    stage: Stage
    run: str
    matrix: dict[str, tuple[str, ...]] = {}
    matrix_include: tuple[dict[str, str], ...] = ()
    matrix_exclude: tuple[dict[str, str], ...] = ()
    needs: tuple[str, ...] | None = None
    inputs: tuple[str, ...] = ("**",)
    outputs: tuple[str, ...] = ()
    reports: Reports = Reports()
    env: dict[str, str] = {}
    secrets: tuple[str, ...] = ()
    services: tuple[JobService, ...] = ()
    tools: tuple[str, ...] = ()
    on: tuple[TriggerKind, ...] = ()
    timeout_s: float = 600.0
    retries: int = 0
    fail_fast: bool = False
    weight: int = 1  # unit-ok: places among the jobs that run at once
    allow_failure: bool = False
    cache: bool = True
    cache_s: float | None = None
    strict: bool = False
    shards: int = 1
    tests: tuple[str, ...] = ()
    coverage_min_pct: float | None = None
    coverage_changed_min_pct: float | None = None
    regression_max_pct: float | None = None
    rounds_max: int = 30
    not_checked_exit_codes: tuple[int, ...] = ()
    findings_exit_codes: tuple[int, ...] = ()
    findings_severity: Severity | None = None


class Service(Frozen, frozen=True, kw_only=True):
    """`[services.NAME]`: a process that serves. It is started without a shell.

    `run` may use `{port}`, `{http_port}`, `{slot}`, `{instance}`, `{version}`, `{release}` (the folder that `prepare`
    filled) and `{artifacts}` (what the build stage made).

    A service of protocol `http`, `websocket` or `leader` speaks HTTP on `{port}`; a `fix` service speaks FIX there and
    HTTP (health, metrics, drain) on `{http_port}`.
    """

    protocol: Protocol
    run: str
    health: str = "/healthz"
    ready: str = "/readyz"
    metrics: str = "/metrics"
    drain: str = "/drain"
    env: dict[str, str] = {}
    drain_timeout_s: float = 30.0

    @property
    def closed(self) -> tuple[str, ...]:
        """Paths that operate the service and are nobody else's business: handing over, and what it counts."""
        return (self.drain, self.metrics)


class Origin(Frozen, frozen=True, kw_only=True):
    """`[release.provenance]`: who says where releases come from, and signs it.

    `key` is the name of an environment variable of openbell that has the private key, as PEM or as a file's path.
    `source` is the repository's address; that of git's remote `origin` if empty.
    """

    key: str = "OPENBELL_SIGNING_KEY"
    builder: str = ""
    source: str = ""


class Verification(Frozen, frozen=True, kw_only=True):
    """`[environments.NAME.verify]`: what a release must prove before it is brought here.

    `key` is the file of the tree with the public key. `builder` and `source` must be what the provenance says.
    """

    key: str
    builder: str = ""
    source: str = ""


class ReleaseInfo(Frozen, frozen=True, kw_only=True):
    """`[release]`: how what was built becomes something that runs on machines.

    `prepare` runs once per release in its own folder (`{release}`) with what the build stage left beside it
    (`{artifacts}`); the folder's `bin` then leads the services' PATH. `expand` runs before a release is placed,
    `contract` after its watch. `config` are patterns of files of the tree that belong to the release.
    """

    prepare: str | None = None
    expand: str | None = None
    contract: str | None = None
    config: tuple[str, ...] = ()
    provenance: Origin = Origin()


class Approval(Frozen, frozen=True, kw_only=True):
    """How many people must approve, and who may: names of people or of `[teams]`. The author never counts."""

    required: int = 1
    by: tuple[str, ...] = msgspec.field(default=(), name="from")


class RollbackTriggers(Frozen, frozen=True, kw_only=True):
    """`[environments.NAME.rollback_on]`: any of these takes a release back at once (the specification's numbers).

    A rate is judged over `window_s` once `requests_min` requests are in it, and must be broken `ticks` times in a row.
    """

    error_rate_pct_max: float = 5.0
    p95_ms_max: float = 2000.0
    restarts_max: int = 3
    failed_health_checks_max: int = 5
    window_s: float = 60.0
    requests_min: int = 20
    ticks: int = 3


class WatchLimits(Frozen, frozen=True, kw_only=True):
    """`[environments.NAME.watch_for]`: what is monitored after a deployment (the specification's numbers)."""

    error_rate_pct_max: float = 0.1
    p95_ms_max: float = 500.0
    throughput_change_pct_max: float = 10.0
    cpu_change_pct_max: float = 20.0
    memory_growth_pct_max: float = 20.0
    queries_per_request_growth_pct_max: float = 10.0
    requests_min: int = 100
    on_break: OnBreak = "notify"


class Phase(Frozen, frozen=True, kw_only=True):
    """One phase of a canary: so much traffic for so long."""

    weight_pct: int
    hold_s: float


class RolloutPolicy(Frozen, frozen=True, kw_only=True):
    """`[environments.NAME.rollout]`: the numbers of a strategy.

    `phases` is for canary, `weight_pct` and `hold_s` are for blue-green. `on_drift` says what follows when somebody
    else changes the routing meanwhile: ours is written again, or the release is taken back. People are told either way.
    """

    max_surge: int = 1
    max_unavailable: int = 0
    healthy_timeout_s: float = 30.0
    weight_pct: int = 5
    hold_s: float = 300.0
    watch_s: float = 600.0
    keep_replicas: int = 1
    phases: tuple[Phase, ...] = (
        Phase(weight_pct=5, hold_s=300.0),
        Phase(weight_pct=25, hold_s=600.0),
        Phase(weight_pct=50, hold_s=900.0),
    )
    undecided_s: float = 300.0
    tick_s: float = 2.0
    on_drift: OnDrift = "take-over"


class Cluster(Frozen, frozen=True, kw_only=True):
    """`[environments.NAME.cluster]`: the environment is a namespace of a cluster, and not this machine.

    `context` is one of the kubeconfig's (the current one if empty), `namespace` is PROJECT-ENVIRONMENT if empty.
    `chart` is a folder of the tree and `values` are files of it: they belong to the release. `settings` are values laid
    over them, for what only this environment knows. `gateway` is NAME or NAMESPACE/NAME of a Gateway with a listener
    for each service; `address` says where it answers, if its status does not. `metrics_url` has its counters.
    """

    context: str = ""
    namespace: str = ""
    chart: str = "chart"
    values: tuple[str, ...] = ()
    settings: dict[str, Any] = {}
    gateway: str = "openbell"
    address: str = ""
    metrics_url: str = "http://127.0.0.1:9090"


class Target(Frozen, frozen=True, kw_only=True):
    """`[environments.NAME.targets.NAME]`: one of the places that an environment consists of, such as a region.

    What is written here is laid over the environment's `cluster`; `settings` merge, everything else is replaced. Where
    neither has anything, the target is on this machine.
    """

    context: str | None = None
    namespace: str | None = None
    chart: str | None = None
    values: tuple[str, ...] | None = None
    settings: dict[str, Any] = {}
    gateway: str | None = None
    address: str | None = None
    metrics_url: str | None = None


class Waves(Frozen, frozen=True, kw_only=True):
    """`[environments.NAME.waves]`: in which order the targets get a release, and how long is waited in between.

    The targets of one wave go at the same time. Without an order each target is a wave of its own, as they are written.
    """

    order: tuple[tuple[str, ...], ...] = ()
    hold_s: float = 600.0


class Environment(Frozen, frozen=True, kw_only=True):
    """`[environments.NAME]`: where releases run, what brings them there and how."""

    branch: str | None = None
    tag: str | None = None
    strategy: StrategyName = "rolling"
    replicas: int = 2
    smoke: str | None = None
    after: tuple[str, ...] = ()
    approval: Approval | None = None
    approval_timeout_s: float = 86400.0
    requires_passed: tuple[str, ...] = ()
    env: dict[str, str] = {}
    secrets: tuple[str, ...] = ()
    url: str | None = None
    cluster: Cluster | None = None
    targets: dict[str, Target] = {}
    waves: Waves = Waves()
    verify: Verification | None = None
    rollout: RolloutPolicy = RolloutPolicy()
    rollback_on: RollbackTriggers = RollbackTriggers()
    watch_for: WatchLimits = WatchLimits()


class Targets(Frozen, frozen=True, kw_only=True):
    """`[targets]`: how long things may take (the specification's numbers). What takes longer is said, and no failure.

    A stage counts from the begin of its first job to the end of its last; what was not executed takes no time.
    `deployments` has seconds by environment, for others than those of the specification.
    """

    test_s: float = 600.0
    build_s: float = 900.0
    staging_s: float = 300.0
    production_s: float = 1200.0
    total_s: float = 2400.0
    deployments: dict[str, float] = {}

    @property
    def by_stage(self) -> dict[str, float]:
        """Seconds by stage."""
        return {"test": self.test_s, "build": self.build_s}

    @property
    def by_environment(self) -> dict[str, float]:
        """Seconds by environment."""
        return {"staging": self.staging_s, "production": self.production_s, **self.deployments}


class TelemetryInfo(Frozen, frozen=True, kw_only=True):
    """`[telemetry]`: where runs and rollouts are told of, in OpenTelemetry's CI/CD conventions, over OTLP/HTTP.

    OTEL_EXPORTER_OTLP_ENDPOINT of the machine goes before it; the headers that the machine has for that one
    (OTEL_EXPORTER_OTLP_HEADERS) are not sent to this one.
    """

    endpoint: str = ""


class KnownFailure(Frozen, frozen=True, kw_only=True):
    """`[[diagnoses]]`: what the people of this project know of a failure.

    `match` is a regular expression (Python's) that finds a line of what the job printed. The first entry that fits
    explains the failure, before everything that openbell knows itself. `jobs`, `stages` and `exit_codes` narrow it;
    empty means all. A pattern that takes too long is left out, and named.
    """

    match: str
    cause: str
    fix: str
    prevention: str = ""
    jobs: tuple[str, ...] = ()
    stages: tuple[Stage, ...] = ()
    exit_codes: tuple[int, ...] = ()


class Cache(Frozen, frozen=True, kw_only=True):
    """`[cache]`: where results are kept besides this machine, and how much of them is kept here.

    `remote` is a folder ("/mnt/results"), "http://..." or "https://...", or "s3://BUCKET/PREFIX". With `push`, what
    passes here is written there, except by pull requests and by jobs that have secrets.
    """

    remote: str = ""
    push: bool = True
    size_max_mb: int = 5000


class Quarantine(Frozen, frozen=True, kw_only=True):
    """`[[quarantine]]`: a test whose failure does not fail its job until a date, because its owner mends it.

    `test` is its name as `openbell tests` shows it; without the parameters in brackets it means all of them. It still
    runs and what comes of it is shown. After the day `until` (UTC) it counts again.
    """

    test: str
    owner: str
    until: date


class Concurrency(Frozen, frozen=True, kw_only=True):
    """`[concurrency]`: which runs are not wanted beside each other. A newer one of a group cancels the older.

    `group` may use `{ref}`, `{trigger}` and `{target}`; runs that fill it in alike are of one group.
    """

    group: str | None = None


class Branches(Frozen, frozen=True, kw_only=True):
    """`[branches]`: which branches and tags are built after their tests pass; all others are only tested.

    Patterns are shell-style; in a tag's pattern a `*` beside a dot stands for a number, so `v*.*.*` is `v1.2.3` and not
    `v1.2.3-rc1`.
    """

    build: tuple[str, ...] = ("main", "develop", "staging")
    tags: tuple[str, ...] = ("v*.*.*",)


class FindingsPolicy(Frozen, frozen=True, kw_only=True):
    """`[findings]`: what the results of scanners mean (the specification's numbers).

    Each branch that is built has a ledger of what is open there. A change is compared with the ledger of the branch it
    would go to: what is new, not waived and at least as severe as `fail_new` fails its run. An open critical finding
    keeps releases from being deployed, and so does every other one after its days. Without days nothing is due.
    """

    fail_new: FailNew = "high"
    high_due_days: float = 7.0
    medium_due_days: float | None = None
    low_due_days: float | None = None


class ScanInfo(Frozen, frozen=True, kw_only=True):
    """`[scan]`: what `openbell scan` runs each day. Without `jobs`: those of stage quality that report SARIF, and those
    with `on = ["schedule"]`.
    """

    jobs: tuple[str, ...] = ()


class Workflows(Frozen, frozen=True, kw_only=True):
    """`[workflows]`: how the pipeline is written down for a hosted system (`openbell render github`).

    `install` is the script that puts openbell on a fresh machine's PATH. Jobs run on machines with the labels
    `runs_on`; deployments on those of `deploy_runs_on`, which keep their state. `permissions` are a job's own, beside
    reading the repository: `{ image = { packages = "write" } }`. Times are cron's, in UTC.
    """

    install: str = "python -m pip install 'openbell[local]'"
    python: str = "3.13"
    runs_on: tuple[str, ...] = ("ubuntu-latest",)
    deploy_runs_on: tuple[str, ...] = ("self-hosted",)
    nightly: str = "0 2 * * *"
    weekly: str = "0 4 * * 1"
    permissions: dict[str, dict[str, Literal["read", "write"]]] = {}
    code_scanning: bool = True
    coverage_upload: bool = True


class Project(Frozen, frozen=True, kw_only=True):
    """The whole of `openbell.toml`."""

    project: ProjectInfo
    branches: Branches = Branches()
    cache: Cache = Cache()
    concurrency: Concurrency = Concurrency()
    jobs: dict[str, Job] = {}
    diagnoses: tuple[KnownFailure, ...] = ()
    targets: Targets = Targets()
    telemetry: TelemetryInfo = TelemetryInfo()
    services: dict[str, Service] = {}
    order: tuple[str, ...] = ()
    release: ReleaseInfo = ReleaseInfo()
    environments: dict[str, Environment] = {}
    teams: dict[str, tuple[str, ...]] = {}
    findings: FindingsPolicy = FindingsPolicy()
    scan: ScanInfo = ScanInfo()
    workflows: Workflows = Workflows()
    quarantine: tuple[Quarantine, ...] = ()

    @property
    def service_order(self) -> tuple[str, ...]:
        """All services, those named in `order` first; in this order they are placed and handed over."""
        rest = [name for name in self.services if name not in self.order]
        return (*self.order, *rest)


class Problem(msgspec.Struct, frozen=True):
    """One thing wrong with a configuration: where (`("environments", "staging", "replicas")`) and what to do."""

    path: tuple[str, ...]
    message: str
