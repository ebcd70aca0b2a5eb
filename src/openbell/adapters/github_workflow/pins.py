"""The actions that are used, each by the commit that its release had when somebody last looked.

A tag can be moved to other code; a commit cannot. Looked up in October 2026; `openbell render github` needs no network.
Raise one by writing the new release and its commit here, then render again.
"""

import msgspec


class Pin(msgspec.Struct, frozen=True):
    """One action: its repository, the commit, and the release that the commit is."""

    repository: str
    commit: str
    release: str


LOOKED_UP = "2026-10"
PINS = (
    Pin("actions/checkout", "3d3c42e5aac5ba805825da76410c181273ba90b1", "v7.0.1"),
    Pin("actions/setup-python", "5fda3b95a4ea91299a34e894583c3862153e4b97", "v7.0.0"),
    Pin("actions/setup-go", "b7ad1dad31e06c5925ef5d2fc7ad053ef454303e", "v7.0.0"),
    Pin("actions/cache", "55cc8345863c7cc4c66a329aec7e433d2d1c52a9", "v6.1.0"),
    Pin("actions/upload-artifact", "043fb46d1a93c77aae656e7c1c64a875d1fc6a0a", "v7.0.1"),
    Pin("actions/download-artifact", "3e5f45b2cfb9172054b4087a40e8e0b5a5461e7c", "v8.0.1"),
    Pin("astral-sh/setup-uv", "08807647e7069bb48b6ef5acd8ec9567f424441b", "v8.1.0"),
    Pin("github/codeql-action", "cdf488f595d80d6e07e03d4674febd5ab45fa938", "v4.37.9"),
    Pin("codecov/codecov-action", "e79a6962e0d4c0c17b229090214935d2e33f8354", "v6.0.1"),
)


class Uses(msgspec.Struct, frozen=True):
    """What stands behind `uses:`, and the comment beside it."""

    text: str
    comment: str


def pinned(action: str) -> Uses:
    """Name an action, or one of those in its repository (`actions/cache/restore`), by its commit."""
    for pin in PINS:
        if action == pin.repository or action.startswith(f"{pin.repository}/"):
            return Uses(f"{action}@{pin.commit}", pin.release)
    raise KeyError(action)


def own(action: str) -> Uses:
    """Name an action of the repository itself, as it was checked out.

    GitHub would rather have `$/` for it, which neither act nor actionlint can read yet.
    """
    return Uses(f"./.github/actions/{action}", "zizmor: ignore[self-repository]")
