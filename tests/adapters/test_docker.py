"""Images built by Docker's buildx: a program of the test's own stands for it, and buildah writes the archive.

No machine of the tests has a daemon; what is tested is what buildx is asked for, and what is made of its archive.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from openbell.adapters import docker
from openbell.core.image import Platform, Recipe
from openbell.ports import AdapterError
from openbell.wiring.images import read_folder
from tests.fakes.images import own_storage

pytestmark = pytest.mark.slow
STAND_IN = """#!/bin/bash
set -euo pipefail
echo "$@" >> {folder}/asked
case "$1 ${{2:-}}" in
  "buildx version" | "info ") exit 0 ;;
  "buildx imagetools") [ "${{!#}}" = base ] && echo sha256:1 || {{ echo "no such image"; exit 1; }}; exit ;;
esac
shift 2
dest= platform= file=
while [ $# -gt 1 ]; do
  case $1 in
    --output) dest=${{2#type=oci,dest=}}; dest=${{dest%%,*}}; shift ;;
    --platform) platform=$2; shift ;;
    --file) file=$2; shift ;;
    --label | --build-arg | --target) shift ;;
  esac
  shift
done
BUILDAH_ISOLATION=chroot buildah build --quiet --timestamp "$SOURCE_DATE_EPOCH" --platform "$platform" --file "$file" \\
  --no-cache --iidfile {folder}/id "$1" >/dev/null
buildah push --quiet "$(cat {folder}/id)" "oci-archive:$dest" >/dev/null
"""


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with own_storage(tmp_path / "storage"):
        program = tmp_path / "bin" / "docker"
        program.parent.mkdir()
        program.write_text(STAND_IN.format(folder=tmp_path))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(program.parent), prepend=":")
        yield tmp_path / "asked"


def recipe(folder: Path, text: str) -> Recipe:
    (folder / "Dockerfile").write_text(text)
    (folder / "file").write_text("x")
    return Recipe(str(folder), str(folder / "Dockerfile"), "", {"A": "1"}, {"l": "2"}, 1580601600)


def last_line(file: Path) -> str:
    return file.read_text().splitlines()[-1]


async def test_an_image_is_taken_out_of_the_archive(asked: Path, tmp_path: Path) -> None:
    assert await docker.is_there()
    made = recipe(tmp_path, "FROM scratch\nCOPY file /file\nUSER 7\n")
    await docker.build(made, Platform("arm64", "linux"), tmp_path / "out")
    _, manifest, config = read_folder(tmp_path / "out")
    assert config.platform == Platform("arm64", "linux")
    assert config.config.user == "7"
    assert all((tmp_path / "out" / one.digest.removeprefix("sha256:")).exists() for one in manifest.layers)
    said = last_line(asked)
    for option in ("--platform linux/arm64", "--build-arg A=1", "--label l=2", "rewrite-timestamp=true"):
        assert option in said


async def test_what_fails_is_told(asked: Path, tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match=r"the build for linux/amd64 failed: .*nothing"):
        await docker.build(
            recipe(tmp_path, "FROM scratch\nCOPY nothing /\n"), Platform("amd64", "linux"), tmp_path / "o"
        )
    assert await docker.obtain("base", None) == "sha256:1"
    with pytest.raises(AdapterError, match="other cannot be had: no such image"):
        await docker.obtain("other", None)


async def test_without_docker_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert not await docker.is_there()
