"""What the Helm chart renders to: the rules of every pod, and that two sides in one namespace share nothing."""

import copy
import json
import os
import re
import secrets
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from trading_engine.cli import _parser
from trading_engine.service import runtime

ROOT = Path(__file__).parents[1]
CHART = ROOT / "chart"
GIVEN = CHART / "ci" / "values.yaml"
DIGEST = "sha256:" + "c" * 64
SERVICES = ("api", "fix-gateway", "websocket", "worker")
Object = dict[str, Any]

pytestmark = pytest.mark.skipif(shutil.which("helm") is None, reason="helm is not installed")


def helm(name: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = ["helm", "template", name, str(CHART), "--values", str(GIVEN), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def render(values: Mapping[str, object] | None = None, *, name: str = "te-blue") -> list[Object]:
    """The objects of a release, with `values` named by their path."""
    given = (values or {}).items()
    rendered = helm(name, *(part for path, value in given for part in ("--set-json", f"{path}={json.dumps(value)}")))
    assert rendered.returncode == 0, rendered.stderr
    return [each for each in yaml.safe_load_all(rendered.stdout) if each]


def of_kind(objects: list[Object], kind: str) -> dict[str, Object]:
    return {each["metadata"]["name"]: each for each in objects if each["kind"] == kind}


def deployment(objects: list[Object], service: str) -> Object:
    return of_kind(objects, "Deployment")[f"te-blue-{service}"]


def pod_templates(objects: list[Object]) -> Iterator[Object]:
    for each in objects:
        if each["kind"] in {"Deployment", "Job"}:
            yield each["spec"]["template"]


def container(template: Object) -> Object:
    (only,) = template["spec"]["containers"]
    return dict(only)


def selects(selector: Mapping[str, str], template: Object) -> bool:
    return bool(selector.items() <= template["metadata"]["labels"].items())


@pytest.fixture(scope="module")
def rendered() -> list[Object]:
    """All objects there can be, both migrations and the optional monitor included."""
    return render({"openbell.release": "r1", "migrations.contract": "r1", "serviceMonitor.enabled": True})


@pytest.fixture
def everything(rendered: list[Object]) -> list[Object]:
    """The same, for a test to change."""
    return copy.deepcopy(rendered)


def test_it_is_valid_for_kubernetes(tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = ["checks/chart", str(tmp_path)]
    checked = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    said = checked.stdout + checked.stderr
    if checked.returncode == 75:
        pytest.skip(said.strip())
    assert checked.returncode == 0, said
    assert len(re.findall(r"Invalid: 0, Errors: 0", said)) == 2


@pytest.mark.skipif(shutil.which("checkov") is None, reason="checkov is not installed")
def test_scanners_find_what_is_waived_and_nothing_else(tmp_path: Path) -> None:
    waived = yaml.safe_load((ROOT / "checks" / "checkov.yaml").read_text())["skip-check"]
    waived = [check for check in waived if check.startswith("CKV_K8S")]
    for name, options in {"default": (), "eks": ("--values", str(CHART / "values-eks.yaml"))}.items():
        rendered = helm("te-blue", "--set", "migrations.contract=0123456789ab", *options)
        (tmp_path / f"{name}.yaml").write_text(rendered.stdout)
    command = [
        "checkov",
        "--framework",
        "kubernetes",
        "--directory",
        str(tmp_path),
        "--skip-download",
        "--output",
        "json",
    ]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    results = json.loads(found.stdout)["results"]
    assert len(results["passed_checks"]) > 500
    assert sorted({each["check_id"] for each in results["failed_checks"]}) == waived


@pytest.mark.skipif(shutil.which("trivy") is None, reason="trivy is not installed")
def test_trivy_finds_nothing_high_and_finds_what_is_planted(tmp_path: Path) -> None:
    rendered = helm("te-blue", "--set", "migrations.contract=0123456789ab").stdout
    for text, found in {
        rendered: 0,
        rendered.replace("allowPrivilegeEscalation: false", "privileged: true"): 1,
    }.items():
        (tmp_path / "chart.yaml").write_text(text)
        command = [
            "trivy",
            "config",
            "--quiet",
            "--skip-check-update",
            "--severity",
            "HIGH,CRITICAL",
            "--exit-code",
            "1",
        ]
        scanned = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, check=False)
        assert scanned.returncode == found, scanned.stdout + scanned.stderr


@pytest.fixture
def namespace() -> Iterator[str]:
    """A namespace of a real cluster, which warns of every pod that the strictest of Kubernetes' own rules refuses."""
    if not os.environ.get("KUBECONFIG") or shutil.which("kubectl") is None:
        pytest.skip("no cluster: KUBECONFIG is not set, or kubectl is not installed")
    name = f"t-chart-{secrets.token_hex(3)}"
    if kubectl("create", "namespace", name).returncode:
        pytest.skip("no cluster: the one that KUBECONFIG names takes no namespace")
    kubectl("label", "namespace", name, "pod-security.kubernetes.io/warn=restricted")
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


def kubectl(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(["kubectl", *arguments], input=given, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("slot", ["blue", "green"])
def test_a_cluster_takes_both_sides_and_warns_of_nothing(namespace: str, slot: str) -> None:
    rendered = helm(f"te-{slot}", "--set", f"openbell.slot={slot},migrations.contract=0123456789ab")
    said = kubectl(
        "apply", "--server-side", "--dry-run=server", "--namespace", namespace, "--filename", "-", given=rendered.stdout
    )
    assert (said.returncode, said.stderr) == (0, "")
    assert len(said.stdout.splitlines()) == len([each for each in yaml.safe_load_all(rendered.stdout) if each])


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("image.tag", "1.0.0", "'tag' not allowed"),
        ("image.digest", "", "/image/digest"),
        ("image.digest", "latest", "/image/digest"),
        ("image.repository", "registry.example/engine:1.0", "/image/repository"),
        ("services.api.image", {"digest": DIGEST}, "'repository' required"),
        ("services.api.replica", 3, "'replica' not allowed"),
        ("services.api.replicas", -1, "/services/api/replicas"),
        ("services.worker.service", {"type": "LoadBalancer"}, "'service' not allowed"),
        ("services.matcher", {"replicas": 1}, "'matcher' not allowed"),
        ("database.password", "secret", "'password' not allowed"),
        ("database.existingSecret", "", "/database/existingSecret"),
        ("config.DATABASE_URL", "postgresql://elsewhere", "DATABASE_URL"),
        ("openbell.slot", "", "/openbell/slot"),
        ("openbell.rollout", "not a label", "/openbell/rollout"),
        ("podDisruptionBudget.maxUnavailable", 0, "/podDisruptionBudget/maxUnavailable"),
        ("drainSeconds", 5, "/drainSeconds"),
    ],
)
def test_values_that_cannot_be_meant_are_refused(path: str, value: object, named: str) -> None:
    refused = helm("te-blue", "--set-json", f"{path}={json.dumps(value)}")
    assert refused.returncode != 0
    assert named in refused.stderr


def test_a_name_that_leaves_no_room_is_refused() -> None:
    refused = helm("t" * 46)
    assert "46 characters" in refused.stderr
    assert all(
        len(each["metadata"]["name"]) <= 63 for each in render({"migrations.contract": "0123456789ab"}, name="t" * 45)
    )


def test_the_schema_leaves_nothing_open() -> None:
    def objects(schema: object) -> Iterator[Object]:
        if isinstance(schema, dict):
            if "properties" in schema:
                yield schema
            for inner in schema.values():
                yield from objects(inner)

    schema = json.loads((CHART / "values.schema.json").read_text())
    found = list(objects(schema))
    assert len(found) > 20
    assert all(each["additionalProperties"] is False for each in found)
    assert set(yaml.safe_load((CHART / "values.yaml").read_text())) == set(schema["properties"]) - {"global"}


def test_every_image_is_named_by_its_digest(everything: list[Object]) -> None:
    images = {container(template)["image"] for template in pod_templates(everything)}
    assert len(images) == 1
    assert re.fullmatch(r"registry\.example/trading-engine@sha256:[0-9a-f]{64}", images.pop())


def test_a_service_may_have_an_image_of_its_own() -> None:
    objects = render({"services.worker.image": {"repository": "registry.example/worker", "digest": DIGEST}})
    worker = container(deployment(objects, "worker")["spec"]["template"])
    assert worker["image"] == f"registry.example/worker@{DIGEST}"
    assert "registry.example/trading-engine@" in container(deployment(objects, "api")["spec"]["template"])["image"]


def test_pods_may_do_no_more_than_they_need(everything: list[Object]) -> None:
    templates = list(pod_templates(everything))
    assert len(templates) == len(SERVICES) + 2
    for template in templates:
        pod, only = template["spec"], container(template)
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 65532
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert only["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"name": "tmp", "mountPath": "/tmp"} in only["volumeMounts"]
        assert {"cpu", "memory"} <= only["resources"]["requests"].keys()
        assert "memory" in only["resources"]["limits"]
    for account in of_kind(everything, "ServiceAccount").values():
        assert account["automountServiceAccountToken"] is False


def test_secrets_come_by_reference_only(everything: list[Object]) -> None:
    assert of_kind(everything, "Secret") == {}
    for template in pod_templates(everything):
        for variable in container(template)["env"]:
            if variable["name"] in {"PGUSER", "PGPASSWORD", "VALKEY_PASSWORD", "TRADING_ENGINE_API_KEYS"}:
                assert "secretKeyRef" in variable["valueFrom"]


@pytest.mark.parametrize("service", SERVICES)
def test_services_are_started_as_the_command_line_wants_it(everything: list[Object], service: str) -> None:
    only = container(deployment(everything, service)["spec"]["template"])
    options = _parser().parse_args(only["args"])
    ports = {port["name"]: port["containerPort"] for port in only["ports"]}
    assert (options.command, options.host) == (service, "0.0.0.0")
    if service == "fix-gateway":
        assert ports == {"http": options.http_port, "fix": options.port}
    else:
        assert ports == {"http": options.port}
    paths = {name: only[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")}
    assert {each["port"] for each in paths.values()} == {"http"}
    assert {name: each["path"] for name, each in paths.items()} == {
        "startup": "/healthz",
        "readiness": "/readyz",
        "liveness": "/healthz",
    }


def test_images_are_started_as_the_command_line_wants_it() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    commands = [shlex.split(text.replace(",", "")) for text in re.findall(r"^CMD \[(.*)\]$", dockerfile, re.MULTILINE)]
    assert sorted(_parser().parse_args(each).command for each in commands if each != ["--help"]) == list(SERVICES)
    assert set(SERVICES) <= set(re.findall(r"^FROM engine AS (\S+)$", dockerfile, re.MULTILINE))


@pytest.mark.parametrize("service", SERVICES)
def test_a_pod_has_the_time_that_its_drain_takes(everything: list[Object], service: str) -> None:
    template = deployment(everything, service)["spec"]["template"]
    sleep_s = container(template).get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    assert sleep_s == (0 if service == "worker" else 5)
    grace_s = template["spec"]["terminationGracePeriodSeconds"]
    assert grace_s - sleep_s > runtime.STOP_S_MAX
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert schema["properties"]["drainSeconds"]["minimum"] >= runtime.STOP_S_MAX


def test_two_sides_share_nothing(everything: list[Object]) -> None:
    green = render({"openbell.slot": "green"}, name="te-green")
    names = [{(each["kind"], each["metadata"]["name"]) for each in objects} for objects in (everything, green)]
    assert names[0] & names[1] == set()
    for service in of_kind(everything, "Service").values():
        assert not any(selects(service["spec"]["selector"], template) for template in pod_templates(green))


def test_selectors_find_the_pods_of_one_service(everything: list[Object]) -> None:
    templates = {template["metadata"]["labels"]["app.kubernetes.io/component"]: template
                 for template in pod_templates(everything)}  # fmt: skip
    for kind, field in (
        ("Deployment", "selector"),
        ("PodDisruptionBudget", "selector"),
        ("NetworkPolicy", "podSelector"),
    ):
        for name, each in of_kind(everything, kind).items():
            found = [
                part for part, template in templates.items() if selects(each["spec"][field]["matchLabels"], template)
            ]
            assert [name] == [f"te-blue-{'migrate-' if part in {'expand', 'contract'} else ''}{part}" for part in found]
    operations = of_kind(everything, "Service")["te-blue-operations"]["spec"]["selector"]
    assert sorted(part for part, template in templates.items() if selects(operations, template)) == list(SERVICES)


def test_a_pod_that_is_taken_out_of_service_stays_in_its_deployment(everything: list[Object]) -> None:
    each = deployment(everything, "api")
    selector = of_kind(everything, "Service")["te-blue-api"]["spec"]["selector"]
    template = each["spec"]["template"]
    assert selects(selector, template)
    template["metadata"]["labels"]["openbell.dev/serving"] = "false"
    assert not selects(selector, template)
    assert selects(each["spec"]["selector"]["matchLabels"], template)


def test_labels_say_where_a_pod_belongs() -> None:
    objects = render({"openbell.rollout": "r-7", "annotations": {"openbell.dev/run": "812"}})
    metadata = deployment(objects, "api")["spec"]["template"]["metadata"]
    labels = {name: value for name, value in metadata["labels"].items() if name.startswith("openbell.dev/")}
    assert labels == {
        "openbell.dev/environment": "production",
        "openbell.dev/slot": "blue",
        "openbell.dev/release": "0123456789ab",
        "openbell.dev/rollout": "r-7",
        "openbell.dev/serving": "true",
    }
    assert metadata["annotations"]["openbell.dev/run"] == "812"


def test_only_a_change_of_the_release_makes_new_pods() -> None:
    def pods(values: Mapping[str, object] | None = None) -> list[Object]:
        return [each["spec"]["template"] for each in of_kind(render(values), "Deployment").values()]

    before = pods()
    assert pods({"services.api.replicas": 7, "migrations.contract": "0123456789ab"}) == before
    assert all(changed != old for changed, old in zip(pods({"config.LOG_LEVEL": "debug"}), before, strict=True))


def test_a_service_may_have_variables_of_its_own() -> None:
    objects = render({"services.api.env": {"LOG_LEVEL": "debug", "QUOTED": 'a "b"'}})
    own = {}
    for service in ("api", "worker"):
        (container,) = deployment(objects, service)["spec"]["template"]["spec"]["containers"]
        own[service] = {each["name"]: each["value"] for each in container["env"] if "value" in each}
    assert own == {"api": {"LOG_LEVEL": "debug", "QUOTED": 'a "b"'}, "worker": {}}


def test_the_schema_is_contracted_for_the_release_that_is_named_only() -> None:
    def jobs(values: Mapping[str, object] | None = None) -> dict[str, str]:
        found = of_kind(render(values), "Job")
        return {name: each["metadata"]["annotations"]["helm.sh/hook"] for name, each in found.items()}

    expand = {"te-blue-migrate-expand": "pre-install,pre-upgrade"}
    contract = {"te-blue-migrate-contract": "post-install,post-upgrade"}
    assert jobs() == expand
    assert jobs({"migrations.contract": "0123456789ab"}) == expand | contract
    assert jobs({"migrations.contract": "of-an-older-one"}) == expand


def test_nothing_but_fix_is_offered_beside_fix(everything: list[Object]) -> None:
    services = of_kind(everything, "Service")
    assert sorted(services) == ["te-blue-api", "te-blue-fix-gateway", "te-blue-operations", "te-blue-websocket"]
    assert [port["name"] for port in services["te-blue-fix-gateway"]["spec"]["ports"]] == ["fix"]
    assert services["te-blue-operations"]["spec"]["clusterIP"] == "None"


def test_networks_are_closed_but_for_what_is_needed(everything: list[Object]) -> None:
    policies = of_kind(everything, "NetworkPolicy")

    def ports(name: str, direction: str) -> list[int]:
        rules = policies[f"te-blue-{name}"]["spec"].get(direction, [])
        return sorted({port["port"] for rule in rules for port in rule["ports"]})

    assert {name: ports(name, "ingress") for name in (*SERVICES, "migrate-expand")} == {
        "api": [8080],
        "websocket": [8080],
        "fix-gateway": [8080, 9878],
        "worker": [8080],
        "migrate-expand": [],
    }
    assert ports("worker", "egress") == [53, 5432, 6379]
    assert ports("migrate-contract", "egress") == [53, 5432]
    assert all(each["spec"]["policyTypes"] == ["Ingress", "Egress"] for each in policies.values())
