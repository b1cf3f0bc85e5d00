"""Images that a Compose file says how to build: a manifest goes in; the engine builds them by its own client, and
the manifest with their names comes out.

An image is called by its own id: another one is another app, and the same one changes nothing.
"""

import asyncio
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from kato.cli.printing.live import Row, View
from kato.cli.printing.show import harmless
from kato.model.app import BUILT
from kato.model.errors import KatoError

if TYPE_CHECKING:
    from kato.language import Build, Manifest

SOCKET = "unix:///var/run/docker.sock"
INSTALL = "Run: apt-get install docker.io (since Debian 13: docker-cli)"
LAST_LINES = 15
LONGEST_LINE = 1 << 20
"""Bytes of a line that a build may write."""
ID = 24
"""Digits of an image's id in its name."""


class NotBuilt(KatoError):
    """An image could not be built; it says why, with the last lines of the build."""


async def built(manifest: "Manifest", engine: str | None) -> "Manifest":
    """Builds what is to be built, all at once, and shows how far it is. engine: as DOCKER_HOST has it."""
    if not manifest.builds:
        return manifest
    if shutil.which("docker") is None:
        raise NotBuilt(
            f"{_named(manifest.builds)} is to be built, and there is no `docker` on the PATH. {INSTALL}"
        )
    apps: dict[Build, list[str]] = {}
    for app, build in manifest.builds.items():
        apps.setdefault(build, []).append(app)
    with View() as view:
        builder = _Builder(engine or SOCKET, view)
        try:
            async with asyncio.TaskGroup() as group:
                works = {build: group.create_task(builder.build(build, _named(of))) for build, of in apps.items()}
        except* NotBuilt as failed:
            raise failed.exceptions[0] from None
    return manifest.named({app: works[build].result() for build, of in apps.items() for app in of})


def words(build: "Build", iid: Path) -> list[str]:
    """The command line. iid: where the image's id is written; the text of a Dockerfile comes by stdin."""
    found = ["docker", "build", "--force-rm", f"--iidfile={iid}", f"--label=kato.built=/{build.project}"]
    found += [f"--{flag}={value}" for flag, value in build.flags]
    file = "-" if build.inline is not None else build.dockerfile
    return [*found, *([f"--file={file}"] if file else []), "--", build.context]


def environment(environ: Mapping[str, str], engine: str) -> dict[str, str]:
    """The caller's, with the cell's engine; without attestations, which make another image of the same build."""
    kept = {name: value for name, value in environ.items() if name != "DOCKER_CONTEXT"}
    return {**kept, "DOCKER_HOST": engine, "BUILDKIT_PROGRESS": "plain", "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}


class _Builder:
    """All builds of one command, in one view."""

    def __init__(self, engine: str, view: View) -> None:
        self._env = environment(os.environ, engine)
        self._view = view
        self._rows: dict[str, Row] = {}

    async def build(self, build: "Build", name: str) -> str:
        """Builds an image; what it is called. name: of who is to have it."""
        last: deque[str] = deque(maxlen=LAST_LINES)
        with tempfile.TemporaryDirectory(prefix="kato-build-") as folder:
            iid = Path(folder, "id")
            code = await self._run(words(build, iid), name, last, build.inline)
            if code:
                said = "\n".join(f"  {line}" for line in last)
                raise NotBuilt(
                    f"The image of {name} was not built: `docker build` ended with exit code {code}. Nothing was "
                    f"deployed. The last lines:\n{said}"
                )
            id = iid.read_text().strip()
        image = f"{BUILT}{build.project}:{id.rpartition(':')[2][:ID]}"
        if code := await self._run(["docker", "tag", id, image], name, last):
            raise NotBuilt(f"The image of {name} was built, and not named: {' '.join(last)}")
        self._show(name, "built", image)
        return image

    async def _run(self, argv: list[str], name: str, last: deque[str], text: str | None = None) -> int:
        """Runs it to its end and shows each line; its exit code. Cancelled, it ends it."""
        process = await asyncio.create_subprocess_exec(
            *argv,
            env=self._env,
            stdin=asyncio.subprocess.PIPE if text is not None else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=LONGEST_LINE,
        )
        assert process.stdout is not None
        try:
            if process.stdin is not None:
                process.stdin.write((text or "").encode())
                process.stdin.close()
            async for raw in process.stdout:
                if line := harmless(raw.decode(errors="replace").rstrip()):
                    last.append(line)
                    self._show(name, "building", line)
            return await process.wait()
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()

    def _show(self, name: str, state: str, note: str) -> None:
        self._rows[name] = Row(name, name, "", state, note)
        self._view.update([*self._rows.values()], {})


def _named(apps: Collection[str]) -> str:
    first, *more = apps
    return f"{first} and {len(more)} more" if more else first
