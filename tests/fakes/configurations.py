"""A sound configuration, and the same with lines laid over it."""

import tomllib

import msgspec

from openbell.adapters.toml import ConfigurationError, check_types
from openbell.core.places import lay_over
from openbell.core.project import Project

SOUND = """
order = ["api"]

[project]
name = "engine"

[jobs.lint]
stage = "quality"
run = "lint"

[jobs.unit]
stage = "test"
run = "test {out}"

[jobs.bundle]
stage = "build"
run = "build {artifacts}"

[jobs.smoke]
stage = "smoke"
run = "smoke {api_url} {fix-gateway_address} {release}"

[jobs.load]
stage = "load"
run = "load {api_url}"

[services.api]
protocol = "http"
run = "api --port {port}"

[services.fix-gateway]
protocol = "fix"
run = "fix --port {port} --http-port {http_port}"

[environments.staging]
branch = "develop"
smoke = "smoke"
after = ["load"]

[environments.production]
tag = "v*.*.*"
strategy = "blue-green"
replicas = 5
requires_passed = ["load"]
approval = { required = 1, from = ["release-managers"] }

[teams]
release-managers = ["a@example.org", "b@example.org"]
"""


def parse(text: str) -> Project:
    """Read a configuration without validating it; raises `ConfigurationError` for wrong types."""
    return convert(tomllib.loads(text))


def changed(lines: str) -> Project:
    """Read the sound configuration with lines laid over it."""
    return convert(lay_over(tomllib.loads(SOUND), tomllib.loads(lines)))


def convert(content: dict[str, object]) -> Project:
    """Make a project of what a file says, without validating it; raises `ConfigurationError` for wrong types."""
    try:
        return msgspec.convert(content, Project)
    except msgspec.ValidationError:
        raise ConfigurationError([problem.message for problem in check_types(content, Project)]) from None
