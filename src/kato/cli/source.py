"""Which file is meant: a path of a file or folder goes in; its manifest comes out."""

import os
import stat
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from kato.config import variables
from kato.model.errors import InvalidInput
from kato.model.ids import within

if TYPE_CHECKING:
    from kato.language import Manifest

NAMES = (
    "compose.yaml",
    "compose.yml",
    "docker-compose.yaml",
    "docker-compose.yml",
    "marathon.json",
    "marathon.yaml",
    "marathon.yml",
)
"""What is looked for in a folder, the first one first (Compose's own order)."""
MAX_BYTES = 8 * 2**20
"""Of one file. One of ten thousand apps has less."""


def load(where: str) -> "Manifest":
    """The manifest in a file, or in the file of a folder. InvalidInput says file, line and remedy."""
    path = find(Path(where))
    from kato.language import read

    return read(_text(path), path=str(path), environ=variables(), files=_reader(path.parent), contents=_contents)


def warn(warnings: Iterable[str]) -> None:
    """Says what a file has that is not as it seems."""
    for warning in warnings:
        print(f"kato: {warning}", file=sys.stderr)


def owns(manifest: "Manifest", app: str) -> bool:
    """Whether an app is of the file, or of the project that the file is the whole of."""
    group = manifest.group
    return app in {each.id for each in manifest.apps} or (group not in (None, "/", app) and within(app, group))


def find(path: Path) -> Path:
    """The file that `path` means, absolute. InvalidInput where there is none.

    Its folder is kept as it was written, links and all: a project is called like the folder it is seen in.
    """
    path = Path(os.path.abspath(path))
    mode = _mode(path)
    if stat.S_ISDIR(mode):
        found = next((path / name for name in NAMES if stat.S_ISREG(_mode(path / name))), None)
        if found is None:
            raise InvalidInput(
                f"{path} has none of {', '.join(NAMES)}. Name a file, or a folder with one of them."
            )
        return found
    if not mode:
        raise InvalidInput(f"There is no file or folder {path}.")
    return path


def _mode(path: Path) -> int:
    """What is there, 0 where nothing is. InvalidInput where that cannot be told, which `exists` would hide."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}.") from error


def _contents(name: str) -> bytes | None:
    """The bytes of a file, None where there is none."""
    path = Path(name)
    return _bytes(path) if _mode(path) else None


def _text(path: Path) -> str:
    try:
        return _bytes(path).decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is not text in UTF-8 (byte {error.start}).") from error


def _bytes(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise InvalidInput(f"{path} is no regular file, which could be without end. Write it to a file first.")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}.") from error
    if len(data) > MAX_BYTES:
        raise InvalidInput(f"{path} is larger than {MAX_BYTES // 2**20} MiB. Is it the file that you mean?")
    return data


def _reader(folder: Path) -> Callable[[str], str | None]:
    """Reads files that a file names (env_file, .env), from its folder; None where there is none."""

    def read(name: str) -> str | None:
        path = folder / name
        return _text(path) if _mode(path) else None

    return read
