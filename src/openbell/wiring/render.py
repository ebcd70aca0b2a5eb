"""Files for other systems that follow from a project, and what of them is in the repository: new, the same, stale.

The first line of each says what it was made from. A file without that line is written by hand, and is never touched;
one with it that is not wanted any more is removed.
"""

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from openbell.adapters import git
from openbell.adapters.github_workflow import document, yaml
from openbell.core.project import COMMIT_STAGES, Job
from openbell.core.workflow import workflows
from openbell.ports import AdapterError
from openbell.wiring.project import FILE_NAME, OpenProject

State = Literal["new", "same", "stale", "left over", "by hand"]
DIFFERENCE_LINES_MAX = 12
WORKFLOWS = ".github/workflows"
ACTIONS = ".github/actions"
HOOKS = ".pre-commit-config.yaml"


class File(msgspec.Struct, frozen=True):
    """A file by its path from the top of the repository, what it is in it, and how it differs from what is wanted."""

    path: str
    state: State
    difference: tuple[str, ...] = ()


class Rendering(msgspec.Struct, frozen=True):
    """The document of `openbell render --json`; described in docs/schema/render.json."""

    what: str
    current: bool
    files: tuple[File, ...]


class Wanted(msgspec.Struct, frozen=True):
    """What should be in a repository: its top, the texts by path, and the folders in which nothing else of ours is."""

    what: str
    top: Path
    mark: str
    texts: dict[str, str]
    folders: tuple[str, ...]


def render_workflows(place: OpenProject) -> Wanted:
    """Compose the workflows of a project and the actions that they share."""
    top, where, mark = _look(place, "github")
    project = place.project
    composed = workflows(project)
    texts = {
        f"{WORKFLOWS}/openbell{where.infix}-{one.kind}.yml": yaml.write(document.workflow(one, project, where))
        for one in composed
    }
    if texts:
        texts[f"{ACTIONS}/openbell{where.infix}-prepare/action.yml"] = yaml.write(
            document.prepare_action(project, where)
        )
        texts[f"{ACTIONS}/openbell{where.infix}-finish/action.yml"] = yaml.write(document.finish_action())
    if project.workflows.code_scanning and where.languages:
        texts[f"{WORKFLOWS}/openbell{where.infix}-codeql.yml"] = yaml.write(document.code_scan(project, where))
    marked = {path: f"{mark}\n\n{text}" for path, text in texts.items()}
    return Wanted("github", top, mark, marked, (WORKFLOWS, ACTIONS))


def render_hooks(place: OpenProject) -> Wanted:
    """Compose the hooks of pre-commit: the jobs of the quality stage that need no service, secret or fresh answer."""
    top, where, mark = _look(place, "pre-commit")
    enter = f"cd {_shell(where.folder)} && " if where.folder else ""
    hooks: list[yaml.Value] = [
        _hook(f"openbell-{name}", name, f"{enter}openbell run --job {_shell(name)}")
        for name, job in place.project.jobs.items()
        if _is_quick(job)
    ]
    if any((top / WORKFLOWS).glob(f"openbell{where.infix}-*.yml")):
        hooks.append(_hook("openbell-workflows", "workflows", f"{enter}openbell render github --check"))
    texts = {}
    if hooks:
        repository: dict[str, yaml.Value] = {"repo": "local", "hooks": hooks}
        texts[HOOKS] = f"{mark}\n\n{yaml.write({'repos': [repository]})}"
    return Wanted("pre-commit", top, mark, texts, ())


def _hook(hook_id: str, name: str, command: str) -> Mapping[str, yaml.Value]:
    return {
        "id": hook_id,
        "name": name,
        "entry": f"bash -c {_shell(command)}",
        "language": "system",
        "pass_filenames": False,
        "always_run": True,
    }


def _shell(text: str) -> str:
    import shlex

    return shlex.quote(text)


def _is_quick(job: Job) -> bool:
    """Whether a job is worth waiting for at each commit; what asks a network for news is not."""
    asks = job.services or job.secrets or job.cache_s is not None or not job.cache
    return job.stage == COMMIT_STAGES[0] and not job.on and not asks


RENDERERS: dict[str, Callable[[OpenProject], Wanted]] = {"github": render_workflows, "pre-commit": render_hooks}


def _look(place: OpenProject, what: str) -> tuple[Path, document.Place, str]:
    """Find the top of the repository, where in it the project is, what is in it, and the line that marks our files."""
    top = git.top(place.root)
    folder = place.root.resolve().relative_to(top.resolve()).as_posix()
    files = git.list_files(place.root)
    has_python = any(name in files for name in ("pyproject.toml", "setup.py", "requirements.txt"))
    has_go = "go.mod" in files
    languages = [name for name, there in (("python", has_python), ("go", has_go)) if there]
    languages.append("actions")
    where = document.Place("" if folder == "." else folder, has_python, has_go, tuple(languages))
    source = where.path(FILE_NAME)
    if not source.isprintable():
        raise AdapterError("openbell", "render", f"the project's folder {folder!r} has characters that no comment may.")
    return top, where, f'# Made by "openbell render {what}" from {source}. Edit that, and render again.'


def compare(wanted: Wanted) -> Rendering:
    """Say of each file whether it is there, and is what it should be."""
    found = [_compare(wanted, path, text) for path, text in wanted.texts.items()]
    for folder in wanted.folders:
        for file in sorted((wanted.top / folder).rglob("*.yml")):
            path = file.relative_to(wanted.top).as_posix()
            if path not in wanted.texts and _mark_of(file) == wanted.mark:
                found.append(File(path, "left over"))
    return Rendering(wanted.what, all(file.state == "same" for file in found), tuple(found))


def _compare(wanted: Wanted, path: str, text: str) -> File:
    file = wanted.top / path
    try:
        there = file.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return File(path, "new")
    if _mark_of(file) != wanted.mark:
        return File(path, "by hand")
    if there == text:
        return File(path, "same")
    lines = [
        line
        for line in difflib.unified_diff(there.splitlines(), text.splitlines(), lineterm="", n=1)
        if not line.startswith(("---", "+++"))
    ]
    more = [f"... and {len(lines) - DIFFERENCE_LINES_MAX} lines more"] if len(lines) > DIFFERENCE_LINES_MAX else []
    return File(path, "stale", (*lines[:DIFFERENCE_LINES_MAX], *more))


def _mark_of(file: Path) -> str:
    with file.open(encoding="utf-8", errors="replace") as stream:
        return stream.readline().rstrip("\r\n")


def write(wanted: Wanted, rendering: Rendering) -> None:
    """Write what is new or stale, and remove what is left over; what is written by hand stays."""
    for found in rendering.files:
        file = wanted.top / found.path
        if found.state in ("new", "stale"):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(wanted.texts[found.path], encoding="utf-8")
        elif found.state == "left over":
            file.unlink()
