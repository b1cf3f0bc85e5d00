"""The worker: votes come from the queue and go into the database. None is lost if either, or it, is killed."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import suppress

from aiohttp import web
from valkey.asyncio import Valkey
from valkey.exceptions import ValkeyError
from votes import ERRORS, Votes


async def move_one(queue: Valkey, votes: Votes) -> None:
    """Moves one vote. It stays in `taken` until the database has it, so that the next try finds it there."""
    raw = await queue.lindex("taken", 0) or await queue.blmove("votes", "taken", 1, "LEFT", "RIGHT")
    if raw is None:
        return
    vote, _, voter = raw.decode().partition(" ")
    await asyncio.to_thread(votes.save, voter, vote)
    await queue.lrem("taken", 1, raw)
    print(f"kept a vote for {vote}", flush=True)


async def work() -> None:
    votes = Votes()
    queue = Valkey(
        host=os.environ["REDIS_HOST"],
        port=int(os.environ["REDIS_PORT"]),
        socket_timeout=5,
        socket_connect_timeout=2,
    )
    complaint = None
    while True:
        try:
            await move_one(queue, votes)
            complaint = None
        except (ValkeyError, *ERRORS) as error:
            if str(error) != complaint:
                complaint = str(error)
                print(f"waiting for the queue and the database: {complaint}", flush=True)
            await asyncio.sleep(0.2)


async def working(app: web.Application) -> AsyncIterator[None]:
    task = asyncio.create_task(work())
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def health(request: web.Request) -> web.Response:
    return web.Response(text="ok\n")


def main() -> None:
    app = web.Application()
    app.add_routes([web.get("/health", health)])
    app.cleanup_ctx.append(working)
    host, port = os.environ.get("HOST", "127.0.0.1"), int(os.environ["PORT"])
    web.run_app(app, host=host, port=port, access_log=None, shutdown_timeout=2, print=None)


if __name__ == "__main__":
    main()
