"""What changes a cell: deployments and the small records beside them, each with one writer."""

from collections.abc import Mapping

import msgspec


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """A change from one set of app versions to another, written in one transaction with the wish.

    original, target: app id → version, None where the app does not exist on that side.
    version: the deployment's own timestamp. started: epoch seconds.
    cancelled: taken over with force; the leader ends it without further steps.
    settled: whether every pointer `apps/<app>` follows it; until then the leader does not end it.
    """

    id: str
    version: str
    original: Mapping[str, str | None]
    target: Mapping[str, str | None]
    started: float
    cancelled: bool = False
    settled: bool = True


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How many steps of a deployment are finished. Written by the leader."""

    deployment: str
    finished: int = 0


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """The last unexpected end of a task of an app. time: epoch seconds."""

    task: str
    app: str
    version: str
    node: str
    host: str
    state: str
    message: str
    time: float


class Launches(msgspec.Struct, frozen=True, kw_only=True):
    """How launching an app has gone. Written by the leader.

    attempts: launches ever, so that task ids are never reused.
    config: the configuration that the failures belong to; another configuration starts at none.
    failures: failures in a row; until: epoch seconds before which nothing is launched.
    whole: the last versions of which a deployment ended with every task healthy, the newest last.
    """

    app: str
    attempts: int = 0
    config: str = ""
    failures: int = 0
    until: float = 0.0
    last_failure: Failure | None = None
    whole: tuple[str, ...] = ()


class Kill(msgspec.Struct, frozen=True, kw_only=True):
    """A user asks for one task to be stopped. scale: it is not to be replaced (the wish was scaled with it)."""

    task: str
    app: str
    scale: bool = False
    wipe: bool = False


class Nudge(msgspec.Struct, frozen=True, kw_only=True):
    """A user asks for an app's launch delay to be forgotten."""

    app: str


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """`apps/<app>`: which version of an app is wished for."""

    app: str
    version: str


class GroupRecord(msgspec.Struct, frozen=True, kw_only=True):
    """`groups/<id>`: a group that was named by a user, with the dependencies that it carries."""

    id: str
    version: str
    dependencies: tuple[str, ...] = ()
