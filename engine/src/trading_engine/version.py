"""The version of this build, read once from the package's metadata."""

from functools import cache
from importlib.metadata import PackageNotFoundError, version


@cache
def service_version() -> str:
    """The version that every response carries in `X-Service-Version`."""
    try:
        return version("trading-engine")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "0.0.0"
