"""Ids, in and out of their parts. App ids are absolute paths (`/voting/vote`)."""

import re
import uuid
from datetime import UTC, datetime

from kato.model.errors import InvalidInput

_NAMESPACE = uuid.UUID("5f0ff0c4-6b8e-5d0f-9d1c-2a4b8c6d0e13")
_LAST = 253402300799.0
"""9999-12-31T23:59:59Z, the last second that RFC 3339 can write."""
_NOT_ENV = re.compile(r"[^A-Z0-9]+")


def absolute(path: str, base: str = "/") -> str:
    """`path` made absolute and normal: `..`, doubled and trailing slashes resolved (Marathon's PathId).

    Raises InvalidInput where it climbs above the root. Marathon stays at the root then, and so touches another app
    than the one that was meant.

    >>> absolute("../redis", "/voting/vote"), absolute("//a//b/"), absolute("x", "/g")
    ('/voting/redis', '/a/b', '/g/x')
    """
    parts: list[str] = [] if path.startswith("/") else [p for p in base.split("/") if p]
    for part in path.split("/"):
        if part == "..":
            if not parts:
                raise InvalidInput(f"{path!r} climbs above the root of all apps; write it like /shop/web")
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)


def parent(path: str) -> str:
    """The group that holds `path`; `/` for the root's children and for `/`."""
    return path.rsplit("/", 1)[0] or "/"


def within(path: str, group: str) -> bool:
    """Whether `path` is `group` or lies below it."""
    return group == "/" or path == group or path.startswith(group + "/")


def safe(app: str) -> str:
    """An app's id as one word, as task ids and file names need it: `/voting/vote` → `voting_vote`."""
    return app.strip("/").replace("/", "_")


def env_name(app: str) -> str:
    """The word for an app in its callers' environment: `/voting/my-db` → `MY_DB` (see `REDIS_HOST`)."""
    return _NOT_ENV.sub("_", app.rsplit("/", 1)[-1].upper()).strip("_")


def alias(app: str) -> str:
    """The name by which an app is found on a network of its own: the last word of its id."""
    return app.rsplit("/", 1)[-1]


def task_id(app: str, version: str, attempt: int, incarnation: int = 1) -> str:
    """The id of the `attempt`-th launch of an app, in Marathon's form; the same words give the same id.

    incarnation: of the cell. A store that was put back counts attempts again that were made before, so the uuid is
    made from it too.
    """
    life = f" {incarnation}" if incarnation > 1 else ""
    token = uuid.uuid5(_NAMESPACE, f"{app} {version} {attempt}{life}")
    return f"{safe(app)}.instance-{token}._app.{attempt}"


def instance_id(task: str) -> str:
    """The instance that a task belongs to: the task's id without `._app.<n>`."""
    return task.rsplit("._", 1)[0]


def short_task(task: str) -> str:
    """A task's id as people read it: the app's words and the attempt.

    >>> short_task("voting_vote.instance-2f0c._app.3")
    'voting_vote.3'
    """
    head, _, attempt = task.rpartition("._app.")
    return f"{head.partition('.instance-')[0]}.{attempt}" if head else task


def timestamp(seconds: float) -> str:
    """Epoch seconds as Marathon writes time: `2015-08-26T22:33:24.225Z`. What is beyond 9999 is its last second.

    >>> timestamp(1e18), timestamp(float("inf"))
    ('9999-12-31T23:59:59.000Z', '9999-12-31T23:59:59.000Z')
    """
    return datetime.fromtimestamp(min(seconds, _LAST), UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def version_after(previous: str, now: float) -> str:
    """A version for `now` (epoch seconds) that sorts after `previous`, though the clock stood or went back."""
    version = timestamp(now)
    if version > previous:
        return version
    return timestamp(datetime.fromisoformat(previous).timestamp() + 0.0015)
