"""From workflows to the documents of GitHub Actions: one per workflow, and two actions that their jobs share.

What it keeps: no permission that is not needed, no credential left in a checkout, no secret outside the step that needs
it, and nothing that a user wrote inside a script: scripts get it by environment variables. Results go from job to job
as artifacts of the run (`openbell.wiring.shared_run`), and from run to run as caches under their fingerprints.
"""

import math
import re
from collections.abc import Mapping, Sequence

import msgspec

from openbell.adapters.github_workflow.filters import branch_filter, condition, literal, possible, tag_filter
from openbell.adapters.github_workflow.pins import own, pinned
from openbell.adapters.github_workflow.yaml import Value
from openbell.core.project import Project
from openbell.core.workflow import Delivery, Work, Workflow
from openbell.ports import AdapterError

Document = Mapping[str, Value]

SETUP_MIN = 10
"""Minutes that a machine may take beside its job: what is installed first is downloaded."""
TIMEOUT_MIN_MAX = 360
VERDICT_MIN = 20
ARTIFACT_DAYS = 14
TAKEN = "$RUNNER_TEMP/openbell/taken"
LEFT = "$RUNNER_TEMP/openbell/left"
TEMPORARY = "${{ runner.temp }}/openbell"
CACHES = "~/.cache/uv\n~/.cache/go-build\n~/go/pkg/mod\n"
LOCKED = "'*.lock' '*requirements*.txt' '*go.sum'"
_SECRET = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Place(msgspec.Struct, frozen=True):
    """Where a project is in its repository, and what is in it: `folder` is "" at the top, else "engine"."""

    folder: str = ""
    has_python: bool = False
    has_go: bool = False
    languages: tuple[str, ...] = ()

    @property
    def infix(self) -> str:
        """What tells the files of this project from those of others in the repository."""
        return "".join(f"-{re.sub('[^A-Za-z0-9_-]+', '-', part)}" for part in self.folder.split("/") if part)

    def path(self, name: str) -> str:
        """A path of the project as it is from the top of the repository."""
        return f"{self.folder}/{name}" if self.folder else name


def workflow(one: Workflow, project: Project, place: Place) -> Document:
    """Compose the document of one workflow."""
    ids = _ids(one)
    jobs: dict[str, Value] = {ids[work.name]: _job(work, one, project, place, ids) for work in one.work}
    jobs[ids[VERDICT]] = _verdict(one, project, place, [ids[work.name] for work in one.work])
    for delivery in one.deliveries:
        jobs[ids[f"deploy {delivery.environment}"]] = _delivery(delivery, one, project, place, ids[VERDICT])
    title = f"{project.project.name}: {one.kind.replace('-', ' ')}".replace("${{", "$ {{")
    head: dict[str, Value] = {
        "name": title,
        "on": _events(one),
        "permissions": {},
        "concurrency": {
            "group": "${{ github.workflow }}-${{ github.ref }}",
            "cancel-in-progress": one.kind == "pull-request",
        },
    }
    if place.folder:
        head["defaults"] = {"run": {"working-directory": place.folder}}
    return {**head, "jobs": jobs}


VERDICT = " verdict"
"""The job that gathers; with a space in front, so that no job of a user has the name."""


def _ids(one: Workflow) -> dict[str, str]:
    """Give each job an id as GitHub wants them: letters, digits, - and _, and no two alike but for capitals."""
    taken: dict[str, str] = {}
    ids = {}
    for name in (*(work.name for work in one.work), VERDICT, *(f"deploy {d.environment}" for d in one.deliveries)):
        plain = re.sub("[^A-Za-z0-9_-]", "-", name.strip())
        plain = plain if re.match("[A-Za-z_]", plain) else f"_{plain}"
        while taken.setdefault(plain.lower(), name) != name:
            plain += "_"
        ids[name] = plain
    return ids


def _events(one: Workflow) -> Document:
    match one.kind:
        case "pull-request":
            return {"pull_request": None}
        case "branches":
            return {"push": {"branches": ["**"]}}
        case "tags":
            return {"push": {"tags": _tags(one.patterns)}}
        case _:
            return {"schedule": [{"cron": one.cron}], "workflow_dispatch": None}


def _tags(patterns: Sequence[str]) -> list[Value]:
    written: list[Value] = [tag_filter(pattern) for pattern in possible(patterns)]
    if not written:
        message = f"branches.tags: no tag can fit {', '.join(patterns)}. Write a pattern such as v*.*.*, or none."
        raise AdapterError("github", "render", message, effect="not_applied")
    return written


