"""up: a file goes in; its apps run, are watched, and, in the foreground, go again when a signal comes."""

import subprocess
import sys
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from kato.cli import cell
from kato.cli.down import take_down
from kato.cli.follow import until_served, until_settled
from kato.cli.live import View
from kato.cli.place import HERE, TIMEOUT, Place, Seconds
from kato.cli.show import say, say_anyway
from kato.cli.signals import Interrupted, Signals
from kato.cli.source import load, warn
from kato.cli.stay import stay

if TYPE_CHECKING:
    from kato.client import Client
    from kato.language import Manifest


async def up(
    file: str = ".",
    /,
    *,
    detach: Annotated[bool, Parameter(name=["--detach", "-d"], negative=())] = False,
    force: Annotated[bool, Parameter(negative=())] = False,
    timeout: Seconds = TIMEOUT,
    place: Place = HERE,
) -> int:
    """Deploy a file, show how it comes up, and stay; Ctrl-C removes it. Starts a cell if none answers.

    Run again, it changes only what changed.

    Parameters
    ----------
    file
        A Compose or Marathon file, or a folder with one in it.
    detach
        Return when all is as wished, and leave it running.
    force
        Take over from a deployment that holds an app.
    timeout
        Seconds until what is not healthy is a failure.
    """
    manifest = load(file)
    warn(manifest.warnings)
    async with place.client() as client:
        session = _Session(client, place, manifest)
        if detach:
            await session.deploy(force, timeout)
            return 0
        return await session.foreground(force, timeout)


class _Session:
    """One `kato up`: it knows whether it started the cell."""

    def __init__(self, client: "Client", place: Place, manifest: "Manifest") -> None:
        self.client = client
        self.place = place
        self.manifest = manifest
        self.process: subprocess.Popen[bytes] | None = None
        self.deployed = False

    @property
    def names(self) -> set[str]:
        return {app.id for app in self.manifest.apps}

    async def start(self) -> None:
        """Makes sure that the cell answers."""
        self.process = await cell.ensure(self.client, self.place.config)
        found = await self.client.cell()
        if self.process is not None:
            say(f"A cell has started in {found['data']}.")
        elif self.place.config.ingress != found["ingress"]:
            print(f"kato: the cell listens for HTTP on {found['ingress']}, as it was started.", file=sys.stderr)

    async def deploy(self, force: bool, timeout: float) -> None:
        """Hands the wish over and waits until it is true; prints where it answers."""
        await self.start()
        present = await self.client.apps()
        before = {str(app["id"]) for app in present}
        known = {task["id"] for app in present for task in app["tasks"]}
        known |= {app["failure"]["task"] for app in present if app["failure"]}
        foreseen = await self.client.plan(self.manifest.plan_body)
        warn(foreseen.get("warnings") or ())
        changes = foreseen.get("changes") or []
        self.deployed = True
        await self._put(force)
        removed = {
            app for app in before if self.manifest.group and app.startswith(f"{self.manifest.group}/")
        } - self.names
        with View() as view:
            names = self.names | removed
            await until_settled(self.client, names, view, wished=self.names, known=known, timeout=timeout)
        await until_served(self.client, self.names)
        count = f"{len(self.names)} app{'' if len(self.names) == 1 else 's'}"
        if changes:
            say(f"{count} as wished after {view.seconds:.1f} s.")
        else:
            say(f"Nothing to change: {count} as wished.")
        await self.urls()

    async def _put(self, force: bool) -> None:
        if self.manifest.group is not None:
            await self.client.put_group(self.manifest.group, self.manifest.body(), force=force)
        else:
            await self.client.put_apps(self.manifest.body(), force=force)

    async def urls(self) -> None:
        """Prints where the apps answer: by name, or, where none has one, by port."""
        found = [
            (service["app"], url)
            for service in await self.client.services()
            if service["app"] in self.names
            for url in service.get("urls") or ()
        ]
        for app, url in [each for each in found if each[1].startswith("http")] or found:
            say(f"  {app}  {url}")

    async def foreground(self, force: bool, timeout: float) -> int:
        """Deploys, stays, and removes what it deployed when a signal comes; the exit code."""
        code = 0
        with Signals() as signals:
            try:
                await signals.guard(self._run(force, timeout))
            except Interrupted as interrupted:
                code = interrupted.exit_code
            finally:
                await self._leave(signals)
        return code

    async def _run(self, force: bool, timeout: float) -> None:
        await self.deploy(force, timeout)
        say("Ctrl-C ends it." if self.process is None else "Ctrl-C ends it all.")
        await stay(self.client, self.names, self._revive)

    async def _revive(self) -> bool:
        """Starts the cell again if it was ours and has ended; its tasks went on meanwhile. Whether it was."""
        if self.process is None or self.process.poll() is None:
            return False
        say_anyway(f"The cell has ended (exit code {self.process.returncode}); starting it again.")
        self.process = await cell.ensure(self.client, self.place.config)
        return True

    async def _leave(self, signals: Signals) -> None:
        """Nothing of ours stays behind; a second Ctrl-C leaves it as it is."""
        if not self.deployed and self.process is None:
            return
        say_anyway("\nEnding it (Ctrl-C again leaves it running).")
        try:
            await signals.guard(self._clean())
        except Interrupted:
            print("kato: left as it is. `kato down --all` ends it.", file=sys.stderr)

    async def _clean(self) -> None:
        await self._revive()
        await take_down(self.client, None if self.process else self.manifest)
        if self.process is not None:
            await cell.end(self.client, self.process)
            say_anyway("The cell has ended.")
