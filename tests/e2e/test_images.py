"""An image of the Go example for two platforms, to a registry and back; what was tampered with is refused."""

import base64
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from openbell.adapters import dsse
from openbell.core.image import OCI_INDEX, OCI_MANIFEST
from tests.fakes.images import blob_file, make_go_image, own_storage, running_registry

pytestmark = [pytest.mark.slow, pytest.mark.e2e]
ROOT = Path(__file__).parents[2]
SOURCE, BUILDER = "https://example.com/acme/order-gate", "https://ci.example.com/openbell"
CONFIGURATION = """
[project]
name = "order-gate"
[release.provenance]
source = "{source}"
builder = "{builder}"
[services.order-gate]
protocol = "http"
run = "order-gate serve --port {{port}}"
[environments.production]
branch = "main"
[environments.production.verify]
key = "release.pub"
source = "{source}"
builder = "{builder}"
[jobs.image]
"""


class World(NamedTuple):
    """A project with a release whose image is in a registry, and where all of it lies."""

    root: Path
    registry: str
    content: Path

    def openbell(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "OPENBELL_SIGNING_KEY": str(self.root.parent / "release.key")}
        command = [sys.executable, "-m", "openbell", *arguments]
        return subprocess.run(command, cwd=self.root, env=env, capture_output=True, text=True, check=False)

    def json(self, *arguments: str) -> Any:
        done = self.openbell(*arguments, "--json")
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    @property
    def reference(self) -> str:
        found = self.json("release", "show")
        return str(found["services"]["order-gate"])

    def verify(self, reference: str) -> tuple[int, str]:
        key = str(self.root / "release.pub")
        done = self.openbell("image", "verify", reference, "--key", key, "--source", SOURCE, "--builder", BUILDER)
        return done.returncode, done.stdout + done.stderr


TINY = {
    "go.mod": "module example.org/tiny\n\ngo 1.25\n",
    "cmd/order-gate/main.go": 'package main\n\nimport "os"\n\nfunc main() { os.Stdout.WriteString("well\\n") }\n',
    "Dockerfile": """
ARG BUILD_IMAGE=golang:1.26
FROM --platform=$BUILDPLATFORM ${BUILD_IMAGE} AS build
ARG TARGETOS
ARG TARGETARCH
WORKDIR /src
COPY go.mod ./
COPY cmd ./cmd
RUN CGO_ENABLED=0 GOOS=${TARGETOS} GOARCH=${TARGETARCH} \\
    go build -trimpath -buildvcs=false -ldflags="-s -w -buildid=" -o /order-gate ./cmd/order-gate
FROM scratch
COPY --from=build /order-gate /order-gate
USER 65532:65532
HEALTHCHECK CMD ["/order-gate", "health"]
ENTRYPOINT ["/order-gate"]
""",
}
"""A program that takes seconds to compile, built in the way of the example."""


def write_project(root: Path, example: Path, env: dict[str, str], files: Mapping[str, str] | None = None) -> None:
    """Write a project of the repository with its image job alone: the other jobs have tests of their own.

    `files` take the place of its sources.
    """
    shutil.copytree(example, root, ignore=shutil.ignore_patterns(".openbell", ".venv", "__pycache__"))
    for name in ("cmd", "internal", "go.sum") if files else ():
        shutil.rmtree(root / name) if (root / name).is_dir() else (root / name).unlink()
    for name, text in (files or {}).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    job = tomllib.loads((root / "openbell.toml").read_text())["jobs"]["image"]
    job["env"] = {**job["env"], **env}
    lines = [f"{key} = {json.dumps(value)}" for key, value in job.items() if key != "env"]
    lines += ["[jobs.image.env]", *(f"{key} = {json.dumps(value)}" for key, value in job["env"].items())]
    head = CONFIGURATION.format(source=SOURCE, builder=BUILDER)
    (root / "openbell.toml").write_text(head + "\n".join(lines) + "\n")
    private, public = dsse.make_key()
    (root.parent / "release.key").write_text(private)
    (root / "release.pub").write_text(public)
    (root / ".gitignore").write_text(".openbell\n")
    who = ["-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false"]
    for command in (["init", "--quiet", "-b", "main"], ["add", "-A"], ["commit", "--quiet", "-m", "feat: begin"]):
        subprocess.run(["git", *who, *command], cwd=root, check=True)