def _job(work: Work, one: Workflow, project: Project, place: Place, ids: Mapping[str, str]) -> Document:
    leg, several = work.legs[0], len(work.legs) > 1 or work.legs[0].id != work.name
    job_id, short, slug = ("${{ matrix.id }}", "${{ matrix.short }}", "${{ matrix.slug }}")
    if not several:
        job_id, short, slug = literal(leg.id), literal(leg.short), literal(leg.slug)
    job: dict[str, Value] = {"name": short}
    if work.needs:
        job["needs"] = [ids[need] for need in work.needs]
    if wanted := condition(work.only) if work.only else "":
        job["if"] = f"${{{{ {wanted} }}}}"
    if several:
        include = [{key: literal(getattr(each, key)) for key in ("id", "short", "slug")} for each in work.legs]
        job["strategy"] = {"fail-fast": work.fail_fast, "matrix": {"include": include}}
    limit_min = min(TIMEOUT_MIN_MAX, SETUP_MIN + math.ceil(work.timeout_s / 60))
    secrets = {name: f"${{{{ secrets.{_secret(name)} }}}}" for name in work.secrets}
    options = [*_trigger(one), *([] if one.reuses else ["--no-cache"])]
    run = ["openbell run", '--job "$JOB"', *options, f'--take "{TAKEN}"', f'--leave "{LEFT}"']
    return {
        **job,
        "runs-on": _labels(project.workflows.runs_on),
        "timeout-minutes": limit_min,
        "permissions": {"contents": "read", **_findings_permission(work), **work.permissions},
        "steps": [
            _checkout(),
            _prepare(place, job=job_id, reuse=one.reuses and work.keeps, take=work.takes),
            {"name": "Run", "id": "run", "env": {"JOB": job_id, **secrets}, "run": _command(run)},
            _finish(place, work, one, slug),
        ],
    }


def _findings_permission(work: Work) -> dict[str, Value]:
    return {"security-events": "write"} if work.findings else {}


def _trigger(one: Workflow) -> list[str]:
    """Say what the run is for; the names of refs come from variables, never from the text of a script."""
    options = {
        "pull-request": ["--trigger pull-request", '--target "$GITHUB_BASE_REF"'],
        "push": ["--trigger push", '--ref "$GITHUB_REF_NAME"'],
        "tag": ["--trigger tag", '--ref "$GITHUB_REF_NAME"'],
        "schedule": ["--trigger schedule"],
    }
    return options[one.trigger]


def _command(words: Sequence[str]) -> str:
    return " \\\n  ".join(words) + "\n"


def _shown(words: Sequence[str]) -> str:
    """Write a command whose words are shown on the run's page too; `bash` as a shell fails where a pipe does."""
    pipe = f'--take "{TAKEN}" 2>&1 | tee -a "$GITHUB_STEP_SUMMARY"'
    return "echo '~~~~~~~~~~~~~~~~' >> \"$GITHUB_STEP_SUMMARY\"\n" + _command([*words, pipe])


def _checkout() -> Document:
    # The whole history: secrets are searched in it, and changes are measured against where they began.
    return {"uses": pinned("actions/checkout"), "with": {"persist-credentials": False, "fetch-depth": 0}}


def _prepare(place: Place, *, job: str, reuse: bool, take: bool) -> Document:
    given: dict[str, Value] = {"job": job} if job else {}
    given |= {"reuse": reuse, "take": take}
    return {
        "name": "Prepare",
        "id": "prepare",
        "uses": own(f"openbell{place.infix}-prepare"),
        "with": given,
    }


def _finish(place: Place, work: Work, one: Workflow, slug: str) -> Document:
    given: dict[str, Value] = {"slug": slug, "outcome": "${{ steps.run.outcome }}"}
    if one.writes and work.keeps:
        given |= {
            "key": "${{ steps.prepare.outputs.key }}",
            "hit": "${{ steps.prepare.outputs.hit }}",
            "tools-key": "${{ steps.prepare.outputs.tools-key }}",
            "tools-hit": "${{ steps.prepare.outputs.tools-hit }}",
        }
    given |= {"findings": literal(work.findings)} if work.findings else {}
    given |= (
        {"coverage": literal(work.coverage), "coverage-token": "${{ secrets.CODECOV_TOKEN }}"} if work.coverage else {}
    )
    return {
        "name": "Finish",
        "if": "${{ always() }}",
        "uses": own(f"openbell{place.infix}-finish"),
        "with": given,
    }


