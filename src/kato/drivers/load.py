"""Finds a driver by kind and name: `load("runtime", "process")` is that file's `Driver` class.

A driver of ours is `kato/drivers/<kind>/<name>.py`; an outsider's comes by the entry point
`kato.drivers.<kind>`. It is imported here, when it is configured, and not before.
"""

from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import Any

from kato.model.errors import DriverMissing


def load(kind: str, name: str) -> Any:
    """The class `Driver` of the driver `name` of `kind`. DriverMissing where there is none of that name."""
    module = f"kato.drivers.{kind}.{name}"
    if name.isidentifier() and find_spec(module) is not None:
        return import_module(module).Driver
    for point in entry_points(group=f"kato.drivers.{kind}", name=name):
        return point.load()
    raise DriverMissing(
        f"There is no {kind} driver called {name!r}: neither Káto nor an installed package brings one."
    )
