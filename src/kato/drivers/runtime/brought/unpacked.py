"""Archives: a tar, zip or gzip file flows in; what is in it, within bounds and inside one folder, comes out.

Whoever made the archive is not trusted: nothing is written through a link, so that no link leads a write outside.
"""

import contextlib
import gzip
import lzma
import os
import stat
import tarfile
import threading
import time
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO, cast

import msgspec

from kato.model.errors import DriverError

PIECE = 1 << 20
DEEPEST = 100
"""Folders within one another."""
TARS = (".tar", ".tgz", ".tar.gz", ".tbz2", ".tar.bz2", ".txz", ".tar.xz")
ARCHIVES = (*TARS, ".gz", ".zip")
"""What Mesos' fetcher unpacks, by the end of its name."""
_BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    RuntimeError,  # a zip with a password
    NotImplementedError,  # a zip with a way to compress that is unknown here
    ValueError,
)


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """What may be fetched for one task: bytes and files, unpacked ones too; seconds in all, and without a byte."""

    size: int = 16 << 30
    entries: int = 500_000
    seconds: float = 600.0
    silence: float = 30.0


class Meter:
    """Counts what is written for one task. DriverError beyond its bounds, and once it was told to stop."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._size, self._entries = 0, 0
        self._deadline = time.monotonic() + bounds.seconds
        self._over = threading.Event()

    def stop(self) -> None:
        """What writes in a thread ends with its next piece."""
        self._over.set()

    def add(self, size: int) -> None:
        """Counts bytes that are about to be written."""
        self._size += size
        if self._size > self._bounds.size:
            raise DriverError(
                f"Its files are more than {self._bounds.size >> 20} MiB, which is the most that is fetched for a "
                "task. Put them into an image or a volume."
            )
        if self._over.is_set() or time.monotonic() > self._deadline:
            raise DriverError(f"Its files were not all there within {self._bounds.seconds:g} s. Fetch fewer.")

    def entry(self) -> None:
        """Counts one more file."""
        self._entries += 1
        if self._entries > self._bounds.entries:
            raise DriverError(
                f"Its files are more than {self._bounds.entries}, which is the most that is fetched for a task. "
                "Put them into an image or a volume."
            )
        self.add(0)


class Tree:
    """A folder that is filled. All of it blocks; OSError, DriverError."""

    def __init__(self, root: Path, meter: Meter) -> None:
        self.root = root
        self.meter = meter
        self._folders = {PurePosixPath()}

    def place(self, name: str) -> Path:
        """Where a file called so belongs, its folders made; what was there is gone."""
        place = inside(name)
        if not place.parts:
            raise DriverError(f"{name!r} is no name of a file. Name one.")
        self.meter.entry()
        self.folder(str(place.parent))
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.root / place)
        return self.root / place

    def folder(self, name: str) -> None:
        """Makes a folder and those that it is in; none of them may be a link."""
        place = inside(name)
        for each in (*reversed(place.parents), place):
            if each not in self._folders:
                self.meter.entry()
                with contextlib.suppress(FileExistsError):
                    (self.root / each).mkdir(mode=0o755)
                if not stat.S_ISDIR(os.lstat(self.root / each).st_mode):
                    raise DriverError(
                        f"{name!r} goes through {str(each)!r}, which is no folder. Name another place."
                    )
                self._folders.add(each)

    def file(self, name: str, source: IO[bytes], mode: int = 0o644) -> None:
        """Writes a file, with no more rights than its owner has."""
        place = self.place(name)
        with open(os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600), "wb") as file:
            while data := source.read(PIECE):
                self.meter.add(len(data))
                file.write(data)
            os.fchmod(file.fileno(), mode & 0o755 | 0o600)

    def link(self, name: str, target: str) -> None:
        """Makes a symbolic link, which leads nowhere outside as it is written."""
        inside(os.path.normpath(os.path.join(os.path.dirname(name), target)))
        os.symlink(target, self.place(name))

    def same(self, name: str, other: str) -> None:
        """Makes another name of a file that is there."""
        place, known = self.place(name), inside(other)
        self.folder(str(known.parent))
        os.link(self.root / known, place, follow_symlinks=False)


def inside(name: str) -> PurePosixPath:
    """A path that does not leave the folder that it is in. DriverError."""
    place = PurePosixPath(name)
    if place.is_absolute() or ".." in place.parts or "\0" in name:
        raise DriverError(f"{name!r} is no place inside the sandbox. Name one without '..' and a '/' in front.")
    if len(place.parts) > DEEPEST:
        raise DriverError(f"'{name:.60}…' lies deeper than {DEEPEST} folders. Name a shorter way.")
    return place


def unpack(archive: IO[bytes], name: str, tree: Tree) -> None:
    """Unpacks what is called `name`, as the end of that says, into a tree. Blocks. OSError, DriverError."""
    try:
        if name.endswith(TARS):
            _tar(archive, tree)
        elif name.endswith(".zip"):
            _zip(archive, tree)
        else:
            with gzip.open(archive) as plain:
                tree.file(name.removesuffix(".gz"), cast(IO[bytes], plain))
    except (DriverError, *_BROKEN) as error:
        raise DriverError(
            f"{name} cannot be unpacked: {str(error).removesuffix('.')}. Make the archive anew, or set its "
            "`extract` to false."
        ) from error


def _tar(archive: IO[bytes], tree: Tree) -> None:
    if not hasattr(tarfile, "data_filter"):  # Python 3.11.3 and older
        raise DriverError("this Python cannot judge archives; it is to be 3.11.4 or later")
    with tarfile.open(fileobj=archive) as tar:
        for member in tar:
            tree.meter.add(0)
            safe = tarfile.data_filter(member, str(tree.root))
            if safe.isdir():
                tree.folder(safe.name)
            elif safe.issym():
                tree.link(safe.name, safe.linkname)
            elif safe.islnk():
                tree.same(safe.name, safe.linkname)
            elif (source := tar.extractfile(safe)) is not None:
                tree.file(safe.name, source, safe.mode or 0)
            tar.members = []  # type: ignore[attr-defined]  # else all of a large archive's stay in memory


def _zip(archive: IO[bytes], tree: Tree) -> None:
    with zipfile.ZipFile(archive) as packed:
        for entry in packed.infolist():
            mode = entry.external_attr >> 16
            if entry.is_dir():
                tree.folder(entry.filename)
                continue
            with packed.open(entry) as source:
                if stat.S_ISLNK(mode):
                    tree.link(entry.filename, source.read(4096).decode(errors="replace"))
                else:
                    tree.file(entry.filename, source, mode or 0o644)
