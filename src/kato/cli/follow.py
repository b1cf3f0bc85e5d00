"""Waiting until a wish is true, or gone: a client and app ids go in; a view is fed until all is settled."""

import asyncio
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from kato.cli.live import View, failures, rows
from kato.cli.names import short_task
from kato.cli.place import TIMEOUT
from kato.cli.state import good_tasks, is_old, settled
from kato.model.errors import KatoError, NotFound, Unavailable

if TYPE_CHECKING:
    from kato.client import Client

FIRST_PAUSE, LONGEST_PAUSE = 0.03, 0.15
ASK_WHY = 0.5
"""Seconds between two questions why an app waits."""
LAST_LINES = 10


class NotDeployed(KatoError):
    """A deployment is not done in time; it says why, with the last words of what fails."""


async def until_settled(
    client: "Client", apps: Collection[str], view: View, *, deployment: str | None = None, timeout: float = TIMEOUT
) -> None:
    """Feeds `view` until `apps` have what was wished for, and those that are no more have no task.

    Raises NotDeployed after `timeout` seconds, with the reasons.
    """
    try:
        async with asyncio.timeout(timeout):
            await _watch(client, apps, view, deployment)
    except TimeoutError:
        raise NotDeployed(await _reasons(client, apps, timeout)) from None


async def until_gone(client: "Client", apps: Collection[str] | None, *, timeout: float = 60.0) -> None:
    """Returns when no task of `apps` (None: of any) is left, nor a deployment of them."""
    try:
        async with asyncio.timeout(timeout):
            while True:
                tasks = [each for each in await client.tasks() if apps is None or each.get("appId") in apps]
                if not tasks and not await _deploying(client, apps):
                    return
                await asyncio.sleep(FIRST_PAUSE)
    except TimeoutError:
        left = ", ".join(short_task(each["id"]) for each in tasks) or "a deployment"
        raise Unavailable(f"After {timeout:.0f} s there is still {left}. See: kato ps, kato why APP") from None


async def _deploying(client: "Client", apps: Collection[str] | None) -> bool:
    found = await client.deployments()
    return any(apps is None or set(apps) & set(each.get("affectedApps") or apps) for each in found)


async def _watch(client: "Client", names: Collection[str], view: View, deployment: str | None) -> None:
    loop = asyncio.get_running_loop()
    reasons: dict[str, str] = {}
    pause, asked = FIRST_PAUSE, 0.0
    while True:
        running = {str(each["id"]) for each in await client.deployments()}
        apps = {str(app["id"]): app for app in await client.apps() if app["id"] in names}
        waiting = [id for id, app in apps.items() if good_tasks(app) < app.get("instances", 1)]
        if waiting and loop.time() - asked > ASK_WHY:
            reasons, asked = await _ask_why(client, waiting), loop.time()
        view.update(rows(list(apps.values()), reasons), failures(list(apps.values())))
        if deployment not in running and all(map(settled, apps.values())):
            removed = set(names) - apps.keys()
            if not removed or not any(each.get("appId") in removed for each in await client.tasks()):
                return
        await asyncio.sleep(pause)
        pause = min(pause * 1.3, LONGEST_PAUSE)


async def _ask_why(client: "Client", apps: Collection[str]) -> dict[str, str]:
    found = {}
    for app in apps:
        try:
            sentence = next(iter((await client.why(app)).get("sentences") or ()), "")
        except NotFound:
            continue
        # The row says already which app it is that waits.
        found[app] = sentence.partition(": ")[2] if sentence.startswith(f"{app} waits for ") else sentence
    return found


async def _reasons(client: "Client", names: Collection[str], timeout: float) -> str:
    """Why it is not done: what /v1/why says of each app that is not settled, and what its last task wrote."""
    lines = [f"After {timeout:g} s this is not as wished:"]
    for app in await client.apps():
        if app["id"] not in names or settled(app):
            continue
        said = await client.why(app["id"])
        lines += [f"  {app['id']}: {good_tasks(app)} of {app.get('instances', 1)} as wished"]
        lines += [f"    {sentence}" for sentence in said.get("sentences") or ()]
        if good_tasks(app) < app.get("instances", 1):
            lines += await _last_words(client, app)
    return "\n".join([*lines, "  It goes on trying. See: kato why APP, kato logs APP, kato rollback APP"])


async def _last_words(client: "Client", app: Mapping[str, Any]) -> list[str]:
    failure = app.get("lastTaskFailure") or {}
    fresh = [each["id"] for each in app.get("tasks") or () if not is_old(each, app)]
    task = max(fresh, key=lambda id: (len(id), id)) if fresh else failure.get("taskId")
    if not task:
        return []
    text: dict[str, str] = {}
    try:
        async with asyncio.timeout(5):
            async for piece in client.logs(task, tail=LAST_LINES):
                text[piece.stream] = text.get(piece.stream, "") + piece.text
    except (KatoError, TimeoutError):
        return []
    lines = [line for stream in sorted(text) for line in text[stream].splitlines()[-LAST_LINES:]]
    return [f"    the last lines of {short_task(task)}:", *(f"      {line}" for line in lines)] if lines else []
