"""The front door: the text of a file comes in, Compose or Marathon, told by its shape; a Manifest comes out.

Nothing here reads a file or the environment: their texts are arguments. `docs/compose.md` lists Compose's keys.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import msgspec

from kato.language.compose import read_compose
from kato.language.document import Document, read_document
from kato.language.marathon import Tree, documents, read_app, read_apps, read_group
from kato.language.profiles import Choice
from kato.language.reading import Findings
from kato.language.service_build import with_image
from kato.language.shape import closest, steps
from kato.language.wire import app_document
from kato.model.app import App
from kato.model.build import Build
from kato.model.deployment import GroupRecord
from kato.model.errors import InvalidApp, InvalidInput
from kato.model.secret import Secret
from kato.model.volume import named_volumes

_GROUP = ("apps", "groups")
_SHAPES = (
    "services (Compose), apps or groups (a Marathon group), or id with cmd, args or container (a Marathon app)"
)


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a file says: the apps wished for.

    group: the group that the file is the whole of (a Compose project, a Marathon group); None for apps alone.
    groups: the groups in it, itself included. warnings: sentences with file, line and column.
    secrets: what the cell is to keep before its apps name it. builds: how the images are made that have no name
    yet, by app. volumes: the named ones that are the file's own, as the cell calls them.
    """

    group: str | None
    apps: tuple[App, ...]
    groups: tuple[GroupRecord, ...] = ()
    warnings: tuple[str, ...] = ()
    secrets: Mapping[str, Secret] = {}
    builds: Mapping[str, Build] = {}
    volumes: frozenset[str] = frozenset()

    def named(self, images: Mapping[str, str]) -> "Manifest":
        """The same with the images of apps that had none yet, by app."""
        apps = tuple(with_image(app, images[app.id]) if app.id in images else app for app in self.apps)
        return msgspec.structs.replace(self, apps=apps)

    def body(self) -> Any:
        """The JSON to PUT: of the group to `/v2/groups/<group>`, or the list of apps to `/v2/apps`."""
        if self.group is None:
            return [app_document(app) for app in self.apps]
        return documents(Tree(self.group, self.apps, self.groups))

    @property
    def plan_body(self) -> dict[str, Any]:
        """The JSON to POST to `/v1/plan`: what would change."""
        return {"apps" if self.group is None else "group": self.body()}


def read(
    text: str,
    *,
    path: str,
    environ: Mapping[str, str],
    files: Callable[[str], str | None],
    folder: str | None = None,
    contents: Callable[[str], bytes | None] | None = None,
    others: Sequence[str] = (),
    choice: Choice | None = None,
) -> Manifest:
    """What the text of a file says. Raises InvalidInput with every fault, each with file, line and column.

    path: the file's name, for messages. folder: its folder, absolute; by default that of `path`.
    environ: the user's environment, for `${VAR}`. files: the text of another file by absolute path (`.env`,
    `env_file`), None where there is none; contents: its bytes, where they may be no text.
    others: absolute paths of Compose files that are merged upon it, in order. choice: what the user chose of a
    Compose project.
    """
    document = read_document(text, path)
    data = document.data
    if others and not (isinstance(data, dict) and _is_compose(data)) and _is_marathon(data):
        raise InvalidInput(f"{path}: Only Compose files are merged with others; hand Marathon's over one by one.")
    if others or (isinstance(data, dict) and _is_compose(data)):
        folder = folder or str(PurePosixPath(path).parent)
        if not folder.startswith("/"):
            raise InvalidInput(f"{path} is not an absolute path; processes need one to find their files.")
        found = read_compose(
            document,
            others,
            choice=choice or Choice(),
            folder=folder,
            environ=environ,
            files=files,
            contents=contents or _encoded(files),
        )
        groups = () if found.group is None else (GroupRecord(id=found.group, version=""),)
        return Manifest(
            group=found.group,
            apps=found.apps,
            groups=groups,
            warnings=found.warnings,
            secrets=found.secrets,
            builds=found.builds,
            volumes=found.volumes,
        )
    return _marathon(document, choice or Choice())


def _is_compose(data: Mapping[str, object]) -> bool:
    return "services" in data or ("include" in data and not _is_marathon(data))


def _is_marathon(data: object) -> bool:
    return isinstance(data, list) or (isinstance(data, dict) and any(key in data for key in (*_GROUP, "id")))


def _encoded(files: Callable[[str], str | None]) -> Callable[[str], bytes | None]:
    return lambda path: None if (text := files(path)) is None else text.encode()


def _marathon(document: Document, choice: Choice) -> Manifest:
    data = document.data
    for path, tag in document.tags.items():
        raise InvalidInput(f"{document.where(path)}: The tag {tag!r} is Compose's; write the plain value.")
    if choice != Choice() and _is_marathon(data):
        raise InvalidInput(f"{document.where(())}: Profiles, services and names are chosen of Compose files.")
    try:
        if isinstance(data, list):
            return _of(None, read_apps(data, strict=True))
        if isinstance(data, dict) and any(key in data for key in _GROUP):
            tree = read_group(data, strict=True)
            return _of(tree.id, tree.apps, tree.groups)
        if isinstance(data, dict) and "id" in data:
            return _of(None, (read_app(data, strict=True),))
    except InvalidApp as error:
        findings = Findings(document)
        for fault in error.faults:
            findings.fault(steps(fault.path), fault.message)
        findings.settle()
    raise InvalidInput(
        f"{document.where(())}: This is no Compose or Marathon file. It needs {_SHAPES}.{_near(data)}"
    )


def _of(group: str | None, apps: tuple[App, ...], groups: tuple[GroupRecord, ...] = ()) -> Manifest:
    return Manifest(group=group, apps=apps, groups=groups, volumes=named_volumes(apps))


def _near(data: object) -> str:
    """A suggestion where a top-level key looks like a slip of the pen."""
    keys = data if isinstance(data, dict) else {}
    return next((hint for key in keys if (hint := closest(key, ("services", *_GROUP)))), "")
