"""The rules of `[workflows]`: what a hosted system would refuse, or would never start.

Source: https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax
"""

import re
from collections.abc import Iterator

from openbell.core.project import COMMIT_STAGES, Problem, Project
from openbell.core.texts import suggest

AT = ("workflows",)
PERMISSIONS = (
    "actions", "attestations", "checks", "contents", "deployments", "discussions", "id-token", "issues", "models",
    "packages", "pages", "pull-requests", "security-events", "statuses",
)  # fmt: skip
_UNIT = r"(\*|[0-9]+(-[0-9]+)?|[A-Za-z]{3}(-[A-Za-z]{3})?)(/[0-9]+)?"
_FIELD = f"{_UNIT}(,{_UNIT})*"
CRON = re.compile(rf"{_FIELD}( {_FIELD}){{4}}")


def check_workflows(project: Project) -> Iterator[Problem]:
    """Return what is wrong with `[workflows]`."""
    workflows = project.workflows
    if not workflows.runs_on:
        yield Problem((*AT, "runs_on"), 'runs_on has no label, so no machine fits. Write ["ubuntu-latest"], say.')
    for key in ("nightly", "weekly"):
        cron: str = getattr(workflows, key)
        if cron.strip() and not CRON.fullmatch(cron):
            rule = "five fields, of minute, hour, day, month and day of the week, as in 0 2 * * *"
            yield Problem((*AT, key), f'{key} = "{cron}": cron has {rule}.')
    commits = {name: job for name, job in project.jobs.items() if job.stage in COMMIT_STAGES}
    for name, allowed in workflows.permissions.items():
        if name not in commits:
            yield Problem((*AT, "permissions", name), f'"{name}" is no job of a commit.{suggest(name, commits)}')
        for permission in allowed:
            if permission not in PERMISSIONS:
                known = dict.fromkeys(PERMISSIONS)
                message = f'"{permission}" is no permission.{suggest(permission, known)} There are: '
                yield Problem((*AT, "permissions", name, permission), message + ", ".join(PERMISSIONS))