def _verdict(one: Workflow, project: Project, place: Place, needs: Sequence[str]) -> Document:
    """The job that says what the run is worth: nothing runs in it, and all results come together."""
    options = [*_trigger(one), *([f"--stage {','.join(one.stages)}"] if one.stages else [])]
    ledgered = _has_ledger(one, project)
    keep: dict[str, Value] = {
        "name": "openbell-release",
        "path": place.path(".openbell/releases"),
        "include-hidden-files": True,
        "if-no-files-found": "ignore",
        "retention-days": ARTIFACT_DAYS,
    }
    return {
        "name": VERDICT.strip(),
        "needs": list(needs),
        # A job that was skipped passes for one that passed elsewhere; here it is missing.
        "if": "${{ !cancelled() }}",
        "runs-on": _labels(project.workflows.runs_on),
        "timeout-minutes": VERDICT_MIN,
        "permissions": {"contents": "read"},
        "steps": [
            _checkout(),
            _prepare(place, job="", reuse=False, take=True),
            *(_fetch_ledger(place) if ledgered else ()),
            {"name": "Gather", "shell": "bash", "run": _shown(["openbell run --gather --no-deploy", *options])},
            *(_judge_ledger() if ledgered and one.kind == "nightly" else ()),
            *(_keep_ledger(project, place) if ledgered and one.writes else ()),
            {"name": "Keep the release", "uses": pinned("actions/upload-artifact"), "with": keep},
        ],
    }


def _has_ledger(one: Workflow, project: Project) -> bool:
    """Whether findings are compared with those of earlier runs; a release is not, nor is what reuses nothing."""
    return one.reuses and any(job.reports.sarif for job in project.jobs.values())


def _ledger(place: Place) -> dict[str, Value]:
    begins = f"openbell{place.infix}-ledger-"
    branch, main = "${{ github.base_ref || github.ref_name }}", "${{ github.event.repository.default_branch }}"
    return {
        "path": place.path(".openbell/findings.sqlite*"),
        "key": f"{begins}{branch}-${{{{ github.run_id }}}}-${{{{ github.run_attempt }}}}",
        "restore-keys": f"{begins}{branch}-\n{begins}{main}-\n",
    }


def _fetch_ledger(place: Place) -> list[Value]:
    """Fetch the ledger of the branch, or of the one that it would go to: only what is new fails a change."""
    return [{"name": "Fetch the ledger of findings", "uses": pinned("actions/cache/restore"), "with": _ledger(place)}]


def _keep_ledger(project: Project, place: Place) -> list[Value]:
    """Keep the ledger of a branch that has one, also when the run has failed: what was found stays found."""
    wanted = condition(project.branches.build)
    given = {key: value for key, value in _ledger(place).items() if key != "restore-keys"}
    step: dict[str, Value] = {
        "name": "Keep the ledger of findings",
        "if": f"${{{{ !cancelled(){f' && ({wanted})' if wanted else ''} }}}}",
        "uses": pinned("actions/cache/save"),
        "with": given,
    }
    return [step] if project.branches.build else []


def _judge_ledger() -> list[Value]:
    return [{"name": "Findings that are due", "if": "${{ !cancelled() }}", "run": "openbell findings due\n"}]


def _delivery(delivery: Delivery, one: Workflow, project: Project, place: Place, verdict: str) -> Document:
    environment: dict[str, Value] = {"name": literal(delivery.environment)}
    if delivery.url:
        environment["url"] = literal(delivery.url)
    secrets = {name: f"${{{{ secrets.{_secret(name)} }}}}" for name in delivery.secrets}
    wanted = condition([delivery.pattern])
    # Said in full: left to itself, a job is skipped when any other before it was.
    conditions = ["!cancelled()", f"needs.{verdict}.result == 'success'", *([f"({wanted})"] if wanted else [])]
    run = ["openbell run --gather", *_trigger(one), '--environment "$ENVIRONMENT"', f'--take "{TAKEN}"']
    return {
        "name": literal(f"deploy {delivery.environment}"),
        "needs": [verdict],
        "if": f"${{{{ {' && '.join(conditions)} }}}}",
        "runs-on": _labels(project.workflows.deploy_runs_on),
        "timeout-minutes": TIMEOUT_MIN_MAX,
        "permissions": {"contents": "read"},
        "environment": environment,
        # One deployment at a time; the next one waits, and none is cut off in the middle.
        "concurrency": {"group": f"deploy{place.infix}-{literal(delivery.environment)}", "cancel-in-progress": False},
        "steps": [
            _checkout(),
            _prepare(place, job="", reuse=False, take=True),
            {"name": "Deploy", "env": {"ENVIRONMENT": literal(delivery.environment), **secrets}, "run": _command(run)},
        ],
    }


