"""What a person calls an app, project or task goes in, with what there is; its id comes out, or a suggestion."""

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from kato.model.errors import InvalidInput, NotFound
from kato.model.ids import short_task

if TYPE_CHECKING:
    from kato.client import Client


def find_app(name: str, apps: Collection[str], *, kind: str = "app") -> str:
    """The id of the app that `name` means: whole (`/voting/vote`, `voting/vote`) or its end, if only one has it.

    Raises NotFound with a suggestion, InvalidInput where several apps end so.

    >>> find_app("vote", ["/voting/vote", "/voting/db"])
    '/voting/vote'
    """
    wanted = "/" + name.strip("/")
    if wanted in apps:
        return wanted
    ends = sorted(app for app in apps if app.endswith(wanted) and not name.startswith("/"))
    if len(ends) == 1:
        return ends[0]
    if ends:
        raise InvalidInput(f"{name!r} may be {' or '.join(ends)}. Write which one.")
    raise NotFound(missing(kind, name, apps))


def group_of(name: str, apps: Collection[str]) -> str | None:
    """The project, or group, of that path (`voting`, `/voting`), where no app is called so; `/` is all."""
    group = "/" + name.strip("/")
    return group if beneath(group, apps) and not any(app.endswith(group) for app in apps) else None


def beneath(group: str, apps: Collection[str]) -> list[str]:
    """The apps of a group.

    >>> beneath("/voting", ["/voting/vote", "/votingx", "/voting/db"])
    ['/voting/db', '/voting/vote']
    """
    return sorted(app for app in apps if app.startswith(f"{group.rstrip('/')}/"))


def find_apps(name: str, apps: Collection[str]) -> list[str]:
    """The app that `name` means, or all apps of the project of that name. Raises as `find_app` does."""
    group = group_of(name, apps)
    return [find_app(name, apps, kind="app or project")] if group is None else beneath(group, apps)


async def ended_task(client: "Client", name: str) -> Mapping[str, Any] | None:
    """The task of that name that has gone, if its output is kept: of two that are called alike, the newer."""
    kept = {each["short"]: each for each in await client.ended()}
    try:
        return kept[short_task(find_task(name, [each["task"] for each in kept.values()], ()))]
    except NotFound:
        return None


def find_task(name: str, tasks: Collection[str], apps: Collection[str], kind: str = "app or task") -> str:
    """The task or app that `name` means: a task's id, its short form (`vote.3`), or an app as in `find_app`."""
    if name in tasks:
        return name
    short = sorted(task for task in tasks if f"_{short_task(task)}".endswith(f"_{name}"))
    if len(short) == 1:
        return short[0]
    if len(short) > 1:
        raise InvalidInput(f"{name!r} may be {' or '.join(short)}. Write which one.")
    if "._app." in name:
        raise NotFound(f"There is no task {name!r}; it may have ended. See: kato ps")
    return find_app(name, apps, kind=kind)


def missing(kind: str, name: str, ids: Collection[str]) -> str:
    """That there is none of that name, and which was probably meant."""
    if not ids:
        return f"There is no {kind} {name!r}: nothing is deployed. See: kato up"
    last = {id.rsplit("/", 1)[-1]: id for id in ids} | {id.strip("/"): id for id in ids}
    last |= {id.split("/")[1]: id for id in ids} if "project" in kind else {}
    close = get_close_matches(name.strip("/"), last, n=1, cutoff=0.5)
    hint = f"Did you mean {close[0]!r}?" if close else f"There are: {', '.join(sorted(ids))}."
    return f"There is no {kind} {name!r}. {hint}"