@contextlib.contextmanager
def released(folder: Path, *, tiny: bool) -> Iterator[World]:
    """Have a project whose only release was built, pushed, signed and published."""
    with running_registry(folder / "registry") as registry, own_storage(folder / "storage", driver="overlay"):
        make_go_image("localhost/go", folder / "go", None if tiny else ROOT / "examples" / "go-service")
        env = {"BUILD_IMAGE": "localhost/go", "CONTAINERS_STORAGE_CONF": os.environ["CONTAINERS_STORAGE_CONF"]}
        example = ROOT / "examples" / "go-service"
        write_project(folder / "project", example, {**env, "REGISTRY": registry}, TINY if tiny else None)
        made = World(folder / "project", registry, folder / "registry")
        done = made.openbell("run", "--trigger", "push", "--no-deploy")
        assert done.returncode == 0, done.stdout + done.stderr
        yield made


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with released(tmp_path_factory.mktemp("images"), tiny=True) as made:
        yield made


def test_the_image_is_pushed_pulled_back_and_verified(world: World, tmp_path: Path) -> None:
    found = world.json("release", "show")
    (image,) = found["images"]
    assert [one["platform"] for one in image["platforms"]] == ["linux/amd64", "linux/arm64"]
    bills = found["bills_of_materials"]
    assert all(bills[one["bill_of_materials"]] >= 2 for one in image["platforms"]), bills
    for name in ("main", found["names"][0]["commit"][:7], image["digest"]):
        separator = "@" if name.startswith("sha256:") else ":"
        code, said = world.verify(f"{world.registry}/order-gate{separator}{name}")
        assert code == 0, said
        assert image["digest"] in said
    programs = {}
    for one in image["platforms"]:
        architecture = one["platform"].rpartition("/")[2]
        place = f"docker://{world.registry}/order-gate@{image['digest']}"
        options = ["--quiet", "--tls-verify=false", "--arch", architecture]
        pulled = said_of("buildah", "pull", *options, place)
        digest = said_of("buildah", "inspect", "--type", "image", "--format", "{{.FromImageDigest}}", pulled)
        assert digest in (one["digest"], image["digest"])
        container = said_of("buildah", "from", "--pull-never", pulled)
        mounted = Path(said_of("buildah", "mount", container))
        programs[architecture] = (mounted / "order-gate").read_bytes()
        said_of("buildah", "rm", container)
    assert {name: content[18] for name, content in programs.items()} == {"amd64": 0x3E, "arm64": 0xB7}
    native = tmp_path / "order-gate"
    native.write_bytes(programs["amd64" if os.uname().machine == "x86_64" else "arm64"])
    native.chmod(0o755)
    assert subprocess.run([native, "help"], capture_output=True, check=False).returncode in (0, 2)


