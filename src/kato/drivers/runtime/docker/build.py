"""Images that an engine builds by its own client, from folders of whoever asks: what is to be built flows in; each
line that the client writes, and the image's name, flow out.

An image is called by its own id: another one is another app, and the same one changes nothing.
"""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from os.path import exists, isdir, isfile
from pathlib import Path

from kato.model.app import BUILT
from kato.model.build import Build

SOCKET = "unix:///var/run/docker.sock"
LONGEST_LINE = 4096
"""Bytes of a line that a build writes; what is longer becomes several."""
PATIENCE = 5.0
"""Seconds that a client has to end when it is asked to."""
ID = 24
"""Digits of an image's id in its name."""


class Ended(Exception):
    """The client ended with another exit code than 0. step: what it was to do, `build` or `tag`."""

    def __init__(self, step: str, code: int) -> None:
        self.step, self.code = step, code
        super().__init__(f"docker {step} ended with exit code {code}")


def has_client() -> bool:
    """Whether this machine has the engine's client."""
    return shutil.which("docker") is not None


def words(build: Build, iid: Path) -> list[str]:
    """The command line. iid: where the image's id is written; the text of a Dockerfile comes by stdin."""
    found = ["docker", "build", "--force-rm", f"--iidfile={iid}", f"--label=kato.built=/{build.project}"]
    found += [f"--{flag}={value}" for flag, value in build.flags]
    file = "-" if build.inline is not None else build.dockerfile
    return [*found, *([f"--file={file}"] if file else []), "--", build.context]


def unfit(build: Build) -> Path | None:
    """What of a folder the client would read without end, as a device or a named pipe; None where all is well."""
    folder = Path(build.context)
    file = Path(build.dockerfile) if build.dockerfile else folder / "Dockerfile"
    if not folder.is_absolute():
        return None
    read = [folder / ".dockerignore"] if build.inline is not None else [file, folder / ".dockerignore"]
    read.append(file.with_name(f"{file.name}.dockerignore"))
    return next((each for each in read if exists(each) and not (isfile(each) or isdir(each))), None)


def environment(environ: Mapping[str, str], engine: str) -> dict[str, str]:
    """The caller's, with the cell's engine; without attestations, which make another image of the same build."""
    kept = {name: value for name, value in environ.items() if name != "DOCKER_CONTEXT"}
    return {**kept, "DOCKER_HOST": engine, "BUILDKIT_PROGRESS": "plain", "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}


class Builder:
    """Builds with one engine. environ: the caller's; engine: as DOCKER_HOST has it, None for the usual one."""

    def __init__(self, environ: Mapping[str, str], engine: str | None) -> None:
        self._env = environment(environ, engine or SOCKET)

    async def build(self, build: Build, heard: Callable[[str], None]) -> str:
        """Builds an image; what it is called. heard: takes each line, as the client wrote it. Raises Ended."""
        with tempfile.TemporaryDirectory(prefix="kato-build-") as folder:
            iid = Path(folder, "id")
            await self._run("build", words(build, iid), heard, build.inline)
            id = iid.read_text().strip()
        image = f"{BUILT}{build.project}:{id.rpartition(':')[2][:ID]}"
        await self._run("tag", ["docker", "tag", id, image], heard)
        return image

    async def _run(
        self, step: str, argv: list[str], heard: Callable[[str], None], text: str | None = None
    ) -> None:
        """Runs it to its end. Cancelled, it ends it."""
        process = await asyncio.create_subprocess_exec(
            *argv,
            env=self._env,
            stdin=asyncio.subprocess.PIPE if text is not None else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        assert process.stdout is not None
        try:
            if process.stdin is not None:
                process.stdin.write((text or "").encode())
                process.stdin.close()
            async for line in _lines(process.stdout):
                heard(line.decode(errors="replace").rstrip())
            if code := await process.wait():
                raise Ended(step, code)
        finally:
            if process.returncode is None:
                await _end(process)


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """What a program writes, until it ends; as long as it may be, and without a newline."""
    rest = b""
    while piece := await stream.read(1 << 16):
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line
        while len(rest) > LONGEST_LINE:
            yield rest[:LONGEST_LINE]
            rest = rest[LONGEST_LINE:]
    if rest:
        yield rest


async def _end(process: asyncio.subprocess.Process) -> None:
    process.terminate()
    try:
        async with asyncio.timeout(PATIENCE):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
