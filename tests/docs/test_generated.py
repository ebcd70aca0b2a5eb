"""What is derived from the code agrees with it: `make docs` would change nothing."""

import json
import tomllib

import msgspec
import pytest

from docs import generate, schemas
from openbell.cli.main import COMMANDS
from openbell.cli.parser import build_app, command_named
from openbell.core.project import Project
from openbell.wiring import render
from openbell.wiring.project import open_project

EXIT_CODES = ("Job", "not_checked_exit_codes")
REMEDY = "run `make docs` and commit what it writes"


@pytest.mark.parametrize("name", generate.DOCUMENTS)
def test_document_is_up_to_date(name: str) -> None:
    path = generate.FOLDER / name
    assert path.is_file(), f"docs/{name} is missing; {REMEDY}"
    assert path.read_text() == generate.DOCUMENTS[name](), f"docs/{name} is out of date; {REMEDY}"


def test_workflows_of_the_engine_are_up_to_date() -> None:
    found = render.compare(render.render_workflows(open_project(generate.FOLDER.parent / "engine")))
    stale = {file.path: (file.state, *file.difference) for file in found.files if file.state != "same"}
    assert stale == {}, REMEDY


def test_every_key_of_the_configuration_has_a_sentence() -> None:
    assert generate.undescribed() == [], "docs/configuration.toml: these have no sentence, or are no key any more"


def test_reference_says_the_numbers_of_the_specification() -> None:
    text = generate.configuration()
    assert "| `hold_s` | number, 1 to 604800 | `300` |" in text
    assert "| `error_rate_pct_max` | number, 0.01 to 99 | `5` |" in text
    assert "## `[[environments.NAME.rollout.phases]]`" in text


def test_schema_describes_what_the_structs_accept() -> None:
    schema = json.loads(generate.configuration_schema())
    assert schema["$defs"]["Job"]["required"] == ["stage", "run"]
    assert schema["$defs"]["Job"]["additionalProperties"] is False
    assert schema["$defs"]["Job"]["properties"]["timeout_s"]["description"]
    replicas, codes = (schema["$defs"][s]["properties"][k] for s, k in (("Environment", "replicas"), EXIT_CODES))
    assert (replicas["minimum"], replicas["maximum"]) == (1, 1000)
    assert (codes["items"]["minimum"], codes["items"]["maximum"]) == (1, 255)
    accepted = tomllib.loads('[project]\nname = "x"\n[jobs.lint]\nstage = "quality"\nrun = "true"\n')
    assert msgspec.convert(accepted, Project).jobs["lint"].timeout_s == 600


def test_every_command_that_prints_json_has_a_schema() -> None:
    app = build_app()
    printing = {
        name
        for name in COMMANDS
        if any("--json" in argument.names for argument in command_named(app, name).assemble_argument_collection())
    }
    described = {command for printed in schemas.PRINTED.values() for command in printed.commands}
    assert printing - described == set(schemas.PRINTED_OTHERWISE)
