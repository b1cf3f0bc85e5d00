"""What a container gets of its machine only where the cell is privileged, and what it always gets."""

from pathlib import Path
from typing import Any

import pytest

from builders import app
from kato.drivers.runtime.docker.held import hold_back
from kato.drivers.runtime.rights import hold_place
from kato.model.app import Container, Docker
from kato.model.errors import DriverError

PLAIN = app(cmd=None, container=Container(docker=Docker(image="web:1")))


@pytest.mark.parametrize(
    "host",
    [
        {"Privileged": True},
        {"CapAdd": ["NET_RAW", "SYS_ADMIN"]},
        {"CapAdd": ["all"]},
        {"CapAdd": ["CAP_SYS_MODULE"]},
        {"Devices": [{"PathOnHost": "/dev/sda", "PathInContainer": "/dev/x", "CgroupPermissions": "rwm"}]},
        {"DeviceCgroupRules": ["b 8:* rwm"]},
        {"PidMode": "host"},
        {"PidMode": "container:other"},
        {"IpcMode": "host"},
        {"UsernsMode": "host"},
        {"SecurityOpt": ["no-new-privileges", "seccomp=unconfined"]},
        {"SecurityOpt": ["apparmor:unconfined"]},
        {"SecurityOpt": ["systempaths=unconfined"]},
        {"SecurityOpt": ["label=disable"]},
        {"Runtime": "/srv/data/mine"},
    ],
)
def test_what_gives_the_machine_away_is_held_back(host: dict[str, Any]) -> None:
    with pytest.raises(DriverError, match=r"could do anything to this machine.*KATO_PRIVILEGED=1"):
        hold_back(PLAIN, host, ())


@pytest.mark.parametrize(
    "host",
    [
        {"Privileged": False, "CgroupParent": "/own", "CgroupnsMode": "host", "UTSMode": "host"},
        {"CapAdd": ["NET_BIND_SERVICE", "cap_chown", "MKNOD"], "CapDrop": ["ALL"]},
        {"IpcMode": "shareable", "PidMode": "", "UsernsMode": "private", "Runtime": "crun"},
        {"SecurityOpt": ["no-new-privileges:true", "no-new-privileges", "apparmor=docker-default"]},
    ],
)
def test_what_docker_gives_every_container_is_not(host: dict[str, Any]) -> None:
    hold_back(PLAIN, host, ())


@pytest.mark.parametrize(
    "place",
    ["/", "//", "/var/..", "/proc", "/proc/1/root", "/proc/sys/kernel", "/etc", "/etc/shadow", "/run", "/var/run",
     "/var/run/docker.sock", "/run/dbus/system_bus_socket", "/var", "/var/lib", "/var/lib/docker/volumes", "/root",
     "/root/.ssh/authorized_keys", "/srv/other/docker.sock", "/run/user/0/bus", "/var/run/user",
     "/run/libvirt/libvirt-sock", "/var/lib/incus/unix.socket", "/proc/self/cwd", "/proc/thread-self/cwd/x",
     "/srv/../proc/self/cwd/..", "//proc/./self/cwd"],
)  # fmt: skip
def test_places_that_no_container_gets(place: str) -> None:
    with pytest.raises(DriverError, match=r"of the host.*could do anything to this machine"):
        hold_place(place, read_only=True)


@pytest.mark.parametrize(
    "place",
    ["/etc/cron.d", "/etc/passwd", "/usr", "/usr/local/bin", "/bin", "/lib", "/boot", "/sys/fs/cgroup", "/home",
     "/home/ada", "/home/ada/.bashrc", "/home/ada/.ssh", "/root/.profile",
     "/home/ada/.config", "/home/ada/.config/fish", "/home/ada/.zprofile", "/var/spool/cron/crontabs", "/dev",
     "/run/systemd/transient", "/run/systemd/generator/x.service",
     "/var/lib/cloud/scripts/per-boot", "/nix/store"],
)  # fmt: skip
def test_places_that_no_container_writes_to(place: str) -> None:
    with pytest.raises(DriverError, match=r"write to .*Bind it read-only"):
        hold_place(place, read_only=False)


@pytest.mark.parametrize(
    ("place", "read_only"),
    [
        ("/etc/localtime", True),
        ("/etc/ssl/certs", True),
        ("/usr/share/zoneinfo", True),
        ("/lib/modules", True),
        ("/sys", True),
        ("/var/log", True),
        ("/home/ada/shop/data", False),
        ("/root/shop/data", False),
        ("/home/ada/.config/shop", False),
        ("/srv", False),
        ("/opt/shop", False),
        ("/dev/shm", False),
        ("/run/postgresql", False),
        ("/var/lib/shop", False),
    ],
)
def test_places_that_people_bind(place: str, read_only: bool) -> None:
    hold_place(place, read_only=read_only)


def test_a_link_is_what_it_leads_to_and_the_cell_s_own_folder_is_no_container_s(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/")
    (tmp_path / "cell").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "mine").symlink_to("../" * len(tmp_path.parts) + "proc/self/cwd")
    for place in (
        tmp_path / "link", tmp_path / "link/proc", tmp_path / "cell/access", tmp_path, tmp_path / "mine",
        tmp_path / "loop",
    ):  # fmt: skip
        with pytest.raises(DriverError, match="could do anything"):
            hold_place(str(place), read_only=True, own=(tmp_path / "cell",))
    hold_place(str(tmp_path / "other"), read_only=False, own=(tmp_path / "cell",))
