"""The files of an image, from its layers, as far as they tell of packages. A later layer hides what it takes away.

Source: OCI image-spec 1.1, image layer filesystem changeset (whiteouts).
"""

import tarfile
from collections.abc import Sequence
from pathlib import Path

from openbell.core.sbom import FILE_BYTES_MAX, Component, reader_of
from openbell.ports import AdapterError

WHITEOUT, OPAQUE = ".wh.", ".wh..wh..opq"


def read_components(layers: Sequence[Path]) -> tuple[Component, ...]:
    """Find the packages in an image of these layers, lowest first; raises `AdapterError` for a layer that is none."""
    told: dict[str, list[Component]] = {}
    for layer in layers:
        try:
            _read_layer(layer, told)
        except (tarfile.TarError, OSError, EOFError) as error:
            raise AdapterError(
                "image", "layer", f"{layer.name[:12]} is no layer: {error}", effect="not_applied"
            ) from error
    return tuple(sorted({one for found in told.values() for one in found}))


def _read_layer(layer: Path, told: dict[str, list[Component]]) -> None:
    hidden: list[str] = []
    fresh: dict[str, list[Component]] = {}
    with tarfile.open(layer, "r|*") as archive:
        for entry in archive:
            path = entry.name.removeprefix("./").lstrip("/")
            folder, _, name = path.rpartition("/")
            if name == OPAQUE:
                hidden.append(f"{folder}/" if folder else "")
            elif name.startswith(WHITEOUT):
                hidden.append("/".join(part for part in (folder, name.removeprefix(WHITEOUT)) if part))
            elif entry.isfile():
                fresh[path] = _read_file(archive, entry, path)
    for path in list(told):
        if path in fresh or any(
            path == one or path.startswith(one if one.endswith("/") else f"{one}/") or not one for one in hidden
        ):
            del told[path]
    told |= {path: found for path, found in fresh.items() if found}


def _read_file(archive: tarfile.TarFile, entry: tarfile.TarInfo, path: str) -> list[Component]:
    reader = reader_of(path)
    if reader is None or entry.size > FILE_BYTES_MAX:
        return []
    file = archive.extractfile(entry)
    return reader(file.read()) if file is not None else []