def _secret(name: str) -> str:
    if not _SECRET.fullmatch(name) or (name.upper().startswith("GITHUB_") and name != "GITHUB_TOKEN"):
        message = f'secret "{name}": GitHub keeps no secret of that name. Use letters, digits and "_", and no GITHUB_.'
        raise AdapterError("github", "render", message, effect="not_applied")
    return name


def _labels(labels: Sequence[str]) -> Value:
    return literal(labels[0]) if len(labels) == 1 else [literal(label) for label in labels]


def prepare_action(project: Project, place: Place) -> Document:
    """Compose the action that makes a machine ready for a job: tools, openbell, what others left, what is known."""
    tools = "openbell-tools-${{ runner.os }}"
    reuse = "${{ inputs.reuse == 'true' }}"
    keyed = "${{ steps.key.outputs.key != '' }}"
    cached = {"path": CACHES, "key": f"{tools}-${{{{ steps.locked.outputs.hash }}}}", "restore-keys": f"{tools}-\n"}
    steps: list[Value] = [
        {"uses": pinned("actions/setup-python"), "with": {"python-version": literal(project.workflows.python)}}
    ]
    if place.has_python:
        steps.append({"uses": pinned("astral-sh/setup-uv"), "with": {"enable-cache": False}})
    if place.has_go:
        given: dict[str, Value] = {"go-version-file": place.path("go.mod"), "cache": False}
        steps.append({"uses": pinned("actions/setup-go"), "with": given})
    steps += [
        _script("locked", f'echo "hash=$(git ls-files -s -- {LOCKED} | sha256sum | cut -c-16)" >> "$GITHUB_OUTPUT"'),
        {"id": "tools", "if": reuse, "uses": pinned("actions/cache/restore"), "with": cached},
        {**_script("install", project.workflows.install.strip() + "\n"), **_folder(place)},
        {
            "if": "${{ inputs.take == 'true' }}",
            "uses": pinned("actions/download-artifact"),
            "with": {"pattern": "openbell-result-*", "path": f"{TEMPORARY}/taken", "merge-multiple": True},
        },
        {
            "if": "${{ inputs.reuse == 'true' && inputs.job != '' }}",
            **_script("key", 'key=$(openbell fingerprint "$JOB")\necho "key=$key" >> "$GITHUB_OUTPUT"\n'),
            "env": {"JOB": "${{ inputs.job }}"},
            **_folder(place),
        },
        {
            "id": "result",
            "if": keyed,
            "uses": pinned("actions/cache/restore"),
            "with": {"path": f"{TEMPORARY}/left", "key": "openbell-result-${{ steps.key.outputs.key }}"},
        },
    ]
    inputs = {
        "job": _input("the job whose earlier result is looked for", default=""),
        "reuse": _input("whether results and tools of earlier runs are used", default="false"),
        "take": _input("whether results of other jobs of this run are taken", default="false"),
    }
    outputs = {
        "key": _output("under which the result may be kept", "steps.key.outputs.key"),
        "hit": _output("whether it was there", "steps.result.outputs.cache-hit"),
        "tools-key": _output("under which the tools may be kept", "steps.locked.outputs.hash"),
        "tools-hit": _output("whether they were there", "steps.tools.outputs.cache-hit"),
    }
    return _action("openbell prepare", "Makes a machine ready for a job of openbell.", inputs, steps, outputs)


