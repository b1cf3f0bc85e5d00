"""Every key of the store, what stands there, and its one writer. Nothing else in Káto spells a key.

| key | value | writer |
|---|---|---|
| cell | Cell: incarnation, format | whoever creates or restores the store |
| apps/<app> | Record: the version wished for | api |
| versions/<app>@<version> | App, immutable | api |
| groups/<group> | GroupRecord | api |
| deployments/<id> | Deployment; putting it is the moment a wish is made | api; the leader removes it |
| locks/<app> | the id of the deployment that holds the app | api; the leader removes it |
| secrets/<name> | Secret: a value that is told to tasks alone | api |
| wish/seq | raised by every transaction of the api, compared by the next | api |
| kills/<task>, nudges/<app> | Kill, Nudge | api; the leader removes them |
| tasks/<node>/<task> | Task | leader |
| progress/<deployment>, launches/<app> | Progress, Launches (failures, delays, what was whole) | leader |
| plan/seq | raised by every transaction of the leader | leader |
| nodes/<node> | Node | the master that holds its link |
| status/<node>/<task> | Status | the master that holds its link |
| borders/<node> | BorderAck | the master that holds its link |
| links/<node> | the id of the master that serves this agent | that master |
| leader | Leader, under a lease | the holder of the lease |

An app's id is written with its slashes and without the first: `apps/voting/redis`.
"""

from typing import Any, NamedTuple

import msgspec

from kato.model.app import App
from kato.model.deployment import Deployment, GroupRecord, Kill, Launches, Nudge, Progress, Record
from kato.model.errors import StoreRefused
from kato.model.frontend import BorderAck
from kato.model.node import Node
from kato.model.secret import Secret
from kato.model.task import Status, Task

FORMAT = 1
"""Of what stands in the store; a store of a higher one is refused, one of a lower one raised when it is opened.

What an older Káto cannot pass over raises it: a value that it cannot read, a key without which it would do harm. A
new field with a default, or a room of keys that it may do without, leaves it as it is. Nothing was released yet:
format 1 is all that stands here with the first release, the room `secrets` and the goal `done` of a task among it.
"""


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """Which life of which store this is. Restoring or moving a store raises the incarnation."""

    id: str
    incarnation: int = 1
    format: int = FORMAT


class Leader(msgspec.Struct, frozen=True, kw_only=True):
    """Who leads. Its epoch is the revision at which its key was created, so that a later leader's is higher."""

    master: str
    address: str = ""


CELL = "cell"
WISH_SEQ = "wish/seq"
PLAN_SEQ = "plan/seq"
LEADER = "leader"


def app(id: str) -> str:
    return "apps" + id


def version(app: str, version: str) -> str:
    return f"versions{app}@{version}"


def versions(app: str) -> str:
    """The prefix of all versions of one app."""
    return f"versions{app}@"


def versions_below(group: str) -> str:
    """The prefix of all versions of all apps in a group; `/` for those of every app."""
    return f"versions{group.rstrip('/')}/"


def version_of(key: str) -> tuple[str, str]:
    """The app and the version that a key of `versions/` names.

    >>> version_of("versions/voting/vote@2026-01-01T00:00:00.000Z")
    ('/voting/vote', '2026-01-01T00:00:00.000Z')
    """
    app, _, version = split(key)[1].rpartition("@")
    return app, version


def is_version(key: str) -> bool:
    """Whether an app's version stands at a key."""
    return key.startswith("versions/")


def group(id: str) -> str:
    return "groups" + id


def deployment(id: str) -> str:
    return f"deployments/{id}"


def lock(app: str) -> str:
    return "locks" + app


def kill(task: str) -> str:
    return f"kills/{task}"


def nudge(app: str) -> str:
    return "nudges" + app


def secret(name: str) -> str:
    return f"secrets/{name}"


def task(node: str, task: str) -> str:
    return f"tasks/{node}/{task}"


def progress(deployment: str) -> str:
    return f"progress/{deployment}"


def launches(app: str) -> str:
    return "launches" + app


def node(id: str) -> str:
    return f"nodes/{id}"


def status(node: str, task: str) -> str:
    return f"status/{node}/{task}"


def border(node: str) -> str:
    return f"borders/{node}"


def link(node: str) -> str:
    return f"links/{node}"


class Kind(NamedTuple):
    """What stands under a first part of a key. path: whether what follows is an absolute path, as an app's id."""

    room: str
    type: Any
    path: bool = False


KINDS: dict[str, Kind] = {
    kind.room: kind
    for kind in (
        Kind("cell", Cell),
        Kind("apps", Record, path=True),
        Kind("versions", App, path=True),
        Kind("groups", GroupRecord, path=True),
        Kind("deployments", Deployment),
        Kind("locks", str, path=True),
        Kind("secrets", Secret),
        Kind("wish", int),
        Kind("kills", Kill),
        Kind("nudges", Nudge, path=True),
        Kind("tasks", Task),
        Kind("progress", Progress),
        Kind("launches", Launches, path=True),
        Kind("plan", int),
        Kind("nodes", Node),
        Kind("status", Status),
        Kind("borders", BorderAck),
        Kind("links", str),
        Kind("leader", Leader),
    )
}
_DECODERS = {room: msgspec.json.Decoder(kind.type) for room, kind in KINDS.items()}
_ENCODER = msgspec.json.Encoder()
_REMEDY = "Run the Káto that wrote it, or restore a backup."


def split(key: str) -> tuple[str, str]:
    """A key's room, and the id in it: `locks/a/b` → `locks`, `/a/b`; `nodes/n1` → `nodes`, `n1`.

    KeyError for a key that no room knows.
    """
    room, slash, rest = key.partition("/")
    return room, slash + rest if KINDS[room].path else rest


def is_known(key: str) -> bool:
    """Whether there is a room for a key here; a newer Káto of the same format may have written others.

    >>> is_known("apps/web"), is_known("dreams/1")
    (True, False)
    """
    return key.partition("/")[0] in KINDS


def encode(value: object) -> bytes:
    """A value as it stands in the store (JSON)."""
    return _ENCODER.encode(value)


def decode(key: str, value: bytes) -> Any:
    """What stands at `key`, as its struct. KeyError for a key that no room knows."""
    return _DECODERS[key.partition("/")[0]].decode(value)


def read(key: str, value: bytes) -> Any:
    """As `decode`, for what stands in a store: StoreRefused, naming the key, where it cannot be read."""
    room = key.partition("/")[0]
    if room not in KINDS:
        raise StoreRefused(f"The store holds {key}, which this Káto does not know. {_REMEDY}")
    try:
        return _DECODERS[room].decode(value)
    except msgspec.MsgspecError as error:
        raise StoreRefused(f"What the store holds at {key} cannot be read: {error}. {_REMEDY}") from error
