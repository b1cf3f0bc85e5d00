"""The page to vote: a form comes in, a vote goes into the queue. One vote a browser; the last one counts."""

import asyncio
import os
import uuid
from html import escape
from pathlib import Path
from string import Template

from aiohttp import web
from valkey.asyncio import Valkey
from valkey.exceptions import ValkeyError

PAGE = Template((Path(__file__).parent / "vote.html").read_text())
NAMES = {"a": os.environ.get("OPTION_A", "Cats"), "b": os.environ.get("OPTION_B", "Dogs")}
TASK = os.environ.get("MESOS_TASK_ID", "by hand")
PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8, 0.8, 0.8)
"""Seconds between tries, while the queue restarts or moves."""
queue = Valkey(
    host=os.environ["REDIS_HOST"], port=int(os.environ["REDIS_PORT"]), socket_timeout=2, socket_connect_timeout=2
)


def page(choice: str | None = None) -> web.Response:
    chosen = {f"{side}_chosen": "aria-pressed=true" if side == choice else "" for side in NAMES}
    names = {side: escape(name) for side, name in NAMES.items()}
    said = f"You voted for {names[choice]}. You can change your mind." if choice else "Tap one."
    return web.Response(
        text=PAGE.substitute(names, **chosen, said=said, task=escape(TASK)), content_type="text/html"
    )


async def show(request: web.Request) -> web.Response:
    return page()


async def keep(vote: str) -> None:
    """Puts a vote into the queue. Kept twice, after an unknown outcome, it counts once."""
    for pause in PAUSES:
        try:
            await queue.rpush("votes", vote)
        except (ValkeyError, OSError):
            await asyncio.sleep(pause)
        else:
            return
    await queue.rpush("votes", vote)


async def cast(request: web.Request) -> web.Response:
    choice = (await request.post()).get("vote")
    if not isinstance(choice, str) or choice not in NAMES:
        return web.Response(status=400, text="The form field vote is a or b.\n")
    voter = request.cookies.get("voter", "")
    if not (voter.isalnum() and voter.isascii() and len(voter) == 32):
        voter = uuid.uuid4().hex
    try:
        await keep(f"{choice} {voter}")
    except (ValkeyError, OSError) as error:
        print(f"the queue does not answer: {error}", flush=True)
        return web.Response(status=503, text="The vote could not be kept. Please try again.\n")
    print(f"a vote for {NAMES[choice]}", flush=True)
    response = page(choice)
    response.set_cookie("voter", voter, max_age=365 * 86400, httponly=True, samesite="Lax")
    return response


async def health(request: web.Request) -> web.Response:
    return web.Response(text="ok\n")


def main() -> None:
    app = web.Application(client_max_size=4096)
    app.add_routes([web.get("/", show), web.post("/", cast), web.get("/health", health)])
    host, port = os.environ.get("HOST", "127.0.0.1"), int(os.environ["PORT"])
    web.run_app(app, host=host, port=port, access_log=None, shutdown_timeout=2, print=None)


if __name__ == "__main__":
    main()
