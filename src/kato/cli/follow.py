"""Waiting until a wish is true, or gone: a client and app ids go in; a view is fed until all is settled."""

import asyncio
import contextlib
import os.path
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from kato.cli.live import View, failures, rows
from kato.cli.place import TIMEOUT
from kato.cli.show import harmless
from kato.model.errors import KatoError, NotFound, Unavailable
from kato.model.ids import short_task

if TYPE_CHECKING:
    from kato.client import Client

FIRST_PAUSE, LONGEST_PAUSE = 0.03, 0.15
ASK_WHY = 0.5
"""Seconds between two questions why an app waits."""
LAST_LINES = 10


class NotDeployed(KatoError):
    """A deployment is not done in time; it says why, with the last words of what fails."""


async def until_settled(client: "Client", apps: Collection[str], view: View, *, timeout: float = TIMEOUT) -> None:
    """Feeds `view` until `apps` have what was wished for, and those that are no more have no task.

    Raises NotDeployed after `timeout` seconds, with the reasons.
    """
    try:
        async with asyncio.timeout(timeout):
            await _watch(client, apps, view)
    except TimeoutError:
        raise NotDeployed(await _reasons(client, apps, timeout)) from None


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


async def _watch(client: "Client", names: Collection[str], view: View) -> None:
    loop = asyncio.get_running_loop()
    reasons: dict[str, str] = {}
    pause, asked = FIRST_PAUSE, 0.0
    while True:
        apps = await look(client, names)
        waiting = [app["id"] for app in apps if app["healthy"] < app["wished"]]
        if waiting and loop.time() - asked > ASK_WHY:
            reasons, asked = await _ask_why(client, waiting), loop.time()
        view.update(rows(apps, reasons), failures(apps))
        if all(app["settled"] for app in apps):
            return
        await asyncio.sleep(pause)
        pause = min(pause * 1.3, LONGEST_PAUSE)


async def _ask_why(client: "Client", apps: Collection[str]) -> dict[str, str]:
    found = {}
    for app in apps:
        try:
            sentence = next(iter((await client.why(app))["sentences"]), "")
        except NotFound:
            continue
        # The row says already which app it is that waits.
        found[app] = sentence.partition(": ")[2] if sentence.startswith(f"{app} waits for ") else sentence
    return found


async def _reasons(client: "Client", names: Collection[str], timeout: float) -> str:
    """Why it is not done: what /v1/why says of each app that is not settled, and what its last task wrote."""
    lines = [f"After {timeout:g} s this is not as wished:"]
    for app in await look(client, names):
        if app["settled"]:
            continue
        lines.append(f"  {app['id']}: {app['healthy']} of {app['wished']} as wished")
        with contextlib.suppress(NotFound):  # it is one that goes
            lines += [f"    {sentence}" for sentence in (await client.why(app["id"]))["sentences"]]
        if app["healthy"] < app["wished"]:
            lines += await _last_words(client, app)
    return "\n".join([*lines, "  It goes on trying. See: kato why APP, kato logs APP, kato rollback APP"])


async def _last_words(client: "Client", app: Mapping[str, Any]) -> list[str]:
    fresh = [task["id"] for task in app["tasks"] if task["current"]]
    if not fresh and not app["failure"]:
        return []
    task = fresh[-1] if fresh else app["failure"]["task"]
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
