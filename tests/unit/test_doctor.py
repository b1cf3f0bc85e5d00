"""doctor: each thing is ok, a warning or a fault, with what to do; the exit code says whether one is a fault."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from kato import certificates
from kato.cli.upkeep.certify import certify
from kato.cli.upkeep.doctor import certificate, clock, descriptors, engine, folder, kernel, port, version
from kato.cli.words.place import Place
from kato.config import Config
from load import free_ports

CHECKS = ["cell", "api", "ingress", "folder", "disk", "kernel", "processes", "balancer", "containers", "cgroups"]
CHECKS += ["limits", "clock"]


def doctor(tmp_path: Path, **environ: str) -> tuple[int, dict[str, dict[str, str]]]:
    done = subprocess.run(
        [sys.executable, "-m", "kato", "doctor", "-o", "json"],
        env={**os.environ, "KATO_DATA": str(tmp_path / "data"), **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    return done.returncode, {each["check"]: each for each in json.loads(done.stdout)}


def test_a_machine_that_has_all_is_told_so_and_is_not_changed(tmp_path: Path) -> None:
    api, ingress = free_ports(2)
    code, found = doctor(tmp_path, KATO_API=f"127.0.0.1:{api}", KATO_INGRESS=f"127.0.0.1:{ingress}")
    assert list(found) == CHECKS
    assert code == 0 and not [each for each in found.values() if each["state"] == "fault"]
    assert all(bool(each["todo"]) is (each["state"] != "ok") for each in found.values()), found
    assert found["api"]["found"] == f"127.0.0.1:{api} is free"
    assert list(tmp_path.iterdir()) == []


def test_a_port_that_is_taken_and_a_folder_that_cannot_be_are_faults(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        (ingress,) = free_ports(1)
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert port("ingress", address).state == "fault"
        assert "--ingress, KATO_INGRESS" in port("ingress", address).todo
        data = "/proc/none" if os.geteuid() == 0 else "/none"
        code, found = doctor(tmp_path, KATO_INGRESS=address, KATO_API=f"127.0.0.1:{ingress}", KATO_DATA=data)
    assert code == 1
    assert found["ingress"]["state"] == "fault" and "Address already in use" in found["ingress"]["found"]
    assert folder(Path("/dev/null/x")).state == "fault"


@pytest.mark.parametrize(("days", "state"), [(825, "ok"), (29, "warn"), (-1, "fault")])
def test_a_certificate_that_ends_soon_is_told(
    tmp_path: Path, days: int, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificates, "DAYS", days)
    secure = Config(data=tmp_path, https=True)
    assert "kato certify" in certificate(secure).todo and certificate(secure).state == "fault", "there is none yet"
    certify("kato.example", place=Place(data=str(tmp_path)))
    found = certificate(secure)
    assert found.state == state and bool(found.todo) is (state != "ok")


@pytest.mark.parametrize(
    ("release", "state"), [("6.1.0-18-amd64", "ok"), ("5.9", "ok"), ("5.8.18", "fault"), ("4.19", "fault")]
)
def test_an_old_kernel_is_a_fault(release: str, state: str) -> None:
    assert kernel(release).state == state
    assert version("20.10.24+dfsg1") == (20, 10) and version("odd") == ()


def test_what_is_scarce_is_a_warning() -> None:
    assert [descriptors(hard).state for hard in (1024, 4096, -1)] == ["warn", "ok", "ok"]
    assert [clock(now, state).state for now, state in ((0.0, 0), (1.8e9, 5), (1.8e9, 0))] == [
        "fault",
        "warn",
        "ok",
    ]


async def test_a_machine_without_an_engine_is_warned_with_what_installs_one() -> None:
    found = await engine("unix:///no/such.sock", True)
    assert found.state == "warn" and "apt-get install docker.io" in found.todo
