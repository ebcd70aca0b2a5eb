"""Images built by buildah, pushed to a registry of Debian's, and read back."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from openbell.adapters.registry import Registry
from openbell.core.image import ImageConfig, ImageIndex, ImageManifest, parse_reference
from openbell.ports import AdapterError
from openbell.wiring.images import CannotBuildError, FaultyImageError, Order, build
from tests.fakes.images import own_storage, running_registry

pytestmark = pytest.mark.slow
PLATFORMS = ("linux/amd64", "linux/arm64")
WELL = 'FROM scratch\nCOPY file /file\nUSER 65532:65532\nHEALTHCHECK CMD ["/file"]\n'


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_registry(tmp_path_factory.mktemp("registry")) as place:
        yield place


@pytest.fixture(autouse=True)
def storage(tmp_path: Path) -> Iterator[None]:
    with own_storage(tmp_path / "storage"):
        yield


def order(folder: Path, dockerfile: str = WELL, **changes: Any) -> Order:
    context = folder / "context"
    context.mkdir(exist_ok=True)
    (context / "file").write_text("content")
    (context / "Dockerfile").write_text(dockerfile)
    plain = Order(context=context, name="acme/thing", dockerfile=context / "Dockerfile", platforms=PLATFORMS)
    return msgspec.structs.replace(plain, **changes)


async def test_an_image_for_two_platforms_is_pushed_and_the_same_when_it_is_built_again(
    tmp_path: Path, registry: str
) -> None:
    out = tmp_path / "out"
    wanted = order(tmp_path, registry=registry, tags=("feature/one", "abc1234"), services=("api", "web"))
    built = await build(wanted, out=out, progress=print)
    assert [one.platform for one in built.platforms] == list(PLATFORMS)
    assert msgspec.json.decode((out / "images.json").read_bytes()) == {"api": built.reference, "web": built.reference}
    assert msgspec.json.decode((out / "thing.image.json").read_bytes())["digest"] == built.digest
    async with Registry(parse_reference(built.reference)) as asked:
        for version in (built.digest, "feature-one", "abc1234"):
            tagged = await asked.manifest(version)
            assert tagged is not None
            assert tagged.digest == built.digest
        found = await asked.manifest(built.digest)
        assert found is not None
        index = msgspec.json.decode(found.content, type=ImageIndex)
        assert [one.platform.name for one in index.manifests if one.platform] == list(PLATFORMS)
        for one, name in zip(index.manifests, PLATFORMS, strict=True):
            manifest = await asked.manifest(one.digest)
            assert manifest is not None
            read = msgspec.json.decode(manifest.content, type=ImageManifest)
            config = msgspec.json.decode(await asked.read_blob(read.config.digest), type=ImageConfig)
            assert config.platform.name == name
            assert config.config.user == "65532:65532"
    # Nothing is cached in another store, and with what is cached here it is the same as well.
    again = await build(wanted, out=None, progress=print)
    with own_storage(tmp_path / "other"):
        elsewhere = await build(wanted, out=None, progress=print)
    assert again.digest == elsewhere.digest == built.digest


async def test_an_image_is_its_content_and_what_is_written_on_it(tmp_path: Path) -> None:
    one = await build(order(tmp_path, platforms=PLATFORMS[:1]), out=None, progress=print)
    other = await build(order(tmp_path, platforms=PLATFORMS[:1], revision="abc"), out=None, progress=print)
    assert other.digest != one.digest
    assert other.labels["org.opencontainers.image.revision"] == "abc"
    assert not one.pushed


@pytest.mark.parametrize(
    ("dockerfile", "said"),
    [
        ("FROM scratch\nCOPY file /file\nHEALTHCHECK CMD /file\n", "names no USER"),
        ("FROM scratch\nCOPY file /file\nUSER 1\n", "no HEALTHCHECK"),
    ],
)
async def test_an_image_that_lacks_something_is_not_pushed(
    tmp_path: Path, registry: str, dockerfile: str, said: str
) -> None:
    wanted = order(tmp_path, dockerfile, registry=registry, name="lacking", platforms=PLATFORMS[:1])
    with pytest.raises(FaultyImageError, match=said):
        await build(wanted, out=tmp_path / "out", progress=print)
    assert not (tmp_path / "out").exists()
    async with Registry(parse_reference(f"{registry}/lacking")) as asked:
        assert await asked.manifest("latest") is None


async def test_a_build_that_fails_says_its_last_word(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match=r"failed: .*nothing-here"):
        await build(order(tmp_path, "FROM scratch\nCOPY nothing-here /\n"), out=None, progress=print)


async def test_a_base_image_that_cannot_be_had_is_no_failure_of_the_commit(tmp_path: Path) -> None:
    with pytest.raises(CannotBuildError, match="cannot be had"):
        await build(order(tmp_path, "FROM 127.0.0.1:1/nowhere\n"), out=None, progress=print)


async def test_without_a_builder_no_image_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(CannotBuildError, match="apt-get install buildah"):
        await build(order(tmp_path), out=None, progress=print)
