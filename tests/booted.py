"""A whole machine of our own for tests, booted by systemd in a container (systemd-nspawn), with Káto installed
from a wheel: commands go in, what stands on its disk and answers on its loopback comes out.

Its disk is an overlay over a root that is made once and kept in the user's cache; network and mounts are of
namespaces that end with it. It needs root, mmdebstrap and systemd-container.
"""

import contextlib
import hashlib
import http.client
import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
import venv
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest

from engine import Room
from waiting import until

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("systemd", "systemd-sysv", "dbus", "libpam-systemd", "iproute2", "procps", "python3")
NEEDED = ("mmdebstrap", "systemd-nspawn", "systemd-analyze", "unshare")
PATIENCE = 60.0
MAKING = 600.0
"""Seconds that the root of a machine may take: 20 where the package servers are near."""
REBOOTS = 133
"""What systemd-nspawn exits with where the machine is to be booted again by who started it."""
NOISE = (
    "var/log/", "var/lib/systemd/", "var/lib/dbus/", "var/cache/", "tmp", "var/tmp/", "run/", "root/.cache",
    "etc/resolv.conf", "etc/machine-id", "etc/.updated", "var/.updated", "etc/.pwd.lock", "var/lib/private",
)  # fmt: skip
"""What a machine writes by itself while it runs, and what was there before Káto came."""


def wanted() -> None:
    """Fails in CI where something is missing that the machine is made of, and skips elsewhere."""
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if os.geteuid() != 0:
        absent("a machine of our own needs root: run the tests as root to see it")
    if missing:
        absent(f"{', '.join(missing)} cannot be found: apt-get install mmdebstrap systemd-container")


def absent(why: str) -> NoReturn:
    """Fails in CI, which has to have a machine of our own, and skips elsewhere."""
    if os.environ.get("CI"):
        pytest.fail(why, pytrace=False)
    pytest.skip(why)


def root() -> Path:
    """The root of a fresh machine, made once and kept."""
    release = _release()
    mark = hashlib.sha256(" ".join((release, *PACKAGES)).encode()).hexdigest()[:12]
    kept = Path("~/.cache/kato-tests").expanduser() / f"root-{mark}"
    if not kept.exists():
        kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="making-", dir=kept.parent) as folder:
            made = Path(folder, "root")
            words = [
                "mmdebstrap",
                "--quiet",
                "--variant=minbase",
                f"--include={','.join(PACKAGES)}",
                release,
                str(made),
            ]
            _make(words)
            try:
                made.rename(kept)
            except OSError:
                assert kept.exists()  # another worker was quicker
    return kept


def _make(words: Sequence[str]) -> None:
    """Runs mmdebstrap, which asks the package servers that apt of this machine asks."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=MAKING, check=False)
    except subprocess.TimeoutExpired:
        absent(
            f"mmdebstrap has not made the root of a machine within {MAKING:g} s: do the package servers answer?"
        )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it says nothing"])[-3:]
        absent(
            f"mmdebstrap cannot make the root of a machine, for which it needs a package server: {' '.join(last)}"
        )


def _release() -> str:
    for line in Path("/etc/os-release").read_text().splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.partition("=")[2].strip('"')
    raise AssertionError("/etc/os-release names no release")


def wheel(folder: Path, source: Path = ROOT) -> Path:
    """Káto's wheel, built in `folder` from a checkout."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run(
        [*pip, "wheel", "--no-build-isolation", "--no-deps", f"--wheel-dir={folder}", source], check=True
    )
    [built] = folder.glob("*.whl")
    return built


def install(prefix: Path, built: Path) -> Path:
    """A virtual environment with Káto from a wheel, and what it needs from that of the tests; its bin."""
    venv.create(prefix, symlinks=True)
    site = prefix / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    (site / "needed.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", f"--python={prefix}"]
    environ = {**os.environ, "PIP_ROOT_USER_ACTION": "ignore"}
    subprocess.run([*pip, "install", "--no-deps", "--no-index", built], check=True, env=environ)
    return prefix / "bin"


