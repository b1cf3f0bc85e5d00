"""A command and what is typed come in as lines of JSON in a request's body; what it writes goes out meanwhile, as
lines of JSON in the answer, and last how it left.

The answer begins with the first of them, so that what cannot be run is refused as any other request is. The words
are those of `model/conversation.py`.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from kato.api.answers import encode
from kato.api.parts import Parts
from kato.api.peer import LIVES
from kato.model.conversation import Broke, Command, Keys, Said, Size, Typed
from kato.model.errors import InvalidInput, KatoError, NotFound
from kato.model.ids import absolute
from kato.model.task import TaskState
from kato.model.world import World

LONGEST_LINE = 1 << 18
"""Bytes of one line that a client sends."""
WAITING = 64
"""Words that wait for a command that reads slowly, before the client waits too."""
PARTING = 5.0
"""Seconds that a client has to hear the last word while it still sends."""
LOOK = 1.0
"""Seconds between two looks at whether the client lives: while it waits, nothing is heard of it."""
_T = TypeVar("_T")
_decode = msgspec.json.Decoder(Command | Keys | Size).decode


class Conversation(Response):
    """One command of one client. It is ended where the client or the api goes before it leaves."""

    media_type = "application/x-ndjson"

    def __init__(self, parts: Parts, request: Request) -> None:
        super().__init__(headers={"Connection": "close"})
        del self.headers["content-length"]
        self._parts = parts
        self._request = request
        self._words: asyncio.Queue[Command | Typed | None] = asyncio.Queue(WAITING)
        self._gone = asyncio.create_task(self._until_gone())
        self._said: AsyncGenerator[Said, None] | None = None
        self._first: Said | None = None
        self._over = False

    async def begin(self) -> None:
        """Returns with the command's first word. Raises what keeps it from being run."""
        try:
            command = await self._unless_gone(asyncio.create_task(self._words.get()))
            if not isinstance(command, Command) or not command.argv or not command.argv[0]:
                raise InvalidInput('The first line says what is run, as in {"type":"command","argv":["ls"]}.')
            task = chosen(self._parts.world, str(self._request.path_params["id"]))
            self._said = self._parts.calls.exec(task, command, self._typing())
            self._first = await self._next(self._said)
        except BaseException:
            await self._close()
            raise

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends all that the command says."""
        assert self._said is not None
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            said = self._first
            while said is not None:
                line = encode(said) + b"\n"
                await send({"type": "http.response.body", "body": line, "more_body": True})
                try:
                    said = await self._next(self._said)
                except KatoError as error:
                    said = Broke(str(error))
            await self._hear_out()
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            await self._close()

    async def _hear_out(self) -> None:
        """Takes what the client still sends, until it has heard how the command left: a connection that is closed
        under who writes is reset, and what was said last is lost with it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PARTING):
                while not (self._over or self._gone.done()):
                    await self._unless_gone(asyncio.create_task(self._words.get()))

    async def _close(self) -> None:
        self._gone.cancel()
        await asyncio.gather(self._gone, return_exceptions=True)
        if self._said is not None:
            await self._said.aclose()

    async def _next(self, said: AsyncGenerator[Said, None]) -> Said | None:
        async def word() -> Said | None:
            return await anext(said, None)

        return await self._unless_gone(asyncio.create_task(word()))

    async def _unless_gone(self, word: "asyncio.Task[_T]") -> _T | None:
        """A word, or None where the client, or the api, goes before it comes."""
        try:
            await asyncio.wait([word, self._gone], return_when=asyncio.FIRST_COMPLETED)
            return word.result() if word.done() else None
        finally:
            if not word.done():
                word.cancel()
                await asyncio.gather(word, return_exceptions=True)

    async def _until_gone(self) -> None:
        """Takes what the client sends, until it or the api goes, or it sends what nobody understands."""
        listening = asyncio.create_task(self._listen())
        ending = asyncio.create_task(self._parts.stream.closed.wait())
        try:
            while self._request.scope[LIVES]():
                words = [listening, ending]
                if (await asyncio.wait(words, timeout=LOOK, return_when=asyncio.FIRST_COMPLETED))[0]:
                    return
        finally:
            listening.cancel()
            ending.cancel()
            await asyncio.gather(listening, ending, return_exceptions=True)

    async def _listen(self) -> None:
        rest, receive = b"", self._request.receive
        while (message := await receive())["type"] == "http.request":
            over = not message.get("more_body", False)
            *lines, rest = (rest + message.get("body", b"")).split(b"\n")
            for line in [*lines, rest] if over and rest else lines:
                try:
                    await self._words.put(_decode(line))
                except msgspec.DecodeError:
                    return
            if len(rest) > LONGEST_LINE:
                return
            if over:
                self._over = True
                await self._words.put(None)

    async def _typing(self) -> AsyncIterator[Typed]:
        while isinstance(word := await self._words.get(), Keys | Size):
            yield word


def chosen(world: World, name: str) -> str:
    """The task of that id, or the app's newest one that runs, healthy ones first. NotFound."""
    if any(name in tasks for tasks in world.tasks.values()):
        return name
    id = absolute("/" + name)
    if id not in world.apps and id not in world.tasks:
        raise NotFound(f"There is neither an app nor a task {name!r}.")
    statuses = world.statuses.get(id, {})
    running = [
        (task.serves(status), status.started or 0.0, task.id)
        for task in world.tasks.get(id, {}).values()
        if (status := statuses.get(task.id)) is not None and status.state is TaskState.RUNNING
    ]
    if not running:
        raise NotFound(f"No task of {id} runs at the moment. See: kato why {id.strip('/')}")
    return max(running)[2]
