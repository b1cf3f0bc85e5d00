"""The runtime contract over every driver; each is a few lines that name it."""

import uuid
from collections.abc import Iterator

import msgspec
import pytest
from runtime_suite import ExecContract

from engine import IMAGE, Dockerd
from kato.drivers.runtime import Options
from kato.model.app import Container, Docker
from oci import supplied
from runtimes import folders


class TestProcess(ExecContract):
    driver = "process"


class TestDocker(ExecContract):
    driver = "docker"
    container = Container(docker=Docker(image=IMAGE))

    @pytest.fixture
    def options(self, engine: Dockerd) -> Iterator[Options]:
        with folders() as options:
            yield msgspec.structs.replace(options, engine=engine.url, node=uuid.uuid4().hex)


class TestOci(ExecContract):
    driver = "oci"
    container = Container(type="MESOS", docker=Docker(image=IMAGE))

    @pytest.fixture
    def options(self) -> Iterator[Options]:
        with supplied(IMAGE) as options:
            yield options
