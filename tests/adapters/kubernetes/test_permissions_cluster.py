"""A whole story on a real cluster with nothing but the shipped Role: two releases, a way back, and nothing is left.

Whatever is asked of the API server is written down. So it is seen that the Role suffices, and that it has nothing which
no rollout uses.
"""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import pytest
import yaml

from openbell.wiring.cluster_site import ClusterSite
from openbell.wiring.project import open_project
from openbell.wiring.site import Check
from openbell.wiring.state import StateFolder
from tests.cluster import live
from tests.cluster.engine import make_engine_image, neighbours, write_project
from tests.cluster.recorder import FORBIDDEN, Recorder, recording

pytestmark = [pytest.mark.slow, pytest.mark.kubernetes]

LISTENERS = {"api": "HTTP", "websocket": "HTTP", "fix-gateway": "TCP"}
ACCOUNT = "openbell-production"
COMMAND = [sys.executable, "-c", "from openbell.cli.main import main; main()"]
SELDOM = {
    ("", "pods/log", "get"): "the end of a log is read only when a pod does not start",
    ("", "pods/portforward", "create"): "asked for by kubectl before 1.31, and by API servers from 1.35 on",
}
"""What this story does not use."""
TAGS = ("v1.0.0", "v1.1.0")
DEADLINE_S = 20.0


class Operator:
    """Somebody who has nothing but a token of the shipped ServiceAccount."""

    def __init__(self, root: Path, namespace: str, recorder: Recorder) -> None:
        self.root = root
        self.namespace = namespace
        self.recorder = recorder
        self.shipped = ""
        self.env = {**os.environ, "OPENBELL_STATE": str(root.parent / "state")}

    def openbell(self, *arguments: str, expect: int = 0) -> str:
        """Run a command as a user would; returns all that it printed."""
        done = subprocess.run(
            [*COMMAND, *arguments],
            cwd=self.root,
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        said = done.stdout + done.stderr
        assert done.returncode == expect, said
        assert "Traceback" not in said
        return said

    def grant(self, rules: Mapping[tuple[str, str], Sequence[str]] | None = None) -> None:
        """Give the ServiceAccount what the shipped Role has, or only some of it; said by an administrator."""
        objects = list(yaml.safe_load_all(self.shipped))
        if rules is not None:
            role = next(one for one in objects if one["kind"] == "Role")
            role["rules"] = [
                {"apiGroups": [group], "resources": [resource], "verbs": verbs}
                for (group, resource), verbs in rules.items()
            ]
        live.apply(*objects)

    def log_in(self, kubeconfig: Path) -> None:
        """Have only the token from now on; everything goes past the recorder."""
        token = live.kubectl("create", "token", ACCOUNT, "--namespace", self.namespace).stdout.strip()
        authority = str(self.recorder.certificate)
        cluster = {"server": self.recorder.url, "certificate-authority": authority}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "only",
            "contexts": [{"name": "only", "context": {"cluster": "recorded", "user": "operator"}}],
            "clusters": [{"name": "recorded", "cluster": cluster}],
            "users": [{"name": "operator", "user": {"token": token}}],
        }
        kubeconfig.write_text(json.dumps(content))
        self.env["KUBECONFIG"] = str(kubeconfig)


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """The operator, the project with two releases, and the namespace where they may place them."""
    live.require("buildah", "openssl")
    folder = tmp_path_factory.mktemp("permissions")
    image = make_engine_image()
    admin = folder / "admin.json"
    admin.write_text(live.kubectl("config", "view", "--raw", "--flatten", "--output", "json").stdout)
    with contextlib.ExitStack() as stack:
        namespace = stack.enter_context(live.namespace("permissions"))
        settings = stack.enter_context(neighbours(namespace))
        ports = stack.enter_context(live.gateway(namespace, LISTENERS))
        recorder = stack.enter_context(recording(admin))
        root = write_project(folder / "project", namespace, settings, image)
        made = Operator(root, namespace, recorder)
        for tag in TAGS:
            made.openbell("run", "--ref", tag, "--no-deploy")
        made.shipped = made.openbell("render", "rbac", "production")
        made.grant()
        made.log_in(folder / "operator.json")
        stack.enter_context(asked_for(f"http://127.0.0.1:{ports['api']}/healthz"))
        yield made


