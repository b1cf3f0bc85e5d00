"""up: a file goes in; its apps run, are watched, and, in the foreground, what is new goes when a signal comes."""

import sys
from collections.abc import Collection
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from kato.cli.changes.build import built
from kato.cli.changes.change import NOTHING, begun
from kato.cli.changes.down import take_down
from kato.cli.changes.follow import ended_badly, until_served, until_settled
from kato.cli.changes.source import ALL, Chosen, load, owns, warn
from kato.cli.changes.stay import stay
from kato.cli.printing.live import View
from kato.cli.printing.show import MOST, count_of, named, say, say_anyway
from kato.cli.signals import Interrupted, Parting, Signals
from kato.cli.upkeep import cell
from kato.cli.words.place import HERE, TIMEOUT, NoWait, Place, Seconds
from kato.config import LOGS
from kato.model.errors import Locked

if TYPE_CHECKING:
    import subprocess

    from kato.client import Client
    from kato.language import Manifest


async def up(
    file: str = ".",
    /,
    *,
    detach: Annotated[bool, Parameter(name=["--detach", "-d"], negative=())] = False,
    no_wait: NoWait = False,
    force: Annotated[bool, Parameter(negative=())] = False,
    timeout: Seconds = TIMEOUT,
    chosen: Chosen = ALL,
    place: Place = HERE,
) -> int:
    """Deploy a file, show how it comes up, and stay; starts a cell if none answers. Ctrl-C ends what it started:
    apps that stood before stay, in whatever version.

    Run again, it changes only what changed. A deployment that changes only apps of this file is taken over.

    Parameters
    ----------
    file
        A Compose or Marathon file, or a folder with one in it.
    detach
        Return when all is as wished, and leave it running.
    no_wait
        Return at once, and leave it running.
    force
        Take over from every deployment that holds an app, also one that changes others too.
    timeout
        Seconds until what is not healthy is a failure.
    """
    manifest = load(file, chosen)
    warn(manifest.warnings)
    async with place.client() as client:
        session = _Session(client, place, manifest, chosen.words(file))
        if detach or no_wait:
            with session.parting:
                await session.deploy(force, None if no_wait else timeout)
            return 0
        return await session.foreground(force, timeout)