def test_the_release_may_be_deployed_and_cosign_agrees(world: World) -> None:
    assert world.json("release", "verify")["ok"]
    cosign = shutil.which("cosign")
    if cosign is None:
        pytest.skip("cosign is not installed")
    key = str(world.root / "release.pub")
    options = ["--key", key, "--insecure-ignore-tlog=true", "--allow-insecure-registry", "--new-bundle-format=false"]
    for kind in ("slsaprovenance1", "cyclonedx"):
        done = subprocess.run(
            [cosign, "verify-attestation", *options, "--type", kind, world.reference],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


def test_another_key_builder_or_source_is_refused(world: World, tmp_path: Path) -> None:
    other = tmp_path / "other.pub"
    other.write_text(dsse.make_key()[1])
    for arguments, said in (
        (["--key", str(other)], "another key"),
        (["--key", str(world.root / "release.pub"), "--builder", "https://elsewhere.example"], "its builder is"),
        (["--key", str(world.root / "release.pub"), "--source", "https://example.com/fork"], "its source is"),
        (["--key", str(world.root / "release.pub"), "--commit", "0" * 40], "its commit is"),
    ):
        done = world.openbell("image", "verify", world.reference, *arguments)
        assert done.returncode == 1
        assert said in done.stdout


def test_another_image_under_the_same_tag_is_refused(world: World) -> None:
    digest = world.reference.partition("@")[2]
    place = f"http://{world.registry}/v2/order-gate/manifests"
    index = httpx.get(f"{place}/{digest}", headers={"Accept": OCI_INDEX}).json()
    index["manifests"] = index["manifests"][:1]
    httpx.put(f"{place}/stolen", content=json.dumps(index), headers={"Content-Type": OCI_INDEX}).raise_for_status()
    code, said = world.verify(f"{world.registry}/order-gate:stolen")
    assert code == 1
    assert "there is none: nobody says where it comes from" in said
    # Statements of the true image beside the other one: they are about another content.
    headers = {"Content-Type": OCI_MANIFEST}
    attached = httpx.get(f"{place}/{digest.replace(':', '-')}.att", headers={"Accept": OCI_MANIFEST}).content
    there = httpx.head(f"{place}/stolen", headers={"Accept": OCI_INDEX}).headers["docker-content-digest"]
    httpx.put(f"{place}/{there.replace(':', '-')}.att", content=attached, headers=headers).raise_for_status()
    code, said = world.verify(f"{world.registry}/order-gate:stolen")
    assert code == 1
    assert "it is about another content" in said


@pytest.mark.parametrize("part", ["layer", "configuration", "manifest", "statement"])
def test_what_was_changed_in_the_registry_is_refused(world: World, part: str) -> None:
    digest = world.reference.partition("@")[2]
    index = json.loads(blob_file(world.content, digest).read_bytes())
    manifest = index["manifests"][0]["digest"]
    image = json.loads(blob_file(world.content, manifest).read_bytes())
    place = f"http://{world.registry}/v2/order-gate/manifests"
    attached = httpx.get(f"{place}/{digest.replace(':', '-')}.att", headers={"Accept": OCI_MANIFEST}).json()
    changed = {
        "layer": image["layers"][-1]["digest"],
        "configuration": image["config"]["digest"],
        "manifest": manifest,
        "statement": attached["layers"][0]["digest"],
    }[part]
    file = blob_file(world.content, changed)
    before = file.read_bytes()
    file.write_bytes(before.replace(b'"', b"'", 1) if part != "layer" else before[:-1] + bytes([before[-1] ^ 1]))
    try:
        code, said = world.verify(world.reference)
    finally:
        file.write_bytes(before)
    assert code == 1, said
    assert "it was tampered with" in said or "500" in said
    assert world.verify(world.reference)[0] == 0


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("manifest.json", "it was changed"),
        ("artifacts/images.json", "changed since they were built: images.json"),
        ("artifacts/order-gate-linux-arm64.cdx.json", "order-gate-linux-arm64.cdx.json"),
        ("statements/order-gate-linux-amd64.dsse.json", "changed after it was signed"),
        ("statements/provenance", "changed after it was signed"),
    ],
)
def test_a_release_that_was_changed_on_this_machine_is_not_deployed(world: World, file: str, said: str) -> None:
    (folder,) = (world.root / ".openbell" / "releases").iterdir()
    (path,) = folder.glob(f"{file}*.json" if file.endswith("provenance") else file)
    before = path.read_bytes()
    if path.parent.name == "statements":
        envelope = json.loads(before)
        payload = base64.b64decode(envelope["payload"]).replace(b"sha256", b"sha257", 1)
        path.write_text(json.dumps({**envelope, "payload": base64.b64encode(payload).decode()}))
    else:
        path.write_bytes(before.replace(b"order-gate", b"order-date", 1))
    try:
        done = world.openbell("deploy", "production")
    finally:
        path.write_bytes(before)
    assert done.returncode == 1
    assert "is not verified, and production wants it to be" in done.stderr
    assert said in done.stderr
    assert world.json("release", "verify")["ok"]


def said_of(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.long
def test_the_go_example_itself(tmp_path: Path) -> None:
    with released(tmp_path, tiny=False) as made:
        (image,) = made.json("release", "show")["images"]
        assert [one["platform"] for one in image["platforms"]] == ["linux/amd64", "linux/arm64"]
        code, said = made.verify(image["reference"])
        assert code == 0, said
        assert made.json("release", "verify")["ok"]


@pytest.mark.long
def test_the_engine_for_all_its_services(tmp_path: Path) -> None:
    with running_registry(tmp_path / "registry") as registry, own_storage(tmp_path / "storage", driver="overlay"):
        subprocess.run(
            [ROOT / "engine" / "images" / "base-image", "--python", sys.executable, "localhost/base"], check=True
        )
        made = World(tmp_path / "project", registry, tmp_path / "registry")
        storage = {"BASE_IMAGE": "localhost/base", "CONTAINERS_STORAGE_CONF": os.environ["CONTAINERS_STORAGE_CONF"]}
        write_project(made.root, ROOT / "engine", {**storage, "REGISTRY": registry})
        done = made.openbell("run", "--trigger", "push", "--no-deploy")
        assert done.returncode == 0, done.stdout + done.stderr
        found = made.json("release", "show")
        assert sorted(found["services"]) == ["api", "fix-gateway", "websocket", "worker"]
        (image,) = found["images"]
        assert found["bills_of_materials"][image["platforms"][0]["bill_of_materials"]] > 10
        code, said = made.verify(image["reference"])
        assert code == 0, said
        assert made.json("release", "verify")["ok"]
