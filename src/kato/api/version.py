"""The version of the Káto that runs."""

from functools import cache
from importlib.metadata import PackageNotFoundError, version


@cache
def kato_version() -> str:
    """As installed; `0` from a bare checkout."""
    try:
        return version("katosys")
    except PackageNotFoundError:
        return "0"
