"""What a run tells OpenTelemetry: names, kinds, attributes and parents by the conventions, and no secret."""

import re
from pathlib import Path

import msgspec
import pytest

from openbell.cli.parser import parse_and_run
from openbell.wiring.rollouts import RolloutDocument
from openbell.wiring.telemetry import describe_rollout
from tests.fakes.otlp import Receiver, attributes, receiving
from tests.fakes.projects import ScratchProject, isolate

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
SECRET = "tr0ub4dor-and-3"
PROJECT = """
[project]
name = "quick"
[jobs.lint]
stage = "quality"
run = "echo ${TRACEPARENT:-none}"
[jobs.unit]
stage = "test"
run = '''
echo "a.go:3:5: undefined: $TOKEN"
exit 1
'''
secrets = ["TOKEN"]
[jobs.bundle]
stage = "build"
run = "touch {out}/x"
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ScratchProject:
    isolate(monkeypatch, tmp_path)
    for name in ("TRACEPARENT", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_SDK_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TOKEN", SECRET)
    made = ScratchProject(tmp_path / "p", PROJECT)
    made.repository.git(
        "remote", "add", "origin", f"https://user:{SECRET}@git.example/trading/quick.git?token={SECRET}"
    )
    monkeypatch.chdir(made.root)
    return made


def run_under(receiver: Receiver, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
    monkeypatch.setattr("openbell.wiring.telemetry.LIMIT_S", 20.0)
    return parse_and_run(["run", *arguments])


@pytest.mark.slow
def test_a_run_that_fails_is_told_by_the_conventions(
    project: ScratchProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRACEPARENT", PARENT)
    with receiving() as receiver:
        assert run_under(receiver, monkeypatch, "--trigger", "push") == 1
    err = capsys.readouterr().err
    name = err.split()[1]
    assert "Telemetry was not sent" not in err
    run, unit, lint = receiver.span("RUN quick"), receiver.span("unit"), receiver.span("lint")
    assert (run.kind, unit.kind) == (2, 1)
    assert (run.trace_id.hex(), run.parent_span_id.hex()) == (PARENT[3:35], PARENT[36:52])
    assert {span.parent_span_id for span in (unit, lint, receiver.span("bundle"))} == {run.span_id}
    told = attributes(run)
    assert told["cicd.pipeline.name"] == "quick"
    assert told["cicd.pipeline.run.id"] == name
    assert (told["cicd.pipeline.result"], told["error.type"]) == ("failure", "go-compile")
    assert told["vcs.ref.head.revision"] == project.repository.git("rev-parse", "HEAD")
    assert (told["vcs.ref.head.name"], told["vcs.ref.head.type"]) == ("develop", "branch")
    assert told["vcs.repository.url.full"] == "https://git.example/trading/quick.git"
    task = attributes(unit)
    assert (task["cicd.pipeline.task.name"], task["cicd.pipeline.task.type"]) == ("unit", "test")
    assert (task["cicd.pipeline.task.run.id"], task["cicd.pipeline.task.run.result"]) == (f"{name}/unit", "failure")
    assert task["error.type"] == "go-compile"
    assert task["cicd.pipeline.task.run.url.full"].startswith("file:///")
    assert attributes(receiver.span("bundle"))["cicd.pipeline.task.run.result"] == "skip"
    assert run.start_time_unix_nano <= lint.start_time_unix_nano <= lint.end_time_unix_nano <= run.end_time_unix_nano
    log = (project.open().state.run(name) / "logs" / "lint.log").read_text().strip()
    assert log == f"00-{run.trace_id.hex()}-{lint.span_id.hex()}-01", "what the job measures belongs to its span"
    assert SECRET.encode() not in receiver.raw
    check_metrics(receiver)


def check_metrics(receiver: Receiver) -> None:
    states = {attributes(p)["cicd.pipeline.run.state"]: p for p in receiver.points("cicd.pipeline.run.duration")}
    assert states.keys() == {"pending", "executing", "finalizing"}
    assert attributes(states["executing"])["cicd.pipeline.result"] == "failure"
    assert "cicd.pipeline.result" not in attributes(states["pending"])
    assert [point.as_int for point in receiver.points("cicd.pipeline.run.active")] == [1, 0], "at its begin, at its end"
    (errors,) = receiver.points("cicd.pipeline.run.errors")
    assert (errors.as_int, attributes(errors)["error.type"]) == (1, "go-compile")


@pytest.mark.slow
def test_a_job_is_not_run_again_for_another_trace(
    project: ScratchProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with receiving() as receiver:
        run_under(receiver, monkeypatch, "--job", "lint")
        assert run_under(receiver, monkeypatch, "--job", "lint") == 0
    assert "(cached: " in capsys.readouterr().err
    first, second = (span for span in receiver.spans if span.name == "RUN quick")
    assert first.trace_id != second.trace_id
    cached = [span for span in receiver.spans if span.name == "lint"][1]
    assert attributes(cached)["openbell.cached"]
    assert cached.start_time_unix_nano == cached.end_time_unix_nano


@pytest.mark.slow
def test_a_receiver_that_is_gone_is_said_once_and_changes_nothing(
    project: ScratchProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("opentelemetry.sdk", reason="openbell[telemetry] is not installed")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://user:{SECRET}@127.0.0.1:9/x")
    assert parse_and_run(["run", "--job", "lint"]) == 0
    err = capsys.readouterr().err
    assert err.count("Telemetry was not sent to http://127.0.0.1:9/x: ") == 1
    assert SECRET not in err


def test_without_an_endpoint_nobody_is_told_and_a_callers_trace_goes_on(
    project: ScratchProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRACEPARENT", PARENT)
    assert parse_and_run(["run", "--job", "lint"]) == 0
    run = capsys.readouterr().err.split()[1]
    assert (project.open().state.run(run) / "logs" / "lint.log").read_text().strip() == PARENT


def test_it_can_be_turned_off(project: ScratchProject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    with receiving() as receiver:
        assert run_under(receiver, monkeypatch, "--job", "lint") == 0
    assert receiver.spans == []


def test_a_rollout_is_told_with_its_environment(project: ScratchProject) -> None:
    state = msgspec.convert(
        {
            "id": "r-1", "environment": "production", "strategy": "blue-green", "release": "sha256:1", "version": "v1",
            "outcome": "rolled-back", "reason": f"the log says {SECRET}", "duration_s": 9.0, "switch_ms": None,
            "detected_s": None, "requests": 1, "errors": 1,
        },
        RolloutDocument,
    )  # fmt: skip
    told = describe_rollout(project.open().project, state, 100.0)
    (span,) = told.spans
    assert (span.name, span.kind, span.error_type) == ("RUN quick deploy", "server", "rolled-back")
    assert span.attributes["deployment.environment.name"] == "production"
    assert (span.attributes["deployment.status"], span.attributes["deployment.id"]) == ("failed", "r-1")
    assert (span.begin_at_s, span.end_at_s) == (100, 109)
    assert [re.sub(r".*\.", "", one.name) for one in told.measurements] == ["duration", "errors"]
    assert SECRET not in repr(told), "reasons may quote a log; they are not told"
