"""What a run and a rollout tell OpenTelemetry: from their documents to spans and measurements, and where those go.

Nothing that a job printed and no reason goes along, only names, outcomes and times: no secret can be among them.
"""

import os
import re
import socket
import threading
from collections.abc import Mapping
from urllib.parse import urlsplit, urlunsplit

import openbell
from openbell.adapters import git
from openbell.adapters.opentelemetry import LIMIT_S, send
from openbell.core.pipeline import slug
from openbell.core.project import Project
from openbell.core.telemetry import (
    ACTION,
    ACTIVE,
    DURATION,
    ERRORS,
    OTHER_ERROR,
    RESULTS,
    STATE,
    TASK_TYPES,
    Measurement,
    Result,
    SpanFact,
    Telemetry,
    Trace,
    Value,
    begin_trace,
)
from openbell.wiring.pipeline import Deployment, JobDocument, PreparedRun, RunDocument
from openbell.wiring.project import OpenProject
from openbell.wiring.rollouts import RolloutDocument
from openbell.wiring.trace import ENDPOINT, TRACEPARENT, endpoint_of, trace_of

SHORT_LIMIT_S = 0.5
"""Whoever did not answer when the run began gets this long when it has ended."""

RUN_RESULTS: dict[str, Result] = {"success": "success", "failure": "failure", "cancelled": "cancellation"}
DEPLOYMENT_RESULTS: dict[str, Result] = {
    "promoted": "success", "rolled-back": "failure", "failed": "failure", "skipped": "skip", "waiting": "skip",
    "running": "cancellation",
}  # fmt: skip


