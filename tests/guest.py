"""A whole machine with a kernel of its own, in QEMU, for what this machine's kernel does not offer: cgroup v2
alone, with all controllers, as users have it. `make guest` makes its disk, boots it, and has it run the tests
below; what they say goes to its serial line, and so comes out here.

It needs root, Debian on x86_64, and the packages of packages.txt under `# guest`. Without KVM it takes minutes.
"""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import ROOT, Machine

PACKAGES = (
    "systemd", "systemd-sysv", "dbus", "udev", "iproute2", "procps", "python3", "linux-image-cloud-amd64", "kmod"
)  # fmt: skip
NEEDED = ("qemu-system-x86_64", "mmdebstrap", "mke2fs")
LONGEST = 1800
"""Seconds that a guest may take."""
INSIDE = "/srv/kato"
"""Where the checkout is in the guest."""
LEFT_OUT = ("__pycache__", ".git", ".*_cache", ".hypothesis", "test", "idlelib", ".venv", "build")
"""What no test there reads."""
CGROUP = Path("/sys/fs/cgroup")
UNIT = """
[Unit]
After=multi-user.target
[Service]
Type=oneshot
Environment=HOME=/root CI=1 LANG=C.UTF-8 PATH={bin}:/usr/sbin:/usr/bin:/sbin:/bin
Environment=PYTHONPATH={root}/src:{root}/tests
WorkingDirectory={root}
ExecStart=/bin/sh -c 'exec {bin}/python -m pytest -v -p no:cacheprovider -o timeout=600 {tests} > /root/said 2>&1'
ExecStopPost=/bin/sh -c '(cat /root/said; echo guest: $EXIT_STATUS) >/dev/ttyS0; systemctl poweroff -ff'
"""


# -- outside ------------------------------------------------------------------------------------------------------


def main(tests: list[str]) -> int:
    """Boots a guest that runs `tests`: 0 where all of them passed, 1 where not, 2 where none can be booted."""
    if why := _hindered():
        print(why, file=sys.stderr)
        return 2
    began = time.monotonic()
    # Not /tmp, which may be memory: the disk has some GB.
    with tempfile.TemporaryDirectory(prefix="kato-guest-", dir=os.environ.get("TMPDIR", "/var/tmp")) as name:
        folder = Path(name)
        print("Making the guest's disk", flush=True)
        try:
            made(folder, tests)
        except subprocess.CalledProcessError as error:
            print(
                f"The disk cannot be made: {error.cmd[0]} failed. Do the package servers answer?", file=sys.stderr
            )
            return 2
        print("Booting it, which runs the tests", flush=True)
        said, passed = _booted(folder)
    print(said[-20_000:])
    print(f"make guest: {'passed' if passed else 'FAILED'}, in {time.monotonic() - began:.0f} s")
    return 0 if passed else 1


def _hindered() -> str:
    """Why this machine boots no guest."""
    if os.geteuid() != 0:
        return "Only root can make the guest's disk: sudo make guest."
    if platform.machine() != "x86_64" or platform.freedesktop_os_release()["ID"] != "debian":
        return "The guest has this machine's system, which has to be Debian on x86_64: run make guest on one."
    missing = [name for name in NEEDED if shutil.which(name) is None]
    return f"{', '.join(missing)} cannot be found: make guest installs what has them." if missing else ""


def _booted(folder: Path) -> tuple[str, bool]:
    """What the guest says on its serial line until it is off, and whether its tests passed."""
    kernel, initrd = (next((folder / "root" / "boot").glob(f"{kind}-*")) for kind in ("vmlinuz", "initrd.img"))
    words = ["qemu-system-x86_64", "-nographic", "-no-reboot", "-m", "2048", "-smp", "2", "-nic", "none"]
    words += ["-kernel", str(kernel), "-initrd", str(initrd)]
    words += ["-drive", f"file={folder}/disk,if=virtio,format=raw,cache=unsafe"]
    words += ["-append", "root=/dev/vda rw console=ttyS0 quiet systemd.show_status=0"]
    # A KVM that is there need not work (one inside another machine), so it is asked for: KVM=1 make guest.
    how = "kvm" if os.environ.get("KVM") else "tcg,thread=multi"
    words += ["-accel", how, "-cpu", "host" if how == "kvm" else "max"]
    late = ""
    with (folder / "said").open("wb") as line:
        try:
            subprocess.run(words, stdin=subprocess.DEVNULL, stdout=line, stderr=line, timeout=LONGEST, check=False)
        except subprocess.TimeoutExpired:
            late = f"\nThe guest was not off after {LONGEST} s.\n"
    said = (folder / "said").read_text(errors="replace")
    return said + late, re.search(r"^guest: 0\s*$", said, re.MULTILINE) is not None


