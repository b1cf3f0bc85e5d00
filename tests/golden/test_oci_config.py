"""What the oci runtime is told, held against files that a person has read; KATO_GOLDEN=write writes them anew."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from builders import app
from kato.drivers.runtime import Launch
from kato.drivers.runtime.keepers.keeper import KEEPER
from kato.drivers.runtime.oci.config import Bind, Image, Site, config
from kato.drivers.runtime.oci.seccomp import profile
from kato.model.app import App, Container, Docker, Parameter

GOLDEN = Path(__file__).parent / "oci"
IMAGE = Image(
    digest="00",
    env=("PATH=/opt/bin:/bin", "ONE=image"),
    entrypoint=("/bin/run",),
    cmd=("serve",),
    user="web",
    cwd="/srv",
)
SITE = Site(
    hostname="n1",
    sandbox="/data/oci/web.1/sandbox",
    binds=(Bind("/etc/hosts", "/etc/hosts", True), Bind("/data/volumes/shop_data", "/var/lib/data")),
    passwd="root:x:0:0:root:/root:/bin/sh\nweb:x:77:88::/home/web:/bin/sh\n",
    group="root:x:0:\nweb:x:88:\nmore:x:99:root,web\nvideo:x:44:\n",
)


def contained(*parameters: Parameter, **more: Any) -> App:
    container = Container(type="MESOS", docker=Docker(image="web:1", parameters=parameters))
    return app(**({"id": "/shop/web", "cmd": None, "container": container} | more))


CASES = {
    "least": (
        contained(),
        Image(digest="00", cmd=("serve",)),
        Site(hostname="n1", sandbox="/data/oci/web.1/sandbox"),
    ),
    "shop": (contained(args=("-v", "a b")), IMAGE, SITE),
    "line": (contained(cmd="exec serve $PORT0", user="1000:video", labels={"KATO_WORKDIR": "/tmp"}), IMAGE, SITE),
    "flags": (
        contained(
            Parameter(key="cap-add", value="NET_BIND_SERVICE"),
            Parameter(key="cap-drop", value="ALL"),
            Parameter(key="cap-add", value="CAP_CHOWN"),
            Parameter(key="entrypoint", value="/bin/other -x"),
            Parameter(key="env", value="ONE=flag"),
            Parameter(key="group-add", value="video"),
            Parameter(key="hostname", value="here"),
            Parameter(key="init", value="true"),
            Parameter(key="security-opt", value="no-new-privileges:true"),
            Parameter(key="read-only", value="true"),
            Parameter(key="shm-size", value="128m"),
            Parameter(key="tmpfs", value="/scratch:size=1m,mode=700"),
            Parameter(key="ulimit", value="nofile=1024:4096"),
            Parameter(key="ulimit", value="memlock=-1"),
        ),
        IMAGE,
        SITE,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_runtime_is_told(name: str) -> None:
    what, image, site = CASES[name]
    launch = Launch(task="web.1", app=what, env={"ONE": "1", "TWO": "a=b"})
    body = config(launch, image, site)
    held = {each.removeprefix("CAP_") for each in body["process"]["capabilities"]["bounding"]}
    assert body["linux"].pop("seccomp", None) == profile(held), "another one on each processor"
    told = json.dumps(body, indent=2, sort_keys=True).replace(str(KEEPER), "/keeper") + "\n"
    file = GOLDEN / f"{name}.json"
    if os.environ.get("KATO_GOLDEN") == "write":
        file.parent.mkdir(exist_ok=True)
        file.write_text(told)
    assert told == file.read_text()
