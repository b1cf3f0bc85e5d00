"""Words that many commands take: where the cell is, how long to wait, which app."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from kato.cli.words.usage import seconds
from kato.config import Config, configure

if TYPE_CHECKING:
    from kato.client import Client

TIMEOUT = 300.0
"""Seconds that a deployment may take before `kato` gives up waiting for it (the cell does not)."""
Seconds = Annotated[float, Parameter(converter=seconds)]
NoWait = Annotated[bool, Parameter(name="--no-wait", negative=())]


@Parameter(name="*")
@dataclass(frozen=True)
class Address:
    """Which cell to ask.

    Parameters
    ----------
    api
        Where the cell's API listens (or KATO_API; else 127.0.0.1:8180): host:port, or https://host:port.
    """

    api: Annotated[str | None, Parameter(group="Cell")] = None

    @property
    def config(self) -> Config:
        """The flags, else the environment, else defaults. InvalidInput."""
        return configure(api=self.api)

    def client(self) -> "Client":
        """A client of the cell's API."""
        from kato.access import caller
        from kato.client import Client

        return Client(self.config.listens, caller(self.config))


@Parameter(name="*")
@dataclass(frozen=True)
class Place(Address):
    """Which cell, where it may have to be started or looked into.

    Parameters
    ----------
    ingress
        Where the cell listens for HTTP by host name (or KATO_INGRESS; else 127.0.0.1:8181).
    dns
        Where the cell answers for names below `kato` (or KATO_DNS; else nowhere).
    dns_forward
        Ask the machine's resolvers for all other names (or KATO_DNS_FORWARD=1).
    dns_own
        Have this machine, in /etc/resolv.conf, ask the cell for names, and the cell whom it asked before (or
        KATO_DNS_OWN=1). It takes root.
    data
        The folder in which the cell lives (or KATO_DATA; else /var/lib/kato for root, ~/.local/share/kato for
        others).
    log
        How the lines of the cell's log look: text or json (or KATO_LOG; else text).
    ship
        Where all that tasks write and the cell logs goes, as lines of JSON: file:PATH, unix:PATH or tcp:HOST:PORT
        (or KATO_SHIP; else nowhere).
    """

    ingress: Annotated[str | None, Parameter(group="Cell")] = None
    dns: Annotated[str | None, Parameter(group="Cell")] = None
    dns_forward: Annotated[bool, Parameter(group="Cell", negative=())] = False
    dns_own: Annotated[bool, Parameter(group="Cell", negative=())] = False
    data: Annotated[str | None, Parameter(group="Cell")] = None
    log: Annotated[str | None, Parameter(group="Cell")] = None
    ship: Annotated[str | None, Parameter(group="Cell")] = None

    @property
    def config(self) -> Config:
        """As of an Address."""
        return configure(
            api=self.api,
            ingress=self.ingress,
            dns=self.dns,
            dns_forward=self.dns_forward,
            dns_own=self.dns_own,
            data=self.data,
            log=self.log,
            ship=self.ship,
        )


THERE = Address()
HERE = Place()


@Parameter(name="*")
@dataclass(frozen=True)
class Waiting:
    """How long to stay.

    Parameters
    ----------
    no_wait
        Return at once, and do not wait until it is done.
    force
        Take over from a deployment that holds the app.
    timeout
        Seconds to wait at most.
    """

    no_wait: NoWait = False
    force: Annotated[bool, Parameter(negative=())] = False
    timeout: Seconds = TIMEOUT


WAIT = Waiting()
AppName = Annotated[str, Parameter(help="An app: `vote` if only one is called so, or `/voting/vote`.")]
AppOrProject = Annotated[str, Parameter(help="An app (`vote`, `/voting/vote`), or all of a project (`voting`).")]
