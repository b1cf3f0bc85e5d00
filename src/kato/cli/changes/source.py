"""Which files are meant: paths of files or a folder go in, with what is chosen of them; the manifest comes out."""

import os
import shlex
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

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
OVERRIDES = (
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
)
"""What is merged upon the Compose file of a folder, where it is there: the first one (Compose's own order)."""
DEFAULT = "."
"""The file of the present folder, where none is named."""
MAX_BYTES = 8 * 2**20
"""Of one file. One of ten thousand apps has less."""


@Parameter(name="*")
@dataclass(frozen=True)
class Chosen:
    """More files than one, and what of a Compose project is meant.

    Parameters
    ----------
    files
        A file; given again, each is merged upon the ones before, as Compose does (or COMPOSE_FILE).
    project_name
        The project's name, in place of the file's (or COMPOSE_PROJECT_NAME).
    project_directory
        The folder from which paths of the file start, in place of the (first) file's own.
    env_file
        A file with values of ${VAR}, in place of `.env`; given again, a later one wins.
    profile
        A profile that is active, or '*' for all; may be given again (or COMPOSE_PROFILES=a,b).
    service
        Only this service and what it depends on; may be given again. The others stay as they are.
    """

    files: Annotated[
        tuple[str, ...], Parameter(name=["--file", "-f"], negative=(), consume_multiple=False, group="Compose")
    ] = ()
    project_name: Annotated[str | None, Parameter(name=["--project-name", "-p"], group="Compose")] = None
    project_directory: Annotated[str | None, Parameter(group="Compose")] = None
    env_file: Annotated[tuple[str, ...], Parameter(negative=(), consume_multiple=False, group="Compose")] = ()
    profile: Annotated[tuple[str, ...], Parameter(negative=(), consume_multiple=False, group="Compose")] = ()
    service: Annotated[tuple[str, ...], Parameter(negative=(), consume_multiple=False, group="Compose")] = ()

    def words(self, file: str) -> str:
        """What was typed, for a command that is to mean the same."""
        flags = [("-f", each) for each in self.files] + ([("-p", self.project_name)] if self.project_name else [])
        flags += [("--project-directory", self.project_directory)] if self.project_directory else []
        flags += [("--env-file", each) for each in self.env_file]
        flags += [("--profile", each) for each in self.profile] + [("--service", each) for each in self.service]
        words = [] if file == DEFAULT else [file]
        return shlex.join([*words, *(word for flag in flags for word in flag)])


ALL = Chosen()


def load(where: str, chosen: Chosen = ALL) -> "Manifest":
    """The manifest in a file, in the file of a folder, or in several. InvalidInput says file, line and remedy."""
    path, *others = named(where, chosen)
    from kato.language import read
    from kato.language.profiles import Choice

    return read(
        _text(path),
        path=str(path),
        environ=variables(),
        files=_reader(path.parent),
        contents=_contents,
        folder=os.path.abspath(chosen.project_directory) if chosen.project_directory else None,
        others=[str(other) for other in others],
        choice=Choice(
            name=chosen.project_name,
            profiles=chosen.profile,
            services=chosen.service,
            env_files=tuple(map(os.path.abspath, chosen.env_file)),
        ),
    )


def named(where: str, chosen: Chosen = ALL) -> list[Path]:
    """The files that are meant, absolute, the first one first; of a folder with the one that overrides it."""
    files = [*([] if where == DEFAULT else [where]), *chosen.files]
    if not files and chosen.project_directory:
        files = [chosen.project_directory]
    if not files and (asked := _variable("COMPOSE_FILE")):
        files = asked.split(_variable("COMPOSE_PATH_SEPARATOR") or os.pathsep)
    if len(files) > 1 or chosen.files:
        return [find(Path(file)) for file in files]
    path = Path(files[0] if files else where)
    found = find(path)
    if not S_ISDIR(_mode(Path(os.path.abspath(path)))) or "compose" not in found.name:
        return [found]
    return [found, *[found.parent / name for name in OVERRIDES if S_ISREG(_mode(found.parent / name))][:1]]


def _variable(name: str) -> str | None:
    """A variable of Compose's own: the environment's, else that of `.env` in the present folder."""
    if (value := variables().get(name)) is not None:
        return value
    path = Path(".env").absolute()
    if not S_ISREG(_mode(path)):
        return None
    from kato.language.dotenv import read_env

    return read_env(_text(path), str(path), variables().get).get(name)


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
    word = path.name if len(path.parts) == 1 and not path.suffix else None
    path = Path(os.path.abspath(path))
    mode = _mode(path)
    if S_ISDIR(mode):
        found = next((path / name for name in NAMES if S_ISREG(_mode(path / name))), None)
        if found is None:
            raise InvalidInput(
                f"{path} has none of {', '.join(NAMES)}. Name a file, or a folder with one of them."
            )
        return found
    if not mode:
        hint = f" For the service of a file: --service {word}." if word else ""
        raise InvalidInput(f"There is no file or folder {path}.{hint}")
    return path


def _mode(path: Path) -> int:
    """What is there, 0 where nothing is. InvalidInput where that cannot be told, which `exists` would hide."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise InvalidInput(f"{str(path)!r} is called as no file can be; NUL is in no name.") from error


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
        if not S_ISREG(path.stat().st_mode):
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
