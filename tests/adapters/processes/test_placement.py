"""What is placed where, and who leaves first."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbell.adapters.processes.placement import Instance, Occupation, PlacementFile
from openbell.ports import AdapterError


def occupation(*services: str) -> Occupation:
    numbers: Counter[str] = Counter()
    instances = []
    for service in services:
        numbers[service] += 1
        instances.append(Instance(f"blue-{service}-{numbers[service]}", service, 1, 1))
    return Occupation("sha256:1", "1.0.0", 0.0, tuple(instances))


def test_the_oldest_leave_first() -> None:
    held = occupation("api", "worker", "api", "worker", "api")
    assert [one.name for one in held.surplus(1)] == ["blue-api-1", "blue-worker-1", "blue-api-2"]
    assert held.surplus(3) == ()
    assert held.surplus(0) == held.instances


@given(services=st.lists(st.sampled_from(["api", "worker", "fix"]), max_size=20), replicas=st.integers(0, 6))
def test_no_service_is_left_with_more_and_none_loses_too_many(services: list[str], replicas: int) -> None:
    held = occupation(*services)
    surplus = held.surplus(replicas)
    left = Counter(one.service for one in held.instances if one not in surplus)
    assert left == {service: min(count, replicas) for service, count in Counter(services).items() if replicas}


def test_the_file_keeps_slots_apart(tmp_path: Path) -> None:
    file = PlacementFile(tmp_path / "instances.json")
    assert file.read() == {}
    blue, green = occupation("api"), occupation("worker")
    file.write("blue", blue)
    file.write("green", green)
    assert PlacementFile(tmp_path / "instances.json").read() == {"blue": blue, "green": green}
    file.write("blue", None)
    file.write("blue", None)
    assert file.read() == {"green": green}


def test_a_damaged_file_names_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "instances.json").write_text('{"blue": 1}')
    with pytest.raises(AdapterError, match=r"is damaged .* deploy again"):
        PlacementFile(tmp_path / "instances.json").read()
