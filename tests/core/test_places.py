"""Targets are places of their own: names, what is laid over what, and what a configuration of them must keep to."""

import pytest

from openbell.adapters.toml import ConfigurationError, assemble, parse
from openbell.core.places import lay_over, namespace_of, no_place, places, places_of, settings_of, waves_of
from openbell.core.project import Project

TEXT = """
[project]
name = "shop"
[jobs.bundle]
stage = "build"
run = "true"
[services.api]
protocol = "http"
run = "true"
[environments.staging]
[environments.production]
replicas = 3
env = { LOG = "info" }
"""
CLUSTER = '[environments.production.cluster]\nchart = "deploy"\nsettings = { a = { b = 1, c = 2 } }\n'
TWO = "[environments.production.targets.eu]\n[environments.production.targets.us]\n"


def project(more: str) -> Project:
    return assemble([parse("openbell.toml", TEXT + more)]).project


def problems(more: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        project(more)
    return str(caught.value)


def test_an_environment_without_targets_is_a_place() -> None:
    assert list(places(project(""))) == ["staging", "production"]


def test_targets_take_the_place_of_their_environment() -> None:
    found = project(TWO)
    assert list(places(found)) == ["staging", "production/eu", "production/us"]
    assert places_of(found, "production") == ("production/eu", "production/us")
    assert places_of(found, "staging") == ("staging",)
    target = places(found)["production/eu"]
    assert (target.replicas, target.cluster, target.targets) == (3, None, {})


def test_what_a_target_says_is_laid_over_the_cluster_of_its_environment() -> None:
    more = CLUSTER + '[environments.production.targets.eu]\ncontext = "eu"\nsettings = { a = { c = 3 } }\n'
    found = project(more + "[environments.production.targets.us]\n")
    eu, us = (places(found)[f"production/{target}"].cluster for target in ("eu", "us"))
    assert eu is not None
    assert us is not None
    assert (eu.context, eu.chart, eu.settings) == ("eu", "deploy", {"a": {"b": 1, "c": 3}})
    assert (us.context, us.settings) == ("", {"a": {"b": 1, "c": 2}})
    assert namespace_of(found, "production/eu") == "shop-production-eu"


def test_a_target_that_names_something_of_a_cluster_is_in_one() -> None:
    found = project('[environments.production.targets.eu]\ncontext = "eu"\n')
    assert places(found)["production/eu"].cluster is not None


def test_a_release_that_did_not_know_a_target_says_what_it_says_of_the_environment() -> None:
    found = project("")
    assert settings_of(found, "production/eu").env == {"LOG": "info"}
    assert settings_of(found, "elsewhere").env == {}


def test_without_an_order_each_target_is_a_wave() -> None:
    assert waves_of(project(TWO).environments["production"]) == (("eu",), ("us",))
    order = '[environments.production.waves]\norder = [["us", "eu"]]\n'
    assert waves_of(project(TWO + order).environments["production"]) == (("us", "eu"),)


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ('[["eu"]]', "us would never get a release. Add them to a wave."),
        ('[["eu"], ["us", "eu"]]', '"eu" is in it 2 times; a target goes once.'),
        ('[["eu"], ["us", "eux"]]', '"eux" is no target. Did you mean "eu"?'),
        ('[["eu", "us"], []]', "wave 2 has no target. Remove it."),
    ],
)
def test_each_target_is_in_exactly_one_wave(order: str, message: str) -> None:
    assert message in problems(f"{TWO}[environments.production.waves]\norder = {order}\n")


def test_an_order_needs_targets() -> None:
    assert "there are no targets" in problems('[environments.production.waves]\norder = [["eu"]]\n')


@pytest.mark.parametrize("hold_s", ["-1", "604801"])
def test_a_hold_has_a_range(hold_s: str) -> None:
    assert "waves.hold_s" in problems(f"{TWO}[environments.production.waves]\nhold_s = {hold_s}\n")


def test_names_of_targets_are_names() -> None:
    assert 'name "a/b"' in problems('[environments.production.targets."a/b"]\n')
    assert '"EU" is to be part of the names' in problems(CLUSTER + "[environments.production.targets.EU]\n")


def test_what_a_target_says_of_its_cluster_keeps_to_the_rules_of_clusters() -> None:
    found = problems('[environments.production.targets.eu]\nnamespace = "A"\n')
    assert 'targets.eu.namespace = "A": a namespace has at most 63' in found


def test_two_targets_are_not_one_namespace() -> None:
    more = CLUSTER.replace("chart", 'namespace = "shop"\nchart') + TWO
    assert '"us" and "eu" are both the namespace shop of the current context' in problems(more)
    assert project(more.replace("targets.us]", 'targets.us]\ncontext = "us"'))


def test_a_namespace_that_would_be_too_long_is_named() -> None:
    long = "x" * 28
    more = f"[environments.{long}.cluster]\n[environments.{long}.targets.{long}]\n"
    text = TEXT.replace('"shop"', f'"{long}"')
    with pytest.raises(ConfigurationError, match=r"which is longer than 63\. Name one\."):
        assemble([parse("openbell.toml", text + more)])


def test_a_name_that_is_no_place_says_which_are() -> None:
    assert no_place(project(""), "x") == 'there is no environment "x"; there are: staging, production'
    found = project(TWO)
    assert (
        no_place(found, "production")
        == "production consists of targets, name one of them: production/eu, production/us"
    )
    assert no_place(found, "x").endswith("there are: staging, production, production/eu, production/us")


def test_laying_over_merges_tables_only() -> None:
    assert lay_over({"a": {"b": 1}, "c": [1]}, {"a": {"d": 2}, "c": [2]}) == {"a": {"b": 1, "d": 2}, "c": [2]}
    assert lay_over({"a": 1}, {"a": {"b": 1}}) == {"a": {"b": 1}}