def made(folder: Path, tests: list[str]) -> None:
    """The guest's disk: this system, this Python with what it has installed, and this checkout."""
    root = folder / "root"
    release = platform.freedesktop_os_release()["VERSION_CODENAME"]  # the Python of /usr is that of the guest
    words = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}", release]
    subprocess.run([*words, root], check=True)
    places = {sys.prefix: sys.prefix, sys.base_prefix: sys.base_prefix, str(ROOT): INSIDE}
    for each, place in places.items():
        if each == "/usr":
            continue
        (root / place[1:]).parent.mkdir(parents=True, exist_ok=True)
        left_out = shutil.ignore_patterns(*LEFT_OUT)
        shutil.copytree(each, root / place[1:], symlinks=True, ignore=left_out, dirs_exist_ok=True)
    units = root / "etc/systemd/system"
    text = UNIT.format(bin=f"{sys.prefix}/bin", root=INSIDE, tests=" ".join(tests))
    (units / "tests.service").write_text(text)
    wants = units / "multi-user.target.wants"
    wants.mkdir(exist_ok=True)
    (wants / "tests.service").symlink_to("../tests.service")
    site = Path(sys.prefix, "lib", f"python{sys.version_info[0]}.{sys.version_info[1]}", "site-packages")
    (root / str(site)[1:] / "guest.pth").write_text(f"{INSIDE}/src\n")  # for what systemd starts
    (units / "serial-getty@ttyS0.service").symlink_to("/dev/null")  # it would hang up on who writes there
    (units / "tmp.mount").symlink_to("/dev/null")  # this would hide a checkout in /tmp,
    (root / "etc/tmpfiles.d").mkdir(exist_ok=True)
    (root / "etc/tmpfiles.d/tmp.conf").symlink_to("/dev/null")  # and this clear it away
    (root / "etc/fstab").write_text("/dev/vda / ext4 defaults 0 1\n")
    size = int(subprocess.run(["du", "-sm", root], capture_output=True, check=True).stdout.split()[0]) + 1000
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", root, folder / "disk", f"{size}M"], check=True)


# -- inside -------------------------------------------------------------------------------------------------------


def test_cgroup_v2_is_alone_with_all_controllers() -> None:
    mounts = Path("/proc/self/mountinfo").read_text()
    assert " - cgroup2 " in mounts and " - cgroup " not in mounts
    assert {"memory", "cpu", "pids"} <= set((CGROUP / "cgroup.controllers").read_text().split())


def test_a_service_s_limits_hold_under_systemd() -> None:
    machine = Machine()
    for name in ("KATO_API", "KATO_INGRESS", "KATO_DATA"):
        machine.env.pop(name)
    machine.api, machine.data = "127.0.0.1:8180", Path("/var/lib/kato")
    try:
        machine.kato("service", "install")
        unit = subprocess.run(
            ["systemctl", "show", "kato", "-p", "Delegate", "-p", "ActiveState"], capture_output=True, text=True
        ).stdout
        assert set(unit.split()) == {"Delegate=yes", "ActiveState=active"}
        (node,) = json.loads(machine.kato("nodes", "-o", "json"))
        assert not any("limits" in note for note in node["notes"])
        _memory(machine)
        _cpu(machine)
        _tree(machine)
    finally:
        machine.kato("uninstall", "--purge", "--yes", code=None)


def _deploy(machine: Machine, **app: object) -> str:
    assert machine.ask("POST", "/v2/apps", {"cpus": 0.25, "mem": 64, **app}) is not None
    machine.until(lambda: bool(machine.tasks(str(app["id"]))))
    return str(machine.tasks(str(app["id"]))[0]["id"])


def _memory(machine: Machine) -> None:
    hog = "exec python3 -c 'x = bytearray(300 << 20); print(len(x))'"
    _deploy(machine, id="/hog", cmd=hog, backoffSeconds=600)
    machine.until(lambda: (machine.get("/v2/apps/hog")["app"].get("lastTaskFailure") or {}) != {})
    assert "memory" in machine.get("/v2/apps/hog")["app"]["lastTaskFailure"]["message"]
    machine.kato("rm", "hog", "--force")


def _folder(task: str) -> Path:
    (found,) = CGROUP.glob(f"kato/*/{task}")
    return found


def _used(folder: Path) -> float:
    line = (folder / "cpu.stat").read_text().splitlines()[0]
    return int(line.split()[1]) / 1e6


def _cpu(machine: Machine) -> None:
    limits = {"cpus": 0.25}
    task = _deploy(machine, id="/burns", cmd="while :; do :; done", resourceLimits=limits)
    machine.until(lambda: bool(list(CGROUP.glob(f"kato/*/{task}"))))
    folder = _folder(task)
    machine.until(lambda: _used(folder) > 0.5)
    began, used = time.monotonic(), _used(folder)
    machine.until(lambda: _used(folder) > used + 1.0)
    share = (_used(folder) - used) / (time.monotonic() - began)
    assert share < 0.35, f"{share:.2f} of a core, where 0.25 were allowed"
    machine.kato("rm", "burns", "--force")


def _tree(machine: Machine) -> None:
    leaves = "for i in 1 2 3 4; do setsid sh -c 'trap \"\" TERM; while :; do sleep 1000; done' & done; wait"
    task = _deploy(machine, id="/tree", cmd=leaves, taskKillGracePeriodSeconds=1)
    machine.until(lambda: bool(list(CGROUP.glob(f"kato/*/{task}"))))
    folder = _folder(task)
    machine.until(lambda: len((folder / "cgroup.procs").read_text().split()) >= 8)
    pids = (folder / "cgroup.procs").read_text().split()
    machine.kato("rm", "tree", "--force")
    assert not folder.exists() and not any(Path("/proc", pid).exists() for pid in pids)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["tests/guest.py", "tests/e2e/test_limits.py"]))
