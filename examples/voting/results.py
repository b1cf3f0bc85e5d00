"""The page with live results: counts come from the database and go out as a page and as JSON."""

import asyncio
import json
import os
from html import escape
from pathlib import Path
from string import Template

from aiohttp import web
from votes import ERRORS, Votes

PAGE = Template((Path(__file__).parent / "results.html").read_text()).substitute(
    a=escape(os.environ.get("OPTION_A", "Cats")), b=escape(os.environ.get("OPTION_B", "Dogs"))
)
votes = Votes()


async def show(request: web.Request) -> web.Response:
    return web.Response(text=PAGE, content_type="text/html")


async def counts(request: web.Request) -> web.Response:
    try:
        return web.json_response(text=json.dumps(await asyncio.to_thread(votes.counts)) + "\n")
    except ERRORS as error:
        print(f"the database does not answer: {error}", flush=True)
        return web.json_response({"message": "The database does not answer; please try again."}, status=503)


async def health(request: web.Request) -> web.Response:
    return web.Response(text="ok\n")


def main() -> None:
    app = web.Application()
    app.add_routes([web.get("/", show), web.get("/counts", counts), web.get("/health", health)])
    host, port = os.environ.get("HOST", "127.0.0.1"), int(os.environ["PORT"])
    web.run_app(app, host=host, port=port, access_log=None, shutdown_timeout=2, print=None)


if __name__ == "__main__":
    main()
