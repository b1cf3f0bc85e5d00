"""The contract of networks over every driver that gives containers some."""

import uuid
from collections.abc import Iterator, Sequence

import msgspec
import pytest
from network_suite import NetworkContract

from engine import IMAGE, Dockerd, Room
from kato.drivers.load import load
from kato.drivers.runtime import Options, Runtime
from kato.model.app import Container, Docker, Parameter
from oci import linked, roomed
from runtimes import folders


class TestDocker(NetworkContract):
    container = Container(docker=Docker(image=IMAGE))
    flags = (Parameter(key="dns", value="127.0.0.1"),)  # so that what it does not know is nobody's, at once

    @pytest.fixture
    def room(self, engine: Dockerd) -> Room:
        return engine

    @pytest.fixture
    def options(self, engine: Dockerd) -> Iterator[Options]:
        with folders() as options:
            yield msgspec.structs.replace(options, engine=engine.url, node=uuid.uuid4().hex)

    async def open(self, options: Options) -> Runtime:
        opened: Runtime = await load("runtime", "docker").open(options)
        return opened

    def networks(self, room: Room) -> Sequence[str]:
        assert isinstance(room, Dockerd)
        return room.ask("network", "ls", "--filter=label=kato.node", "--quiet").split()


class TestOci(NetworkContract):
    container = Container(type="MESOS", docker=Docker(image=IMAGE))

    @pytest.fixture
    def room(self, own_network: Room) -> Room:
        return own_network

    @pytest.fixture
    def options(self) -> Iterator[Options]:
        with roomed() as options:
            yield options

    async def open(self, options: Options) -> Runtime:
        opened: Runtime = await load("runtime", "oci").open(options)
        return opened

    def networks(self, room: Room) -> Sequence[str]:
        return linked(room)
