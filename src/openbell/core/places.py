"""Places: where releases run. An environment is one, or consists of several targets, each a place of its own.

A target is called ENVIRONMENT/TARGET, a name that no environment can have, and is an environment to everything that
brings a release somewhere: it has the environment's strategy, limits and variables, and a cluster of its own. That
there are several, and in which order they get a release, is known to `openbell.core.waves` alone.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec.structs import replace

from openbell.core.project import Cluster, Environment, Problem, Project, Target, Waves
from openbell.core.texts import suggest

SEPARATOR = "/"
NAMESPACE_LENGTH_MAX = 63


def place_name(environment: str, target: str) -> str:
    """Name a target of an environment as a place."""
    return f"{environment}{SEPARATOR}{target}"


def environment_name(place: str) -> str:
    """Name the environment that a place is, or belongs to."""
    return place.partition(SEPARATOR)[0]


def is_target(place: str) -> bool:
    """Whether a place is a target of an environment that has several."""
    return SEPARATOR in place


def object_name(place: str) -> str:
    """Write a place's name as names of objects and values of labels may be written."""
    return place.replace(SEPARATOR, "-")


def places(project: Project) -> dict[str, Environment]:
    """Return every place of a project by its name; an environment that has targets is none itself."""
    found: dict[str, Environment] = {}
    for name, environment in project.environments.items():
        if not environment.targets:
            found[name] = environment
        for target in environment.targets:
            found[place_name(name, target)] = _target_of(environment, environment.targets[target])
    return found


def no_place(project: Project, name: str) -> str:
    """Say why a name is that of no single place, and which there are."""
    if name in project.environments:
        return f"{name} consists of targets, name one of them: {', '.join(places_of(project, name))}"
    known = dict.fromkeys(one for each in project.environments for one in (each, *places_of(project, each)))
    names = ", ".join(known) or "none; add [environments.staging] to openbell.toml"
    return f'there is no environment "{name}"; there are: {names}'


def settings_of(project: Project, place: str) -> Environment:
    """Return what a release says of a place; one that did not know its target says what it says of the environment."""
    known = places(project)
    return known.get(place) or project.environments.get(environment_name(place)) or Environment()


def places_of(project: Project, environment: str) -> tuple[str, ...]:
    """Name the places of an environment: itself, or its targets in the order in which they are written."""
    targets = project.environments[environment].targets
    return tuple(place_name(environment, target) for target in targets) or (environment,)


def waves_of(environment: Environment) -> tuple[tuple[str, ...], ...]:
    """Say which targets go together, first wave first."""
    return environment.waves.order or tuple((target,) for target in environment.targets)


def lay_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one tree of values over another: tables merge, everything else is replaced."""
    found = dict(below)
    for key, value in above.items():
        old = found.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        found[key] = lay_over(old or {}, value) if both else value
    return found


def _target_of(environment: Environment, target: Target) -> Environment:
    return replace(environment, cluster=_cluster_of(environment.cluster, target), targets={}, waves=Waves())


def _cluster_of(below: Cluster | None, target: Target) -> Cluster | None:
    if below is None and target == Target():
        return None
    below = below or Cluster()
    given = {
        field: value
        for field in Target.__struct_fields__
        if field != "settings" and (value := getattr(target, field)) is not None
    }
    return replace(below, **given, settings=lay_over(below.settings, target.settings))


def namespace_of(project: Project, place: str) -> str:
    """Name the namespace of a place in a cluster."""
    cluster = settings_of(project, place).cluster or Cluster()
    return cluster.namespace or f"{project.project.name}-{object_name(place)}"


# --- rules


def check_places(project: Project) -> Iterator[Problem]:
    """Return every broken rule of targets and waves, whose names are checked elsewhere."""
    for name, environment in project.environments.items():
        yield from _check_waves(("environments", name, "waves", "order"), environment)
        yield from _check_namespaces(project, name)


def _check_waves(at: tuple[str, ...], environment: Environment) -> Iterator[Problem]:
    order, targets = environment.waves.order, environment.targets
    if order and not targets:
        yield Problem(at, "waves.order is given, but there are no targets: add [environments.NAME.targets.NAME].")
        return
    named = [target for wave in order for target in wave]
    for number, wave in enumerate(order):
        if not wave:
            yield Problem((*at, str(number)), f"wave {number + 1} has no target. Remove it.")
    for target in dict.fromkeys(named):
        if target not in targets:
            yield Problem(at, f'waves.order: "{target}" is no target.{suggest(target, targets)}')
        elif named.count(target) > 1:
            yield Problem(at, f'waves.order: "{target}" is in it {named.count(target)} times; a target goes once.')
    missing = [target for target in targets if named and target not in named]
    if missing:
        yield Problem(at, f"waves.order: {', '.join(missing)} would never get a release. Add them to a wave.")


def _check_namespaces(project: Project, name: str) -> Iterator[Problem]:
    """Two targets in one namespace would take each other's releases away."""
    taken: dict[tuple[str, str], str] = {}
    for target in project.environments[name].targets:
        place = place_name(name, target)
        cluster = settings_of(project, place).cluster
        if cluster is None:
            continue
        at = ("environments", name, "targets", target)
        namespace = namespace_of(project, place)
        if len(namespace) > NAMESPACE_LENGTH_MAX:
            message = f'the namespace would be "{namespace}", which is longer than {NAMESPACE_LENGTH_MAX}. Name one.'
            yield Problem(at, message)
        other = taken.setdefault((cluster.context, namespace), target)
        if other != target:
            where = f"namespace {namespace} of {cluster.context or 'the current context'}"
            yield Problem(at, f'"{target}" and "{other}" are both the {where}. Give each its own.')
