"""A real HTTP server on loopback, for what is fetched: files go in by their paths, what was asked comes out."""

import asyncio
import io
import tarfile
from collections import Counter
from collections.abc import Mapping

from aiohttp import web


class Shop:
    """Serves `files`. etags: of those that have one. half: paths of which half is sent until `rest` is set."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.etags: dict[str, str] = {}
        self.half: set[str] = set()
        self.rest = asyncio.Event()
        self.asked: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self.broken = 0
        self._server = web.Server(self._answer)
        self._runner = web.ServerRunner(self._server, shutdown_timeout=1)
        self._port = 0

    async def open(self) -> None:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def close(self) -> None:
        self.rest.set()
        await self._runner.cleanup()

    def url(self, path: str) -> str:
        """Where a path is served."""
        return f"http://127.0.0.1:{self._port}{path}"

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path
        self.asked[path] += 1
        if self.broken:
            return web.Response(status=self.broken)
        if path not in self.files:
            return web.Response(status=404)
        etag = self.etags.get(path, "")
        if etag and request.headers.get("If-None-Match") == etag:
            return web.Response(status=304)
        body, answer = self.files[path], web.StreamResponse(headers={"ETag": etag} if etag else {})
        answer.content_length = len(body)
        await answer.prepare(request)
        if path in self.half:
            await answer.write(body[: len(body) // 2])
            await self.rest.wait()
            body = body[len(body) // 2 :]
        await answer.write(body)
        self.sent[path] += 1
        return answer


def packed(files: Mapping[str, bytes], *members: tarfile.TarInfo, how: str = "w:gz") -> bytes:
    """A tar of files, and of members that are none."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode=how) as tar:  # type: ignore[call-overload]
        for member in members:
            tar.addfile(member)
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return whole.getvalue()


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    """A member that is a link."""
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member
