"""Each rule finds what it is there to find, and leaves alone what is right: a rule that cannot fail is a defect."""

from collections.abc import Callable
from textwrap import dedent

import pytest

from tests.repo import rules
from tests.repo.purity import purity
from tests.repo.syntax import Violation

Rule = Callable[[str], list[Violation]]

REGISTRY = "pypi" + ".org"
"""Put together, so that this file names no registry's host either."""

PLANTED: list[tuple[Rule, str, list[int]]] = [
    (purity, "import time", [1]),
    (purity, "import os.path", [1]),
    (purity, "import asyncio, logging", [1, 1]),
    (purity, "from random import Random", [1]),
    (purity, "from openbell.adapters import git", [1]),
    (purity, "from openbell import ports", [1]),
    (purity, "from .journal import append", [1]),
    (purity, "from pathlib import PurePath, Path", [1]),
    (purity, "from uuid import uuid4", [1]),
    (purity, "import uuid", [1]),
    (purity, "from numpy import random", [1]),
    (purity, "import numpy as np\nx = np.random.default_rng(1)", [2]),
    (purity, "from datetime import UTC, datetime\nnow = datetime.now(UTC)", [2]),
    (purity, "import datetime\nday = datetime.date.today()", [2]),
    (purity, "from datetime import datetime\nat = datetime.fromtimestamp(1)", [2]),
    (purity, "def f(name):\n    return open(name)", [2]),
    (purity, "def f(name):\n    return hash(name) % 7", [2]),
    (purity, "print(1)", [1]),
    (purity, "async def f():\n    await g()", [1, 2]),
    (purity, "def f():\n    global count\n    count = 1", [2]),
    (purity, "for x in {1, 2}:\n    pass", [1]),
    (purity, "def f(names: set[str]):\n    return [n for n in names]", [2]),
    (purity, "def f(names: frozenset[str] | None):\n    return tuple(names)", [2]),
    (purity, "def f(names):\n    seen = set(names)\n    for n in seen:\n        pass", [3]),
    (purity, "def f(names):\n    return ','.join({n.lower() for n in names})", [2]),
    (purity, "def f(a, b):\n    return list(set(a) - set(b))", [2]),
    (purity, "def f(a, b):\n    return [*set(a).union(b)]", [2]),
    (purity, "class S:\n    done: frozenset[str]\ndef f(state):\n    for d in state.done:\n        pass", [4]),
    (purity, "def done() -> set[str]: ...\ndef f():\n    return enumerate(done())", [3]),
    (purity, "ALL = {'a', 'b'}\ndef f():\n    return {n: 0 for n in ALL}", [3]),
    (purity, "import time  # det-ok:", [1]),
    (rules.function_size, "def f():\n" + "    x = 1\n" * 70, [1]),
    (rules.function_size, "class C:\n    async def f(self):\n" + "        x = 1\n" * 70, [2]),
    (rules.file_size, "x = 1\n" * 501, [1]),
    (rules.file_size, "# size-ok: generated\n" + "x = 1\n" * 801, [1]),
    (rules.module_docstring, "x = 1\n", [1]),
    (rules.public_docstrings, "def f():\n    pass", [1]),
    (rules.public_docstrings, "class C:\n    '''Doc.'''\n    async def f(self):\n        pass", [3]),
    (rules.public_docstrings, "class C:\n    pass", [1]),
    (rules.mutable_defaults, "def f(a, b=[]):\n    pass", [1]),
    (rules.mutable_defaults, "def f(*, b=dict()):\n    pass", [1]),
    (rules.keyword_only_defaults, "def f(a, b=1):\n    pass", [1]),
    (rules.keyword_only_defaults, "class C:\n    def f(self, b=1):\n        pass", [2]),
    (rules.keyword_only_values, "def f(a, b=True, c=None):\n    pass", [1]),
    (rules.keyword_only_values, "class C:\n    async def f(self, b=''):\n        pass", [2]),
    (rules.units, "class C:\n    timeout: float = 1.0", [2]),
    (rules.units, "def f(drain_timeout: float | None):\n    pass", [1]),
    (rules.units, "def latency() -> int:\n    pass", [1]),
    (rules.product_names, "def f(platform):\n    return platform == 'kubernetes'", [2]),
    (rules.product_names, "from openbell.adapters import haproxy", [1]),
    (rules.product_names, "def f(kind):\n    match kind:\n        case 'helm':\n            pass", [3]),
    (rules.product_names, "def place_on_kubernetes():\n    pass", [1]),
    (rules.module_name, "src/openbell/core/utils.py", [1]),
    (rules.module_name, "manager.py", [1]),
    (rules.text, "see /home/jane/code", [1]),
    (rules.text, f"fine\nindex-url = https://{REGISTRY}/simple", [2]),
    (rules.text, "A blazingly fast, seamless rollout", [1]),
    (rules.text, "fast \N{EM DASH} and safe", [1]),
    (rules.text, "# TODO later", [1]),
    (rules.text, "<<<<<<< HEAD", [1]),
]

