"""Waiting until a wish is true, or gone: a client and app ids go in; a view is fed until all is settled."""

import asyncio
import contextlib
import os.path
import time
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kato.cli.printing.live import View, failures, how_it_failed, rows
from kato.cli.printing.show import harmless
from kato.cli.words.place import TIMEOUT
from kato.model.errors import KatoError, NotFound, Unavailable
from kato.model.ids import short_task

if TYPE_CHECKING:
    from kato.client import Client

FIRST_PAUSE, LONGEST_PAUSE = 0.03, 0.15
ASK_WHY = 0.5
"""Seconds between two questions why an app waits."""
LAST_LINES = 10
STEADY = 1.0
"""Seconds that a task without health checks must have run to be taken for one that runs."""
LOOKED = 10.0
"""Seconds that the balancer may take to look at new services."""
PASSING = 3.0
"""Seconds after which a problem of the balancer's will not pass by itself: it tries again every 2 s."""


class NotDeployed(KatoError):
    """A deployment is not done in time; it says why, with the last words of what fails."""


async def until_settled(
    client: "Client",
    apps: Collection[str],
    view: View,
    *,
    wished: Collection[str] = (),
    known: Collection[str] | None = None,
    timeout: float = TIMEOUT,
) -> None:
    """Feeds `view` until `apps` have what was wished for, and those that are no more have no task.

    wished: those of them that must not go. known: tasks of before; the failure of any other one of an app without
    health checks is the end (None: none is that is tried again). Raises NotDeployed for that, for one that is not
    tried again, where a wished one is removed meanwhile, and after `timeout` seconds; with the reasons.
    """
    try:
        async with asyncio.timeout(timeout):
            await _watch(client, apps, view, wished, known)
    except TimeoutError:
        late = [app for app in await look(client, apps) if not _done(app)]
        raise NotDeployed(await _reasons(client, late, f"After {timeout:g} s this is not as wished:")) from None


async def until_served(client: "Client", apps: Collection[str]) -> None:
    """Returns when the balancer serves `apps`. NotDeployed, with its problems, where it cannot."""
    loop = asyncio.get_running_loop()
    looked, passed = loop.time() + LOOKED, loop.time() + PASSING
    while True:
        applied = await client.applied()
        problems = list(dict.fromkeys(problem for app in await look(client, apps) for problem in app["problems"]))
        if applied and not problems:
            return
        if loop.time() >= (passed if problems and applied else looked):
            break
        await asyncio.sleep(LONGEST_PAUSE)
    if problems:
        lines = "\n".join(f"  {problem}" for problem in problems)
        raise NotDeployed(f"The tasks run, and not all of them can be reached:\n{lines}")


async def until_gone(client: "Client", apps: Collection[str] | None, *, timeout: float = 60.0) -> None:
    """Returns when no task of `apps` (None: of any) is left, nor a deployment of them."""
    left: list[Mapping[str, Any]] = []
    try:
        async with asyncio.timeout(timeout):
            while True:
                left = await look(client, apps)
                if not left:
                    return
                await asyncio.sleep(FIRST_PAUSE)
    except TimeoutError:
        names = [task["short"] for app in left for task in app["tasks"]] or [app["id"] for app in left]
        raise Unavailable(
            f"After {timeout:.0f} s there is still {', '.join(names)}. See: kato ps, kato why APP"
        ) from None


async def look(client: "Client", names: Collection[str] | None) -> list[Mapping[str, Any]]:
    """How apps (None: all) stand, by one request."""
    if names is None:
        return [*await client.apps()]
    return [app for app in await client.apps(os.path.commonpath(names)) if app["id"] in names] if names else []


async def _watch(
    client: "Client",
    names: Collection[str],
    view: View,
    wished: Collection[str],
    known: Collection[str] | None,
) -> None:
    loop = asyncio.get_running_loop()
    reasons: dict[str, str] = {}
    pulling: dict[str, str] = {}
    pause, asked = FIRST_PAUSE, 0.0
    while True:
        apps = await look(client, names)
        waiting = [app["id"] for app in apps if app["healthy"] < app["wished"]]
        if waiting and loop.time() - asked > ASK_WHY:
            (reasons, pulling), asked = await _ask_why(client, waiting), loop.time()
        view.update(rows(apps, reasons, pulling), failures(apps))
        if removed := set(wished) - {app["id"] for app in apps if app["version"]}:
            raise NotDeployed(f"Somebody else has removed {', '.join(sorted(removed))} meanwhile.")
        if failed := [app for app in apps if app["state"] == "failed" or _crashed(app, known)]:
            raise NotDeployed(await _reasons(client, failed, "This does not run:", failed=True))
        if all(map(_done, apps)):
            return
        await asyncio.sleep(pause)
        pause = min(pause * 1.3, LONGEST_PAUSE)


