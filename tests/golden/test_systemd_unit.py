"""The unit of a cell, held against files that a person has read; KATO_GOLDEN=write writes them anew."""

import os
from pathlib import Path

import pytest

from kato.cli.upkeep.cell import words
from kato.cli.upkeep.unit import folder_of, unit
from kato.config import RESOLVERS, Config

GOLDEN = Path(__file__).parent / "systemd"
SEARCH = {"PATH": "/opt/kato/bin:/usr/bin:/bin"}
ODD = Path('/srv/ünser $HOME "100%"\\\n\udcff')
UNITS = {
    "root": (Config(data=Path("/var/lib/kato")), {**SEARCH, "HOME": "/root", "SUDO_USER": "ada"}, False),
    "user": (
        Config(data=Path("/home/ada/.local/share/kato"), dns="127.0.0.1:53", resolvers=RESOLVERS),
        {**SEARCH, "HOME": "/home/ada", "DOCKER_HOST": "unix:///run/user/1000/docker.sock"},
        True,
    ),
    "odd": (Config(data=ODD), {**SEARCH, "LANG": 'a $b %c "d"'}, False),
}


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_is_written_as_before(name: str) -> None:
    config, environ, user = UNITS[name]
    command = ["/opt/kato/bin/python", *words(config)[1:]]
    text = unit(command, environ, config.data, user=user)
    golden = GOLDEN / f"{name}.service"
    if os.environ.get("KATO_GOLDEN") == "write":
        golden.write_text(text, "utf-8")
    assert text == golden.read_text("utf-8")
    assert folder_of(text) == config.data


def test_a_unit_of_somebody_else_names_no_folder() -> None:
    assert folder_of("[Unit]\nDescription=another kato\n") is None
    assert folder_of("[Unit]\nX-Folder=nonsense\n") is None
