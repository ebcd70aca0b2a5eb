"""Helm, as a fake program on PATH that keeps what it was called with: arguments, values, failures, its end."""

import asyncio
import json
import os
import shlex
import tempfile
from pathlib import Path

import pytest

from openbell.adapters.kubernetes import helm as module
from openbell.adapters.kubernetes.helm import Helm
from openbell.ports import AdapterError
from tests.adapters.kubernetes.programs import Fake, fake

CHART = Path("chart")
BUSY = "Error: UPGRADE FAILED: another operation (install/upgrade/rollback) is in progress"
KEEP_VALUES = """
for word in "$@"; do
  case $previous in --values) cp -p "$word" "$KEPT/values";; esac
  previous=$word
done
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    # Helm's own settings must not reach the fake; temporary files are where the test can see them.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return fake(tmp_path, monkeypatch, "helm")


def helm() -> Helm:
    return Helm("kind", "trading")


# --- what it is called with


async def test_an_upgrade_names_context_namespace_and_files(program: Fake) -> None:
    await helm().upgrade("shop-blue", CHART, (Path("values.yaml"), Path("values-eks.yaml")), {"a": 1})
    (call,) = program.calls
    values = call[call.index("values-eks.yaml") + 2]
    assert call == [
        *("upgrade", "shop-blue", "chart", "--install", "--history-max", "10"),
        *("--values", "values.yaml", "--values", "values-eks.yaml", "--values", values),
        *("--namespace", "trading", "--kube-context", "kind"),
    ]


async def test_without_a_context_the_current_one_is_used(program: Fake) -> None:
    await Helm("", "trading").uninstall("shop-blue")
    assert program.calls == [["uninstall", "shop-blue", "--ignore-not-found", "--namespace", "trading"]]


async def test_rendering_returns_what_it_says(program: Fake) -> None:
    program.does('printf "kind: Job\\nname: \\303\\274\\n"')
    assert await helm().render("shop", CHART, (), {}, only="templates/migration.yaml") == "kind: Job\nname: ü\n"
    assert program.calls[0][:5] == ["template", "shop", "chart", "--show-only", "templates/migration.yaml"]
    await helm().render("shop", CHART, (), {})
    assert "--show-only" not in program.calls[1]


@pytest.mark.parametrize("status", [0, 1])
async def test_values_are_for_our_eyes_only_and_gone_afterwards(program: Fake, status: int) -> None:
    program.does(f"{KEEP_VALUES}\nexit {status}")
    values = {"config": {"PASSWORD": "hush: 'quoted'\n"}, "replicas": 2}
    try:
        await helm().upgrade("shop-blue", CHART, (), values)
        assert status == 0
    except AdapterError:
        assert status == 1
    kept = program.kept / "values"
    assert json.loads(kept.read_text()) == values
    assert kept.stat().st_mode & 0o777 == 0o600
    assert list(program.kept.parent.glob("openbell-values-*")) == []
    assert "hush" not in str(program.calls)


# --- failures


@pytest.mark.parametrize(
    ("said", "message", "retryable", "effect"),
    [
        ("Error: INSTALLATION FAILED: x", "INSTALLATION FAILED: x", False, "unknown"),
        (
            (
                "WARNING: Kubernetes configuration file is group-readable. This is insecure. Location: config\n"
                "level=WARN msg=deprecated\nError: UPGRADE FAILED: no such field\nspec.replica"
            ),
            "UPGRADE FAILED: no such field\nspec.replica",
            False,
            "unknown",
        ),
        (
            'Error: Kubernetes cluster unreachable: Get "https://h:1/version": dial tcp: connect: connection refused',
            'Kubernetes cluster unreachable: Get "https://h:1/version": dial tcp: connect: connection refused',
            True,
            "not_applied",
        ),
        (
            'Error: kubernetes cluster unreachable: context "nope" does not exist',
            'kubernetes cluster unreachable: context "nope" does not exist',
            False,
            "not_applied",
        ),
        (
            'Error: UPGRADE FAILED: create: failed to create: Post "https://h:1/x": read: connection refused',
            'UPGRADE FAILED: create: failed to create: Post "https://h:1/x": read: connection refused',
            True,
            "unknown",
        ),
        (
            "Error: values don't meet the specifications of the schema(s) in the following charts:\n- replicas",
            "values don't meet the specifications of the schema(s) in the following charts:\n- replicas",
            False,
            "not_applied",
        ),
        (
            "Error: execution error at (c/templates/a.yaml:1:6): need a",
            "execution error at (c/templates/a.yaml:1:6): need a",
            False,
            "not_applied",
        ),
        ('Error: path "/nowhere" not found', 'path "/nowhere" not found', False, "not_applied"),
        (
            'Error: deployments.apps "api" is forbidden: ValidatingAdmissionPolicy "teams" denied request: no team',
            (
                'deployments.apps "api" is forbidden: ValidatingAdmissionPolicy "teams" denied request: no team; '
                "mend the chart, or the rule that refuses it"
            ),
            False,
            "unknown",
        ),
        ("", "helm failed and does not say why", False, "unknown"),
    ],
)
async def test_a_failure_is_told_as_helm_tells_it(
    program: Fake, said: str, message: str, effect: str, *, retryable: bool
) -> None:
    program.does(f"printf %s {shlex.quote(said)} >&2; exit 1")
    with pytest.raises(AdapterError) as caught:
        await helm().upgrade("shop-blue", CHART, (), {})
    found = caught.value
    assert (found.system, found.operation, found.message) == ("helm", "upgrade", message)
    assert (found.retryable, found.effect) == (retryable, effect)


async def test_of_much_that_is_said_the_last_lines_are_kept(program: Fake) -> None:
    program.does('i=0; while [ $i -lt 50 ]; do echo "line $i" >&2; i=$((i + 1)); done; exit 1')
    with pytest.raises(AdapterError) as caught:
        await helm().uninstall("shop-blue")
    assert caught.value.message.splitlines() == [f"line {number}" for number in range(38, 50)]


async def test_rendering_changes_nothing_however_it_fails(program: Fake) -> None:
    program.does("echo 'Error: chart requires kubeVersion' >&2; exit 1")
    with pytest.raises(AdapterError, match="chart requires kubeVersion") as caught:
        await helm().render("shop", CHART, (), {})
    assert (caught.value.operation, caught.value.effect) == ("template", "not_applied")


async def test_without_helm_its_installation_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AdapterError, match=r"helm is not on PATH; install it") as caught:
        await helm().upgrade("shop-blue", CHART, (), {})
    assert (caught.value.retryable, caught.value.effect) == (False, "not_applied")


# --- a release that is being changed


def pending(status: str, times: int) -> str:
    """A Helm that is busy until a release has another status, or has been taken back."""
    return f"""
    case $1 in
      status)
        echo x >>"$KEPT/asked"
        if [ "$(wc -l <"$KEPT/asked")" -le {times} ]; then state={status}; else state=deployed; fi
        echo '{{"name": "shop-blue", "info": {{"status": "'$state'"}}, "version": 2}}' ;;
      upgrade)
        if [ -e "$KEPT/back" ] || [ "$(cat "$KEPT/asked" 2>/dev/null | wc -l)" -gt {times} ]; then exit 0; fi
        echo '{BUSY}' >&2; exit 1 ;;
      *) touch "$KEPT/back" ;;
    esac"""


async def test_another_helm_at_work_is_waited_for(program: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PENDING_POLL_S", 0.0)
    program.does(pending("pending-upgrade", 2))
    await helm().upgrade("shop-blue", CHART, (), {})
    assert [call[0] for call in program.calls] == ["upgrade", "status", "status", "status", "upgrade"]


@pytest.mark.parametrize(("status", "back"), [("pending-install", "uninstall"), ("pending-upgrade", "rollback")])
async def test_what_a_killed_helm_has_left_is_taken_back(
    program: Fake, monkeypatch: pytest.MonkeyPatch, status: str, back: str
) -> None:
    monkeypatch.setattr(module, "PENDING_TIMEOUT_S", -1.0)
    program.does(pending(status, 99))
    await helm().upgrade("shop-blue", CHART, (), {})
    assert [call[0] for call in program.calls] == ["upgrade", "status", back, "upgrade"]
    assert program.calls[2] == [back, "shop-blue", "--namespace", "trading", "--kube-context", "kind"]


async def test_one_that_is_busy_again_did_nothing(program: Fake) -> None:
    program.does(
        f"""[ $1 = status ] && echo '{{"info": {{"status": "deployed"}}}}' && exit; echo '{BUSY}' >&2; exit 1"""
    )
    with pytest.raises(AdapterError, match="is in progress") as caught:
        await helm().upgrade("shop-blue", CHART, (), {})
    assert (caught.value.retryable, caught.value.effect) == (True, "not_applied")


async def test_a_status_that_nobody_knows_is_told(program: Fake) -> None:
    program.does(f"[ $1 = status ] && echo nonsense && exit; echo '{BUSY}' >&2; exit 1")
    with pytest.raises(AdapterError, match="the status of shop-blue is not what Helm documents"):
        await helm().upgrade("shop-blue", CHART, (), {})


# --- its end


@pytest.mark.parametrize("ignores", ["", "trap '' TERM;"])
async def test_cancelling_ends_the_program(program: Fake, monkeypatch: pytest.MonkeyPatch, ignores: str) -> None:
    monkeypatch.setattr(module, "END_TIMEOUT_S", 0.1)
    program.does(f'{ignores} echo $$ >"$KEPT/pid.new"; mv "$KEPT/pid.new" "$KEPT/pid"; while :; do sleep 0.01; done')
    upgrade = asyncio.create_task(helm().upgrade("shop-blue", CHART, (), {}))
    process = await program.pid()
    upgrade.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upgrade
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
    assert list(program.kept.parent.glob("openbell-values-*")) == []
