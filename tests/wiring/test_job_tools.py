"""What the jobs of a project use is looked for, and what is missing comes with how it is got."""

from pathlib import Path

import pytest

from openbell.core.project import Job, Project, ProjectInfo
from openbell.wiring import job_tools
from openbell.wiring.job_tools import check_tools, tools_of

PROJECT = Project(
    project=ProjectInfo(name="x"),
    jobs={
        "lint": Job(stage="quality", run="true", tools=("golangci-lint", "go")),
        "unit": Job(stage="test", run="true", matrix={"n": ("1", "2")}, tools=("tool-{n}", "python3.12", "go")),
    },
)


def test_each_program_is_named_once_with_its_jobs() -> None:
    assert tools_of(PROJECT) == {
        "go": ["lint", "unit"], "golangci-lint": ["lint"], "tool-1": ["unit"], "tool-2": ["unit"],
    }  # fmt: skip


async def test_what_is_there_says_its_version_and_what_is_missing_how_it_is_got(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tool-1").write_text("#!/bin/sh\necho tool 1.2.3\n")
    (tmp_path / "tool-1").chmod(0o755)
    monkeypatch.setattr(job_tools, "search_path", lambda: str(tmp_path))
    checks = {check.name: check for check in await check_tools(PROJECT, frozenset({"go"}))}
    assert set(checks) == {"golangci-lint", "tool-1", "tool-2"}
    assert (checks["tool-1"].ok, checks["tool-1"].found) == (True, "tool 1.2.3 (for unit)")
    assert (checks["golangci-lint"].ok, checks["golangci-lint"].needed) == (False, False)
    assert checks["golangci-lint"].remedy == job_tools.REMEDIES["golangci-lint"]
    assert checks["tool-2"].remedy == "install it, as its authors say"