@contextlib.contextmanager
def asked_for(url: str) -> Iterator[None]:
    """Somebody outside who asks for a page all the time, for the judge needs requests to judge by."""
    ended = threading.Event()

    def ask() -> None:
        while not ended.wait(0.05):
            with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310
                answer.read()

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def granted(operator: Operator) -> dict[tuple[str, str], list[str]]:
    """Verbs by group and resource, as the Role has them."""
    role = live.kubectl("get", "role", ACCOUNT, "--namespace", operator.namespace, "--output", "json").stdout
    return {(one["apiGroups"][0], one["resources"][0]): one["verbs"] for one in json.loads(role)["rules"]}


def test_the_role_suffices_for_a_whole_story_and_has_nothing_that_is_not_used(operator: Operator) -> None:
    operator.recorder.asked.clear()
    assert f"as system:serviceaccount:{operator.namespace}:{ACCOUNT}" in operator.openbell("doctor", "production")
    for tag in TAGS:
        operator.openbell("deploy", "production", tag)
    assert "4 of 4 healthy" in operator.openbell("status")
    operator.openbell("rollback", "production")
    operator.openbell("down", "production")
    rules = {(*key, verb) for key, verbs in granted(operator).items() for verb in verbs}
    assert operator.recorder.permissions - rules == set()
    assert rules - operator.recorder.permissions == SELDOM.keys()
    refused = {one.path for one in operator.recorder.asked if one.status == FORBIDDEN}
    assert refused == {f"/api/v1/namespaces/{operator.namespace}"}, "whether the namespace is there nobody need know"


@pytest.fixture
def limited(operator: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ClusterSite]:
    """The environment as the operator has it, in this process, where kubectl is still an administrator's.

    The Role is whole again afterwards.
    """
    both = json.loads((operator.root.parent / "admin.json").read_text())
    own = json.loads(Path(operator.env["KUBECONFIG"]).read_text())
    for part in ("clusters", "users", "contexts"):
        both[part] += own[part]
    (tmp_path / "both.json").write_text(json.dumps(both))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "both.json"))
    project = open_project(operator.root).project
    environment = project.environments["production"]
    assert environment.cluster is not None
    cluster = msgspec.structs.replace(environment.cluster, context=own["current-context"])
    chosen = {"production": msgspec.structs.replace(environment, cluster=cluster)}
    project = msgspec.structs.replace(project, environments=chosen)
    yield ClusterSite(project, "production", StateFolder(Path(operator.env["OPENBELL_STATE"])))
    operator.grant()


async def test_each_rule_of_the_role_is_missed_by_name(operator: Operator, limited: ClusterSite) -> None:
    rules = granted(operator)
    for missing in rules:
        operator.grant({key: verbs for key, verbs in rules.items() if key != missing})
        group, resource = missing
        whole = f"{resource}.{group}" if group else resource
        found = await eventually_one(operator.root, limited, f" {whole} in")
        assert found.found.startswith(
            f"may not {', '.join(rules[missing])} {whole} in the namespace {operator.namespace}"
        )
        assert found.remedy.endswith("openbell render rbac production | kubectl apply -f -")


async def eventually_one(tree: Path, site: ClusterSite, words: str) -> Check:
    """Look until only what was taken away last is missing: the API server learns of a changed Role a little later."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            bad = [one for one in await site.examine(tree) if not one.ok]
            if len(bad) == 1 and words in bad[0].found:
                return bad[0]
            await asyncio.sleep(0.1)


@pytest.mark.usefixtures("limited")
def test_without_one_permission_nothing_is_begun(operator: Operator) -> None:
    key = ("gateway.networking.k8s.io", "tcproutes")
    rules = granted(operator)
    operator.grant({**rules, key: [verb for verb in rules[key] if verb != "patch"]})
    operator.openbell("doctor", "production", expect=1)
    before = everything(operator)
    said = operator.openbell("deploy", "production", TAGS[0], expect=1)
    assert said.splitlines()[-1].endswith(
        f"may not patch tcproutes.gateway.networking.k8s.io in the namespace {operator.namespace} "
        "(send new FIX sessions to a slot). An administrator gives it: "
        "openbell render rbac production | kubectl apply -f -"
    )
    assert everything(operator) == before


def everything(operator: Operator) -> str:
    """The names of all that a rollout could have made."""
    kinds = "deployments,services,secrets,jobs,pods,httproutes,tcproutes,configmaps,serviceaccounts,networkpolicies"
    return live.kubectl("get", kinds, "--namespace", operator.namespace, "--output", "name").stdout
