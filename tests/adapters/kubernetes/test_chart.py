"""The values that a release is installed with."""

from pathlib import Path

import msgspec

from openbell.adapters.kubernetes.chart import Chart
from openbell.core.places import lay_over
from openbell.core.project import Environment
from tests.adapters.kubernetes.world import ONE, PROJECT

IMAGES = {name: f"registry.example/{name}@sha256:{'a' * 64}" for name in PROJECT.services}


def test_variables_are_those_that_the_release_pins_and_each_service_keeps_its_own() -> None:
    older = msgspec.structs.replace(PROJECT, environments={"production": Environment(env={"LOG": "debug"})})
    for project, level in ((PROJECT, "info"), (older, "debug")):
        values = Chart(project, Path("chart"), (), IMAGES).values_of("production", "blue", ONE.digest)
        assert values["config"] == {"LOG": level}
        assert values["services"]["api"]["env"] == {"WORKERS": "2"}
        assert "env" not in values["services"]["worker"], "a chart need not know what a project does not use"


def test_a_migration_is_rendered_for_its_phase_only() -> None:
    chart = Chart(PROJECT, Path("chart"), (), IMAGES)
    found = [
        chart.values_of("production", "blue", ONE.digest, phase=phase)["migrations"]
        for phase in (None, "expand", "contract")
    ]
    assert found == [
        {"expand": False, "contract": ""},
        {"expand": True, "contract": ""},
        {"expand": False, "contract": "1" * 12},
    ]


def test_values_are_laid_over_each_other_branch_by_branch() -> None:
    under = {"a": {"b": 1, "c": {"d": 2}}, "e": [1], "f": {"g": 1}, "h": 1}
    over = {"a": {"c": {"d": 3}}, "e": [2], "f": "text", "h": {"i": 1}, "j": {}}
    assert lay_over(under, over) == {"a": {"b": 1, "c": {"d": 3}}, "e": [2], "f": "text", "h": {"i": 1}, "j": {}}
    assert under["a"] == {"b": 1, "c": {"d": 2}}, "what is below stays as it is"