RIGHT: list[tuple[Rule, str]] = [
    (purity, "import hashlib\nfrom collections.abc import Mapping\nimport msgspec\nfrom openbell.core import project"),
    (purity, "from openbell.core.project import Project"),
    (purity, "from pathlib import PurePosixPath\nfrom uuid import uuid5\nfrom datetime import UTC, datetime"),
    (purity, "from datetime import UTC, datetime\nat = datetime.fromtimestamp(1, UTC)"),
    (purity, "def f(names: set[str]):\n    return sorted(names), len(names), 'a' in names"),
    (purity, "def f(names: set[str]):\n    return sorted(n for n in names), any(n for n in names), {n for n in names}"),
    (purity, "def f(a):\n    seen = set(a)\n    return seen\ndef g(seen):\n    return list(seen)"),
    (purity, "def f(a: set[int]):\n    return next(iter(a))  # det-ok: it has one element, checked by the caller"),
    (purity, "def f(orders: dict[str, int]):\n    return [n for n in orders]"),
    (rules.function_size, "def f():\n" + "    x = 1\n" * 69),
    (rules.file_size, "x = 1\n" * 500),
    (rules.file_size, "# size-ok: one table\n" + "x = 1\n" * 600),
    (rules.module_docstring, ""),
    (rules.module_docstring, "'''Says what.'''"),
    (rules.public_docstrings, "def _f():\n    pass\nclass _C:\n    def f(self):\n        pass"),
    (rules.public_docstrings, "class C:\n    '''Doc.'''\n    @override\n    def f(self):\n        pass"),
    (rules.mutable_defaults, "def f(a=(), *, b=None, c=frozenset()):\n    pass"),
    (rules.keyword_only_defaults, "def f(a, *, b=1):\n    pass\ndef _g(a=1):\n    pass"),
    (rules.keyword_only_values, "def f(a, b=None, c=(), *, d=1):\n    pass"),
    (rules.units, "class C:\n    timeout_s: float\n    interval: str\n    weights: dict[str, int]"),
    (rules.units, "class C:\n    weight: int  # unit-ok: a share among siblings"),
    (rules.product_names, "'''Carried out by HAProxy.'''\ndef f(router):\n    return router == 'stable'"),
    (rules.product_names, "def f(dockerfile):\n    return dockerfile"),
    (rules.module_name, "src/openbell/core/rollout.py"),
    (rules.text, "A release is handed over, not restarted. See https://example.com. TODO(#12): no."),
    (rules.text, f"index-url = https://{REGISTRY}  # text-ok: an example of what is masked"),
]


@pytest.mark.parametrize(("rule", "source", "lines"), PLANTED)
def test_finds_what_breaks_it(rule: Rule, source: str, lines: list[int]) -> None:
    assert [violation.line for violation in rule(source)] == lines


@pytest.mark.parametrize(("rule", "source"), RIGHT)
def test_leaves_alone_what_is_right(rule: Rule, source: str) -> None:
    assert rule(dedent(source)) == []


def test_each_rule_is_tried_both_ways() -> None:
    assert {rule for rule, *_ in PLANTED} == {rule for rule, *_ in RIGHT}
