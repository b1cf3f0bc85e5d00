"""Images for tests without an engine: an OCI layout of busybox comes out, and IMAGE in the folder of a driver.

It needs skopeo, umoci and busybox-static.
"""

import contextlib
import functools
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import msgspec
import pytest

from engine import Room
from kato.drivers.dns.local import answer
from kato.drivers.runtime import Options
from kato.drivers.runtime.oci.images import tag
from runtimes import folders

IMAGE = "kato-test:1"


def needs_root() -> None:
    """As root, and in CI, what is missing is a failure."""
    if os.geteuid() != 0 and not os.environ.get("CI"):
        pytest.skip("containers without an engine need root: run the tests as root to see them")


@contextlib.contextmanager
def supplied(image: str = IMAGE) -> Iterator[Options]:
    """The folders of one driver, which has the image though no registry was asked."""
    needs_root()
    with folders() as options:
        bring(options.folder, image)
        yield options


@contextlib.contextmanager
def roomed(image: str = IMAGE) -> Iterator[Options]:
    """The same of one whose networks answer for names; nobody else is asked for any."""
    with supplied(image) as options:
        yield msgspec.structs.replace(options, answer=partial(answer, resolvers=None))


def linked(room: Room) -> Sequence[str]:
    """The ways out of networks that a room has, and the chains of their rules."""
    links = json.loads(subprocess.check_output(room.inside("ip", "-json", "link"), text=True))
    found = [each["ifname"] for each in links if each["ifname"].startswith("kato")]
    for table in ("nat", "filter"):
        rules = subprocess.check_output(room.inside("iptables", "-t", table, "-S"), text=True)
        assert rules.count("-N KATO") == len(found), rules
    return found


def bring(folder: Path, image: str = IMAGE, layout: Path | None = None) -> None:
    """Puts busybox, or what else a layout has, among a driver's images."""
    images = folder / ".images"
    images.mkdir(parents=True, exist_ok=True)
    run(
        ["skopeo", "--insecure-policy", "copy", f"oci:{layout or busybox()}:1", f"oci:layout:{tag(image)}"], images
    )


@functools.cache
def busybox() -> Path:
    """A layout with busybox and the names of its commands, as `:1`; it stays for the session."""
    missing = [name for name in ("skopeo", "umoci", "crun", "/bin/busybox") if shutil.which(name) is None]
    assert not missing, f"{missing} are missing: apt-get install skopeo umoci crun busybox-static"
    folder = Path(tempfile.mkdtemp(prefix="kato-oci-"))
    _remove_at_exit(folder)
    return build(folder)


def build(folder: Path, *config: str) -> Path:
    """A layout of busybox in `folder`. config: flags of `umoci config`."""
    (bin := folder / "files/bin").mkdir(parents=True)
    for name in ("tmp", "etc", "data"):
        (folder / "files" / name).mkdir()
    (folder / "files/etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nweb:x:77:88::/data:/bin/sh\n")
    (folder / "files/etc/group").write_text("root:x:0:\nweb:x:88:\nmore:x:99:web\n")
    (folder / "files/data/seed").write_text("grown\n")
    os.chown(folder / "files/data", 77, 88)
    shutil.copy("/bin/busybox", bin)
    for name in subprocess.check_output([bin / "busybox", "--list"], text=True).split():
        if name != "busybox":
            (bin / name).symlink_to("busybox")
    run(["umoci", "init", "--layout", "layout"], folder)
    run(["umoci", "new", "--image", "layout:1"], folder)
    run(["umoci", "insert", "--image", "layout:1", "files", "/"], folder)
    run(["umoci", "config", "--image", "layout:1", *config], folder)
    run(["umoci", "gc", "--layout", "layout"], folder)
    shutil.rmtree(folder / "files")
    return folder / "layout"


def mounts() -> str:
    """All mounts that this process sees."""
    return Path("/proc/self/mountinfo").read_text()


def config(options: Options, task: str) -> dict[str, object]:
    """What the runtime was told of a task's container."""
    found: dict[str, object] = json.loads((options.folder / task / "oci/config.json").read_text())
    return found


def run(words: Sequence[str], folder: Path) -> None:
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, f"{words}: {done.stderr}"


def _remove_at_exit(folder: Path) -> None:
    import atexit

    atexit.register(shutil.rmtree, folder, ignore_errors=True)