def _version(about: Path) -> str:
    return next(line for line in about.read_text().splitlines() if line.startswith("Version: ")).partition(" ")[2]


def _exchange(path: Path, former: str, now: str) -> None:
    text = path.read_text("utf-8")
    assert former in text, f"{path} has no {former!r}"
    path.write_text(text.replace(former, now, 1), "utf-8")


class Booted:
    """One machine. folder: for its disk, and for what it only reads, at the same place as outside."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.room = Room()
        self.upper = folder / "upper"
        self._log = folder / "boot.log"
        self._disk = folder / "disk"
        for each in (self.upper, self._disk, folder / "work"):
            each.mkdir()
        layers = f"lowerdir={root()},upperdir={self.upper},workdir={folder}/work"
        self._inside("mount", "--make-rprivate", "/")
        self._inside("mount", "-t", "tmpfs", "tmpfs", "/run")  # nspawn removes nothing of its own from a disk
        self._inside("mount", "-t", "overlay", "-o", layers, "overlay", str(self._disk))
        self._nspawn: subprocess.Popen[bytes] | None = None

    def boot(self) -> None:
        """Boots, and waits until systemd has started all."""
        self._start()
        self.until(self._says_up)

    def _start(self) -> None:
        read_only = {str(ROOT), sys.prefix, sys.base_prefix, str(self.folder)} - {"/usr"}
        words = ["systemd-nspawn", "--quiet", f"--directory={self._disk}", f"--machine=kato-{os.getpid()}"]
        words += ["--register=no", "--keep-unit", "--boot", "--capability=all", "--console=pipe"]
        words += [f"--network-namespace-path=/proc/{self.room.pid}/ns/net", "--resolv-conf=off"]
        words += [f"--bind-ro={each}" for each in sorted(read_only)]
        with self._log.open("ab") as log:
            inside = self.room.inside("setpriv", "--pdeathsig=TERM", *words)
            self._nspawn = subprocess.Popen(inside, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def reboot(self) -> None:
        """Tells it to reboot, and boots it once it is down; returns while it comes up."""
        assert self._nspawn is not None
        self.run("systemctl", "--no-block", "reboot")
        code = self._nspawn.wait(PATIENCE)
        assert code == REBOOTS, f"{code}: {self._log.read_text(errors='replace')[-3000:]}"
        self._start()

    def _says_up(self) -> bool:
        return self.run("systemctl", "is-system-running", code=None).strip() in ("running", "degraded")

    def leader(self) -> int | None:
        """The machine's first process, as we see it from outside."""
        assert self._nspawn is not None
        assert self._nspawn.poll() is None, self._log.read_text(errors="replace")[-3000:]
        with contextlib.suppress(OSError, ValueError):
            pid = self._nspawn.pid
            children = [pid]
            while children:
                pid, children = (
                    children[0],
                    [
                        int(each)
                        for each in Path(f"/proc/{children[0]}/task/{children[0]}/children").read_text().split()
                    ],
                )
                if Path(f"/proc/{pid}/comm").read_text() == "systemd\n":
                    return pid
        return None

    def run(self, *words: str, code: int | None = 0, timeout: float = 120, user: str = "") -> str:
        """A command in the machine to its end; what it wrote. code: its exit code, None for any."""
        leader = self.leader()
        if leader is None:
            assert code is None, "the machine is down"
            return ""
        path = f"{self.folder}/kato/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        command = [
            "nsenter",
            f"--target={leader}",
            "--all",
            "env",
            "-i",
            f"PATH={path}",
            "HOME=/root",
            "LANG=C.UTF-8",
        ]
        done = subprocess.run([*command, *words], capture_output=True, text=True, timeout=timeout, check=False)
        said = done.stdout + done.stderr
        assert code is None or done.returncode == code, (
            f"{' '.join(words)}: {done.returncode}\n{said}\n{self.told()}"
        )
        return said

    def told(self) -> str:
        """What the service has said."""
        return self.run("journalctl", "--unit=kato", "--no-pager", "--lines=40", code=None)

    def ask(self, path: str) -> Any:
        """GET of the cell's API; None where nothing answers."""
        with self.room.network():
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:8180{path}", timeout=20) as answer:
                    return json.loads(answer.read())
            except (OSError, ValueError, http.client.HTTPException):
                return None

    def another(self, name: str, version: str, changes: Mapping[str, tuple[str, str]]) -> str:
        """The Python of a Káto that differs: module → the words that are exchanged there, and by which."""
        prefix = self.folder / name
        shutil.copytree(self.folder / "kato", prefix, symlinks=True)
        [about] = prefix.glob("lib/*/site-packages/katosys-*.dist-info/METADATA")
        _exchange(about, f"Version: {_version(about)}", f"Version: {version}")
        for module, (former, now) in changes.items():
            _exchange(about.parent.parent / "kato" / module, former, now)
        return f"{prefix}/bin/python"

    def tasks(self) -> dict[str, str]:
        """The tasks that run, and since when, by what the cell says."""
        found = self.ask("/v2/tasks") or {"tasks": []}
        return {task["id"]: task["startedAt"] for task in found["tasks"] if task["state"] == "TASK_RUNNING"}

    def healthy(self) -> int:
        """How many tasks pass their checks."""
        found = self.ask("/v2/tasks") or {"tasks": []}
        results = [task.get("healthCheckResults") or [] for task in found["tasks"]]
        return sum(bool(each) and all(result["alive"] for result in each) for each in results)

    def write(self, path: str, text: str) -> None:
        """A file of the machine."""
        where = f"{self._disk}{path}"
        self._inside("mkdir", "-p", os.path.dirname(where))
        subprocess.run(self.room.inside("tee", where), input=text.encode(), stdout=subprocess.DEVNULL, check=True)

    def standing(self) -> dict[str, str]:
        """What was written to the machine's disk since it was made: path → kind and content, without the noise."""
        found = {}
        for path in sorted(self.upper.rglob("*")):
            name = str(path.relative_to(self.upper))
            if name.startswith(NOISE):
                continue
            if path.is_symlink():
                found[name] = f"link to {os.readlink(path)}"
            elif path.is_file():
                found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
            elif not (path.is_dir() and (root() / name).is_dir()):  # one that was only written to is listed too
                found[name] = f"{path.lstat().st_mode:o}"
        return found

    def processes(self) -> list[str]:
        """Every program that runs in the machine but systemd's own, by its name."""
        lines = self.run("ps", "-eo", "comm=").split()
        return sorted(
            each for each in lines if not each.startswith(("systemd", "(sd-pam", "dbus", "ps", "login", "agetty"))
        )

    def until(self, holds: Callable[[], bool], seconds: float = PATIENCE) -> float:
        """Waits until something holds; how long it took."""
        return until(holds, seconds, self.told, 0.05)

    def _inside(self, *words: str) -> None:
        subprocess.run(self.room.inside(*words), check=True)

    def end(self) -> None:
        """Powers it off, and ends its namespaces."""
        if self._nspawn is not None and self._nspawn.poll() is None:
            leader = self.leader()
            if leader is not None:
                os.kill(leader, 9)
            try:
                self._nspawn.wait(10)
            except subprocess.TimeoutExpired:
                self._nspawn.kill()
                self._nspawn.wait()
        self.room.end()


@contextlib.contextmanager
def booted() -> Iterator[Booted]:
    """A machine that is up, with `kato` of the checkout on its PATH; gone afterwards."""
    wanted()
    with tempfile.TemporaryDirectory(prefix="kato-booted-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "wheel").mkdir()
        install(folder / "kato", wheel(folder / "wheel"))
        machine = Booted(folder)
        try:
            machine.boot()
            yield machine
        finally:
            machine.end()