class _Session:
    """One `kato up`: it knows what stood before, and whether it started the cell."""

    def __init__(self, client: "Client", place: Place, manifest: "Manifest", words: str) -> None:
        self.client = client
        self.place = place
        self.manifest = manifest
        self.parting = Parting()
        self.process: subprocess.Popen[bytes] | None = None
        self.names = {app.id for app in manifest.apps}
        self.stood: set[str] | None = None
        """What was wished for before; None until that is known, and so nothing of ours was deployed."""
        self.later: set[str] = set()
        """What others have deployed since, known once ours has gone."""
        self.before: set[str] = set()
        """The tasks that were there before."""
        self.under_way = False
        self.down = f"kato down {words}".rstrip()

    async def start(self) -> None:
        """Makes sure that the cell answers."""
        if not await self.client.ping():
            self.parting.left = "Nothing was deployed, and the cell that was about to start was ended again."
        self.process = await cell.ensure(self.client, self.place.config)
        self.parting.left = "Nothing was changed."
        if self.process is not None:
            self.parting.left = "Nothing was deployed; the cell stays. `kato down --all` ends it."
        found = await self.client.cell()
        if self.process is not None:
            say(f"A cell has started in {found['data']}.")
        elif self.place.config.ingress != found["ingress"]:
            print(f"kato: the cell listens for HTTP on {found['ingress']}, as it was started.", file=sys.stderr)
        if self.process is None and self.place.config.dns not in (None, found.get("dns")):
            where = f"answers for names on {found['dns']}" if found.get("dns") else "has no name server"
            print(f"kato: the cell {where}, as it was started.", file=sys.stderr)
        if self.process is None:
            self._say_otherwise(found)

    def _say_otherwise(self, found: dict[str, Any]) -> None:
        """Tells of words about the log that came too late, since the cell was there already."""
        config, otherwise = self.place.config, []
        if "ship" in found and config.ship and (wished := ":".join(config.ship)) != found["ship"]:
            where = f"to {found['ship']}" if found["ship"] else "nothing"
            otherwise.append(f"ships {where}, not {'to ' if found['ship'] else ''}{wished}")
        if "log" in found and config.log != LOGS[0] and config.log != found["log"]:
            otherwise.append(f"logs as {found['log']}, not {config.log}")
        for each in otherwise:
            print(f"kato: the cell {each}, as it was started.", file=sys.stderr)

    async def deploy(self, force: bool, timeout: float | None) -> None:
        """Hands the wish over and waits until it is true; prints where it answers. timeout: None not to wait."""
        self.parting.left = "Nothing was deployed."
        self.manifest = await built(self.manifest, self.place.config.engine)
        await self.start()
        present = await self.client.apps()
        known = self.before = {task["id"] for app in present for task in app["tasks"]}
        known |= {app["failure"]["task"] for app in present if app["failure"]}
        before = {str(app["id"]) for app in present}
        foreseen = await self.client.plan(self.manifest.plan_body)
        warn(foreseen.get("warnings") or ())
        changes = foreseen.get("changes") or []
        self.stood = {str(app["id"]) for app in present if app["version"]}
        self.parting.asks(f"{count_of(self.names)}")
        deployment = await self._put(force)
        if timeout is None:
            say(begun(self.names) if deployment else NOTHING)
            return
        self.under_way = True
        self.parting.left = f"The deployment goes on. See: kato ls. `{self.down}` removes {count_of(self.names)}."
        removed = {app for app in before if owns(self.manifest, app)} - self.names
        with View() as view:
            names = self.names | removed
            await until_settled(self.client, names, view, wished=self.names, known=known, timeout=timeout)
        self.under_way = False
        self.parting.left = f"{count_of(self.names)} as wished, and left running. `{self.down}` ends it."
        await until_served(self.client, self.names)
        if changes:
            say(f"{count_of(self.names)} as wished after {view.seconds:.1f} s.")
        else:
            say(f"Nothing to change: {count_of(self.names)} as wished.")
        await self.urls()

    async def _put(self, force: bool) -> str | None:
        """The newest wish for a project wins: a deployment of its own apps alone is taken over. Its deployment."""
        try:
            return await self._send(force)
        except Locked as locked:
            running = {each["id"]: each for each in await self.client.deployments()}
            held = [running[id] for id in locked.deployments if id in running]
            if not all(owns(self.manifest, app) for each in held for app in each["affectedApps"]):
                raise
            for each in held:
                waits = ", ".join(action["app"] for action in each["currentActions"])
                waited = f", which waited for {waits}" if waits else ""
                say(f"Takes over from the deployment since {each['version']}{waited}.")
            return await self._send(bool(held))

    async def _send(self, force: bool) -> str | None:
        for name, secret in self.manifest.secrets.items():
            await self.client.set_secret(name, secret.value)
        if self.manifest.group is not None:
            done = await self.client.put_group(self.manifest.group, self.manifest.body(), force=force)
        else:
            done = await self.client.put_apps(self.manifest.body(), force=force)
        return done.deployment

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
        ports = {port.service for app in self.manifest.apps for port in app.ports if "tcp" in port.protocol}
        if told := reach(ports):
            say(told)

    async def foreground(self, force: bool, timeout: float) -> int:
        """Deploys, stays, and removes what it started when a signal comes; the exit code."""
        code = 0
        with Signals() as signals:
            try:
                await signals.guard(self._run(force, timeout))
            except Interrupted as interrupted:
                code = interrupted.exit_code
            finally:
                await self._leave(signals, told=code != 0)
        return code

    async def _run(self, force: bool, timeout: float) -> None:
        await self.deploy(force, timeout)
        if kept := self._kept():
            others = " ends what this has started, and" if self.names - kept else ""
            say(f"Ctrl-C{others} leaves running what stood before.")
        else:
            say("Ctrl-C ends it all." if self._alone() else "Ctrl-C ends it.")
        ended = await stay(self.client, self.names, self._revive, self.before)
        if (failure := await ended_badly(self.client, ended)) is not None:
            raise failure
        say("All of it has finished.")

    def _kept(self) -> set[str]:
        """The apps of the file that stood before, in whatever version."""
        return self.names & (self.stood or set())

    def _alone(self) -> bool:
        """Whether nothing stood before, not even the cell."""
        return self.process is not None and not self.stood

    async def _revive(self) -> bool:
        """Starts the cell again if it was ours and has ended; its tasks went on meanwhile. Whether it was."""
        if self.process is None or self.process.poll() is None:
            return False
        say_anyway(f"The cell has ended (exit code {self.process.returncode}); starting it again.")
        self.process = await cell.ensure(self.client, self.place.config)
        return True

    async def _leave(self, signals: Signals, told: bool) -> None:
        """Nothing that is ours stays behind; a second Ctrl-C leaves it as it is. told: by a signal to end."""
        sent = self.stood is not None
        if not sent and self.process is None:
            if told:
                say_anyway(f"\n{self.parting.left}")
            return
        if self._alone() or (sent and self.names - self._kept()):
            say_anyway("\nEnding it (Ctrl-C again leaves it running).")
            try:
                await signals.guard(self._clean(sent))
            except Interrupted:
                print(f"kato: {self.parting.left}", file=sys.stderr)
                return
        if kept := self._kept():
            how = ", and its deployment goes on" if self.under_way else ""
            say_anyway(f"Left running{how}: {named(kept)} stood before. `{self.down}` ends it.")
        if self.process is not None:
            others = f"{named(self.later)}, deployed since" if self.later else "its apps that stood before"
            say_anyway(f"The cell goes on, for {others}. `kato down --all` ends all of it.")

    async def _clean(self, sent: bool) -> None:
        """Ends what this has started. sent: whether the wish may be in force."""
        self.parting.left = "Nothing was removed yet. `kato down --all` ends it."
        await self._revive()
        if self.stood is None:
            self.stood = {str(app["id"]) for app in await self.client.apps() if app["version"]}
        if sent:
            await take_down(self.client, self.manifest, keep=self._kept(), parting=self.parting)
        if not self._alone():
            return
        self.later = {str(app["id"]) for app in await self.client.apps() if app["version"]}
        if not self.later:
            self.parting.left = (
                "All apps are removed; the cell was being ended, and ends by itself if it was told."
            )
            await cell.end(self.client, self.process)
            self.process = None
            say_anyway("The cell has ended.")


def reach(ports: Collection[int]) -> str:
    """From where the ports are reached that a file publishes, and how to have others reach them; 0: chosen by the
    cell, and nobody's to know.

    >>> reach({0, 8080, 443}).partition(". ")[0]
    'Ports 443, 8080 answer on this machine alone'
    >>> reach({0})
    ''
    """
    if not (published := sorted(set(ports) - {0})):
        return ""
    words = ", ".join(map(str, published[:MOST])) + (", …" if len(published) > MOST else "")
    one, first = len(published) == 1, published[0]
    how = f"socat TCP-LISTEN:{first},bind=ADDRESS,fork TCP:127.0.0.1:{first}"
    return f"Port{'' if one else 's'} {words} answer{'s' if one else ''} on this machine alone. For others: {how}"
