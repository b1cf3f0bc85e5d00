"""service: the place of a cell goes in; a systemd unit runs it from now on and after each boot, or has gone."""

import contextlib
import os
import pwd
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from kato.access import Access
from kato.cli.upkeep import cell
from kato.cli.upkeep.systemd import NAME, Service, service
from kato.cli.upkeep.unit import unit
from kato.cli.words.place import HERE, Place
from kato.config import RESOLVERS, Config, apart, kept_variables
from kato.model.errors import Conflict, NotFound, Unavailable

LAST_LINES = 12
Act = Annotated[Literal["install", "uninstall"], Parameter(help="install or uninstall.")]


async def command(act: Act, /, *, place: Place = HERE) -> None:
    """Make the cell a service of this machine, which systemd starts now and at each boot; or no service any more.
    Root makes it the machine's, anybody else their own. Its tasks go on when it is stopped, started anew or taken
    away; installed again, by another version of Káto or with other flags, it is that from then on.
    """
    if act == "install":
        await install(place)
    else:
        uninstall()


async def install(place: Place) -> None:
    """Writes the unit, enables it and starts it; a cell that runs already is taken over, its tasks with it."""
    found, config = _manager(), place.config
    apart(config)
    _check(found, config)
    cell.make_folder(config)
    Access.open(config)
    text = unit(cell.words(config), kept_variables(), config.data, user=found.user)
    async with place.client() as client:
        if await client.ping():
            cell.same_folder(running := await client.cell(), config)
            if found.cell is None or running["pid"] != found.pid:
                await cell.end(client)
    _write(found.path, text)
    found.ask("daemon-reload")
    found.ask("enable", NAME)
    try:
        found.ask("restart", NAME)
    except Unavailable as error:
        raise _not_up(found) from error
    when = _lingering(found) if found.user else "now and after each boot"
    print(f"{NAME} runs the cell in {config.data}, {when}. Stopped or started anew, it ends no task.")


def uninstall() -> None:
    """Ends the cell and takes the unit away. Its tasks go on."""
    from kato.drivers.dns.machine import give_back

    found = _manager()
    folder = found.cell
    if folder is None:
        raise NotFound(f"There is no {found.path} of Káto's: no service to uninstall.")
    take_away(found)
    if left := give_back(RESOLVERS, folder):  # what a cell that was killed has not done itself
        print(f"kato: {left}", file=sys.stderr)
    where = "" if folder == HERE.config.data else f" --data {folder}"
    print(
        f"{NAME} is gone, and the cell in {folder} has ended. Its tasks go on: kato serve{where} takes them over, "
        f"kato uninstall --purge{where} ends them."
    )


def take_away(found: Service) -> None:
    """The unit's cell ends, and the unit is gone as if it had never been."""
    found.ask("disable", "--now", NAME)
    found.path.unlink()
    found.ask("daemon-reload")
    with contextlib.suppress(Unavailable):  # it had not failed, so that nobody knows it any more
        found.ask("reset-failed", NAME)


def _manager() -> Service:
    found = service()
    if found is not None:
        return found
    if os.geteuid() == 0:
        raise Unavailable(
            "This machine was not started by systemd (/run/systemd/system is missing), so that nothing would run "
            "the cell as a service. Have what starts services here run: kato serve"
        )
    raise Unavailable(
        "No systemd of this user runs that could start the cell. Say it as root (sudo kato service install) to "
        f"have a service of the machine, or let this user have one: sudo loginctl enable-linger {_user_name()}"
    )


def _check(found: Service, config: Config) -> None:
    if found.path.exists() and found.cell != config.data:
        whose = f"runs the cell in {found.cell}" if found.cell else "is not Káto's"
        todo = "kato service uninstall takes it away" if found.cell else "Move it away"
        raise Conflict(f"{found.path} {whose}. {todo}, or name that cell's folder: --data, KATO_DATA.")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(text, "utf-8")
    fresh.chmod(0o644)
    fresh.replace(path)


def _not_up(found: Service) -> Unavailable:
    lines = "\n".join(f"  {line}" for line in found.said(LAST_LINES))
    ask = "journalctl --user" if found.user else "journalctl"
    return Unavailable(
        f"{NAME} is installed, but its cell does not come up; systemd starts it again every second. See: {ask} "
        f"--unit=kato. `kato service uninstall` takes it away. The last that it said:\n{lines}"
    )


def _lingering(found: Service) -> str:
    """Until when a user's own service runs: for good where the user's manager may outlive the sessions."""
    done = subprocess.run(["loginctl", "enable-linger"], capture_output=True, check=False)
    if done.returncode == 0:
        return "now and after each boot"
    print(
        f"kato: The cell would end when {_user_name()} has logged out. To keep it: sudo loginctl enable-linger "
        f"{_user_name()}",
        file=sys.stderr,
    )
    return "while this user is logged in"


def _user_name() -> str:
    """Who asks, by name where there is one."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