def _crashed(app: Mapping[str, Any], known: Collection[str] | None) -> bool:
    """Whether a new task has failed of an app that has nothing but its tasks' going on to tell how it is."""
    if known is None or app["retries"]:
        return False
    return not app["checked"] and bool(app["failure"]) and app["failure"]["task"] not in known


def _done(app: Mapping[str, Any]) -> bool:
    """Whether it is settled, and its tasks have proved it: by health checks, their end, or a moment of running.

    One that is far from now on either side has: its start is by the cell's clock, which may have been set.
    """
    now = time.time()
    return bool(app["settled"]) and (
        app["checked"]
        or all(
            task["state"] == "finished" or abs(now - (task["started"] or now)) >= STEADY for task in app["tasks"]
        )
    )


async def _ask_why(client: "Client", apps: Collection[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Why apps wait, and how far their images are that are pulled."""
    said = {}
    for id in apps:
        with contextlib.suppress(NotFound):
            said[id] = await client.why(id)
    found = {}
    for app in await look(client, said):  # after the question: the failure that a delay comes from is there
        id = app["id"]
        wait, sentence = said[id]["wait"], next(iter(said[id]["sentences"]), "")
        # The row says already which app it is that waits.
        reason = sentence.partition(": ")[2] if sentence.startswith(f"{id} waits for ") else sentence
        backs_off = wait is not None and wait["until"] is not None
        found[id] = f"{how_it_failed(app).rstrip('.')}; {reason}" if backs_off and app["failure"] else reason
    return found, {id: words for id, each in said.items() if (words := each.get("pulling"))}


async def ended_badly(client: "Client", apps: Sequence[Mapping[str, Any]]) -> NotDeployed | None:
    """What to raise where some of the apps have failed and are not tried again."""
    failed = [app for app in apps if app["state"] == "failed"]
    return NotDeployed(await _reasons(client, failed, "This has failed:", failed=True)) if failed else None


async def _reasons(
    client: "Client", apps: Sequence[Mapping[str, Any]], first: str, *, failed: bool = False
) -> str:
    """Why it is not done: what /v1/why says of each app, and what its newest (or `failed`) task wrote."""
    lines = [first]
    for app in apps:
        lines.append(f"  {app['id']}: {app['healthy']} of {app['wished']} as wished")
        if failed and app["failure"]:
            lines.append(f"    {short_task(app['failure']['task'])}: {how_it_failed(app)}")
        with contextlib.suppress(NotFound):  # it is one that goes
            lines += [f"    {sentence}" for sentence in (await client.why(app["id"]))["sentences"]]
        fresh = [] if failed else [task["id"] for task in app["tasks"] if task["current"]]
        if failed or app["healthy"] < app["wished"]:
            lines += await _last_words(client, fresh[-1] if fresh else (app["failure"] or {}).get("task"))
    if any(app["state"] == "failed" for app in apps):
        force = " --force" if any(app["deployment"] for app in apps) else ""
        last = f"It is not tried again. Mend the file and `kato up` it, or run it again: kato restart APP{force}"
    else:
        last = "It goes on trying. Mend the file and `kato up` it, or kato rollback APP. See: kato why, kato logs"
    return "\n".join([*lines, f"  {last}"])


async def _last_words(client: "Client", task: str | None) -> list[str]:
    if task is None:
        return []
    text: dict[str, str] = {}
    try:
        async with asyncio.timeout(5):
            async for piece in client.logs(task, tail=LAST_LINES):
                text[piece.stream] = text.get(piece.stream, "") + piece.text
    except (KatoError, TimeoutError):
        return []
    lines = [line for stream in sorted(text) for line in text[stream].splitlines()[-LAST_LINES:]]
    return (
        [f"    the last lines of {short_task(task)}:", *(f"      {harmless(line)}" for line in lines)]
        if lines
        else []
    )