def finish_action() -> Document:
    """Compose the action that carries on what a job left: to the next jobs, to the next run, to those who look."""
    good = "inputs.outcome == 'success' && inputs.key != ''"
    findings = f"{TEMPORARY}/left/reports/${{{{ inputs.slug }}}}/${{{{ inputs.findings }}}}"
    coverage = f"{TEMPORARY}/left/reports/${{{{ inputs.slug }}}}/${{{{ inputs.coverage }}}}"
    there = """reports="$RUNNER_TEMP/openbell/left/reports/$SLUG"
if [ -n "$FINDINGS" ] && [ -s "$reports/$FINDINGS" ]; then echo "findings=true" >> "$GITHUB_OUTPUT"; fi
if [ -n "$COVERAGE" ] && [ -s "$reports/$COVERAGE" ]; then echo "coverage=true" >> "$GITHUB_OUTPUT"; fi
"""
    steps: list[Value] = [
        {
            "uses": pinned("actions/upload-artifact"),
            "with": {
                "name": "openbell-result-${{ inputs.slug }}",
                "path": f"{TEMPORARY}/left",
                "if-no-files-found": "ignore",
                "overwrite": True,
                "retention-days": ARTIFACT_DAYS,
            },
        },
        {
            "if": f"${{{{ {good} && inputs.hit != 'true' }}}}",
            "uses": pinned("actions/cache/save"),
            "with": {"path": f"{TEMPORARY}/left", "key": "openbell-result-${{ inputs.key }}"},
        },
        {
            "if": f"${{{{ {good} && inputs.tools-hit != 'true' }}}}",
            "uses": pinned("actions/cache/save"),
            "with": {"path": CACHES, "key": "openbell-tools-${{ runner.os }}-${{ inputs.tools-key }}"},
        },
        {
            **_script("reports", there),
            "env": {
                "SLUG": "${{ inputs.slug }}",
                "FINDINGS": "${{ inputs.findings }}",
                "COVERAGE": "${{ inputs.coverage }}",
            },
        },
        {
            "if": "${{ steps.reports.outputs.findings == 'true' }}",
            "uses": pinned("github/codeql-action/upload-sarif"),
            "with": {"sarif_file": findings, "category": "openbell/${{ inputs.slug }}"},
        },
        {
            "if": "${{ steps.reports.outputs.coverage == 'true' && inputs.coverage-token != '' }}",
            "uses": pinned("codecov/codecov-action"),
            "with": {
                "files": coverage,
                "flags": "${{ inputs.slug }}",
                "disable_search": True,
                "token": "${{ inputs.coverage-token }}",
            },
        },
    ]
    inputs: dict[str, Value] = {
        "slug": {"description": "the name of the job's files", "required": True},
        "outcome": {"description": "how the job ended", "required": True},
        "key": _input("under which its result may be kept for later runs", default=""),
        "hit": _input("whether it was kept there already", default=""),
        "tools-key": _input("under which tools may be kept", default=""),
        "tools-hit": _input("whether they were kept there already", default=""),
        "findings": _input("the report with its findings", default=""),
        "coverage": _input("the report with its coverage", default=""),
        "coverage-token": _input("what lets coverage be handed to Codecov", default=""),
    }
    return _action("openbell finish", "Carries on what a job of openbell left.", inputs, steps, {})


def _action(
    name: str, description: str, inputs: Mapping[str, Value], steps: Sequence[Value], outputs: Mapping[str, Value]
) -> Document:
    head: dict[str, Value] = {"name": name, "description": description, "inputs": inputs}
    return {**head, **({"outputs": outputs} if outputs else {}), "runs": {"using": "composite", "steps": steps}}


def _script(step_id: str, script: str) -> dict[str, Value]:
    return {"id": step_id, "shell": "bash", "run": script}


def _folder(place: Place) -> dict[str, Value]:
    return {"working-directory": place.folder} if place.folder else {}


def _input(description: str, *, default: str) -> Document:
    return {"description": description, "default": default}


def _output(description: str, value: str) -> Document:
    return {"description": description, "value": f"${{{{ {value} }}}}"}


def code_scan(project: Project, place: Place) -> Document:
    """Compose the workflow of CodeQL, for each language that it knows."""
    branches = [branch_filter(pattern) for pattern in possible(project.branches.build)]
    events: dict[str, Value] = {"pull_request": None, "schedule": [{"cron": project.workflows.weekly}]}
    events |= {"push": {"branches": branches}} if branches else {}
    given: dict[str, Value] = {"languages": "${{ matrix.language }}", "build-mode": "${{ matrix.build }}"}
    include = [{"language": each, "build": "autobuild" if each == "go" else "none"} for each in place.languages]
    return {
        "name": f"{project.project.name}: CodeQL".replace("${{", "$ {{"),
        "on": events,
        "permissions": {},
        "concurrency": {"group": "${{ github.workflow }}-${{ github.ref }}", "cancel-in-progress": True},
        "jobs": {
            "analyze": {
                "name": "CodeQL (${{ matrix.language }})",
                "strategy": {"fail-fast": False, "matrix": {"include": include}},
                "runs-on": "ubuntu-latest",
                "timeout-minutes": 60,
                "permissions": {"contents": "read", "security-events": "write"},
                "steps": [
                    _checkout(),
                    {"uses": pinned("github/codeql-action/init"), "with": given},
                    {
                        "uses": pinned("github/codeql-action/analyze"),
                        "with": {"category": "/language:${{ matrix.language }}"},
                    },
                ],
            }
        },
    }
