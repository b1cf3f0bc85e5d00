"""Whole machines, and process drivers alone, over folders of their own; all that ran there is ended afterwards."""

from collections.abc import AsyncIterator, Iterator

import pytest

from kato.drivers.runtime import Options
from kato.drivers.runtime.process import Driver
from kato.drivers.runtime.resources.cgroups import Limits
from machine import Machine, own_cell
from runtimes import ending_all, folders


@pytest.fixture
def options() -> Iterator[Options]:
    with folders() as options:
        yield options


@pytest.fixture
async def driver(options: Options) -> AsyncIterator[Driver]:
    driver = await Driver.open(options)
    async with ending_all(driver):
        yield driver


@pytest.fixture(params=["cgroups", "no cgroups"])
async def either(request: pytest.FixtureRequest, options: Options) -> AsyncIterator[Driver]:
    """A driver as the machine permits, and one as on a machine that permits no cgroups."""
    limits = None if request.param == "cgroups" else Limits({}, ())
    driver = await Driver.open(options, limits=limits)
    async with ending_all(driver):
        yield driver


@pytest.fixture
def machine() -> Iterator[Machine]:
    with own_cell() as machine:
        yield machine