class RunTelemetry:
    """Tells of one run, when it begins and when it has ended."""

    def __init__(self, prepared: PreparedRun) -> None:
        self.prepared = prepared
        self.endpoint = endpoint_of(prepared.place.project)
        self.problems: list[str] = []
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Say that a run is active, beside the run: nobody waits for it."""
        if self.endpoint:
            self._thread = threading.Thread(target=self._say_active, daemon=True)
            self._thread.start()

    def end(self, found: RunDocument) -> str:
        """Tell of a run that has ended; returns what a person should know, once, when nobody has taken it."""
        if not self.endpoint:
            return ""
        if self._thread is not None:
            self._thread.join(SHORT_LIMIT_S)
        limit_s = SHORT_LIMIT_S if any(self.problems) else LIMIT_S
        problem = self._send(describe_run(self.prepared, found, trace_of(self.prepared)), limit_s)
        return f"Telemetry was not sent to {_harmless(self.endpoint)}: {problem}." if problem else ""

    def _say_active(self) -> None:
        name = self.prepared.place.project.project.name
        active = Measurement(ACTIVE, 1, {"cicd.pipeline.name": name, STATE: "executing"})
        self.problems.append(self._send(Telemetry(trace_of(self.prepared).trace_id, (), (active,)), LIMIT_S))

    def _send(self, told: Telemetry, limit_s: float) -> str:
        resource = _resource(self.prepared.workplace.run)
        return send(told, resource, self.endpoint, own_headers=bool(os.environ.get(ENDPOINT)), limit_s=limit_s)


def describe_run(prepared: PreparedRun, found: RunDocument, trace: Trace) -> Telemetry:
    """Put a run that has ended into spans and measurements."""
    name = prepared.place.project.project.name
    begin_at_s, end_at_s = found.begin_at_s, found.begin_at_s + found.duration_s
    result, error = _run_result(found)
    run = SpanFact(
        f"{ACTION} {name}", "server", trace.span_id, trace.parent_id, begin_at_s, end_at_s,
        {
            "cicd.pipeline.name": name, "cicd.pipeline.run.id": found.run, "cicd.pipeline.result": result,
            "cicd.pipeline.action.name": ACTION, "cicd.pipeline.run.url.full": _url(prepared, "run.json"),
            "openbell.trigger": found.trigger, **_vcs(prepared, found),
        },
        error,
    )  # fmt: skip
    spans = [run, *(_task(prepared, found, trace, job) for job in found.jobs)]
    end_s = end_at_s
    for one in reversed(found.deployments):
        if one.outcome != "skipped":
            spans.append(_deployment(found, trace, one, end_s))
            end_s -= one.duration_s
    return Telemetry(trace.trace_id, tuple(spans), tuple(_measure(name, found, result, error)), trace.sampled)


def _run_result(found: RunDocument) -> tuple[Result, str]:
    if found.outcome == "failure" and any(job.outcome == "timeout" and not job.allowed_to_fail for job in found.jobs):
        return "timeout", "timeout"
    kinds = [_error_of(job) for job in found.jobs if job.outcome == "failure" and not job.allowed_to_fail]
    result = RUN_RESULTS.get(found.outcome, "success")
    return result, next(iter(kinds), OTHER_ERROR) if result == "failure" else ""


def _error_of(job: JobDocument) -> str:
    if job.outcome == "timeout":
        return "timeout"
    return job.diagnosis.kind if job.diagnosis is not None else OTHER_ERROR


def _task(prepared: PreparedRun, found: RunDocument, trace: Trace, job: JobDocument) -> SpanFact:
    begin_at_s = found.begin_at_s + (job.times.begin_s if job.times else 0.0)
    duration_s = job.times.duration_s if job.times and not job.from_run else 0.0
    attributes: dict[str, Value] = {
        "cicd.pipeline.task.name": job.name,
        "cicd.pipeline.task.run.id": f"{found.run}/{slug(job.name)}",
        "cicd.pipeline.task.run.result": RESULTS[job.outcome],
        "cicd.pipeline.task.run.url.full": _url(prepared, f"logs/{slug(job.name)}.log"),
        "openbell.stage": job.stage,
        "openbell.cached": bool(job.from_run),
    }
    if job.stage in TASK_TYPES:
        attributes["cicd.pipeline.task.type"] = TASK_TYPES[job.stage]
    error = _error_of(job) if job.outcome in ("failure", "timeout") else ""
    return SpanFact(
        job.name, "internal", trace.task(job.name), trace.span_id, begin_at_s, begin_at_s + duration_s, attributes,
        error,
    )  # fmt: skip


def _deployment(found: RunDocument, trace: Trace, one: Deployment, end_at_s: float) -> SpanFact:
    name = f"deploy {one.environment}"
    result = DEPLOYMENT_RESULTS[one.outcome]
    attributes: dict[str, Value] = {
        "cicd.pipeline.task.name": name,
        "cicd.pipeline.task.run.id": f"{found.run}/{one.rollout or one.environment}",
        "cicd.pipeline.task.run.result": result,
        "cicd.pipeline.task.type": "deploy",
        "deployment.environment.name": one.environment,
        **_status(one.outcome, one.rollout),
    }
    error = one.outcome if result == "failure" else ""
    return SpanFact(
        name, "internal", trace.task(name), trace.span_id, end_at_s - one.duration_s, end_at_s, attributes, error
    )  # fmt: skip


def _status(outcome: str, rollout: str) -> dict[str, Value]:
    status = {"promoted": "succeeded", "rolled-back": "failed", "failed": "failed"}.get(outcome)
    found = {"deployment.status": status, "deployment.id": rollout}
    return {name: value for name, value in found.items() if value}


def _measure(name: str, found: RunDocument, result: Result, error: str) -> list[Measurement]:
    """Measure a run by the states that it went through: its result belongs to those that follow the execution."""
    pipeline: dict[str, Value] = {"cicd.pipeline.name": name}
    executed = [job.times for job in found.jobs if job.times and not job.from_run and job.times.duration_s]
    before_s = min((one.begin_s for one in executed), default=0.0)
    after_s = max(0.0, found.duration_s - max((one.end_s for one in executed), default=found.duration_s))
    ended: dict[str, Value] = {"cicd.pipeline.result": result, **({"error.type": error} if error else {})}
    told = [
        Measurement(DURATION, before_s, {**pipeline, STATE: "pending"}),
        Measurement(DURATION, found.duration_s - before_s - after_s, {**pipeline, STATE: "executing", **ended}),
        Measurement(DURATION, after_s, {**pipeline, STATE: "finalizing", **ended}),
        Measurement(ACTIVE, 0, {**pipeline, STATE: "executing"}),
    ]  # fmt: skip
    broken = [job for job in found.jobs if job.outcome in ("failure", "timeout")]
    return [*told, *(Measurement(ERRORS, 1, {**pipeline, "error.type": _error_of(job)}) for job in broken)]


def tell_of_rollout(place: OpenProject, state: RolloutDocument, begin_at_s: float) -> str:
    """Tell of a rollout that was begun by itself; returns what a person should know when nobody has taken it."""
    endpoint = endpoint_of(place.project)
    if not endpoint:
        return ""
    told = describe_rollout(place.project, state, begin_at_s)
    problem = send(told, _resource(state.id), endpoint, own_headers=bool(os.environ.get(ENDPOINT)))
    return f"Telemetry was not sent to {_harmless(endpoint)}: {problem}." if problem else ""


def describe_rollout(project: Project, state: RolloutDocument, begin_at_s: float) -> Telemetry:
    """Put a rollout into a span and measurements: to those who ask, it is a run of the pipeline that deploys."""
    trace = begin_trace(os.environ.get(TRACEPARENT, ""), socket.gethostname(), state.id, str(begin_at_s))
    name = f"{project.project.name} deploy"
    result = DEPLOYMENT_RESULTS[state.outcome]
    error = state.outcome if result == "failure" else ""
    attributes: dict[str, Value] = {
        "cicd.pipeline.name": name, "cicd.pipeline.run.id": state.id, "cicd.pipeline.result": result,
        "cicd.pipeline.action.name": ACTION, "deployment.environment.name": state.environment,
        "openbell.strategy": state.strategy, "openbell.version": state.version, **_status(state.outcome, state.id),
    }  # fmt: skip
    end_at_s = begin_at_s + state.duration_s
    span = SpanFact(
        f"{ACTION} {name}", "server", trace.span_id, trace.parent_id, begin_at_s, end_at_s, attributes, error
    )
    measured: dict[str, Value] = {
        "cicd.pipeline.name": name, STATE: "executing", "cicd.pipeline.result": result,
        "deployment.environment.name": state.environment, **({"error.type": error} if error else {}),
    }  # fmt: skip
    told = [Measurement(DURATION, state.duration_s, measured)]
    told += [Measurement(ERRORS, 1, {"cicd.pipeline.name": name, "error.type": error})] if error else []
    return Telemetry(trace.trace_id, (span,), tuple(told), trace.sampled)


def _vcs(prepared: PreparedRun, found: RunDocument) -> dict[str, Value]:
    kind = {"branch": "branch", "tag": "tag"}.get(prepared.plan.trigger.ref_kind)
    url = _harmless(git.remote_url(prepared.place.root))
    known: Mapping[str, str | None] = {
        "vcs.ref.head.name": found.ref,
        "vcs.ref.head.revision": found.commit,
        "vcs.ref.head.type": kind,
        "vcs.ref.base.name": prepared.plan.trigger.target,
        "vcs.repository.url.full": url,
        "vcs.repository.name": url.rpartition("/")[2].removesuffix(".git") if url else "",
    }
    return {name: value for name, value in known.items() if value}


def _harmless(url: str) -> str:
    """Leave out of a URL what may be a login: the part before the host, and what is asked for."""
    if re.match(r"[\w+.-]+://", url):
        parts = urlsplit(url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    return url.rpartition("@")[2]


def _url(prepared: PreparedRun, name: str) -> str:
    return (prepared.workplace.folder / name).absolute().as_uri()


def _resource(instance: str) -> dict[str, Value]:
    return {
        "service.name": "openbell", "service.version": openbell.__version__, "service.instance.id": instance,
        "host.name": socket.gethostname(),
    }  # fmt: skip
