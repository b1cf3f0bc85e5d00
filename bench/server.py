"""A user's small HTTP server: requests come in on $PORT; its task's name and its pid go out, in 512 bytes."""

import asyncio
import os

NAME = os.environ.get("MESOS_TASK_ID") or os.environ.get("NAME", "server")
BODY = f"{NAME} {os.getpid()} ".encode().ljust(512, b".")
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n" % len(BODY)
KEPT = HEAD + b"\r\n" + BODY
CLOSED = HEAD + b"Connection: close\r\n\r\n" + BODY


class Answering(asyncio.Protocol):
    """One connection, kept alive unless its client asks otherwise."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.held = b""

    def data_received(self, data: bytes) -> None:
        *requests, self.held = (self.held + data).split(b"\r\n\r\n")
        for request in requests:
            if b"connection: close" in request.lower():
                self.transport.write(CLOSED)
                self.transport.close()
                return
            self.transport.write(KEPT)


async def main() -> None:
    loop = asyncio.get_running_loop()
    host, port = os.environ.get("HOST", "127.0.0.1"), int(os.environ["PORT"])
    server = await loop.create_server(Answering, host, port, backlog=256)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
