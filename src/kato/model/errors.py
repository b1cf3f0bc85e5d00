"""Káto's one error tree. An error says what happened, why, and what to do next.

KatoError
├── InvalidInput       the user's words cannot be taken: where, why, remedy   (exit 2, HTTP 4xx)
│   └── InvalidApp     one or more faults in an app or group, each with its path
├── NotFound           it names what does not exist
├── Conflict           it is locked, exists already, or changed meanwhile
│   ├── Locked         a running deployment holds it; carries that deployment's id
│   └── Outdated       it is not what the client has read                     (HTTP 412)
├── Unavailable        a part that is needed does not answer; trying again may help
│   └── StoreUnavailable
│       └── StoreFull  its disk is full; nothing was written       (HTTP 507)
├── StoreRefused       the store's file is corrupt, newer, locked, or the transaction too large
│   ├── TxnTooLarge
│   └── Compacted      a watch asked for a revision that is gone: relist
├── LeadershipLost     the leader key is no longer ours; the plan was not committed
├── DriverError        a driver could not do what it was asked
│   ├── DriverSilent   what a driver asks does not answer: of its tasks nothing is known
│   │   └── DriverMissing  it is not there, or not installed; says what installs it
│   └── NotRun         a command beside a task is no program there; carries a shell's exit code
└── Refused            safety refused: a foreign host, an older assignment, a node id of another machine
    └── Unproven       who asks shows no token, or a wrong one                    (HTTP 401)
"""

from collections.abc import Sequence

import msgspec


class KatoError(Exception):
    """The root. `str(error)` is one or two sentences for a person."""


class Fault(msgspec.Struct, frozen=True, order=True):
    """One thing wrong with a document.

    path: where, in Marathon's manner (`/apps(0)/cpus`; `/` for the whole), or file:line:column.
    message: what is wrong and what would be right.
    """

    path: str
    message: str


class InvalidInput(KatoError):
    """The user's words cannot be taken."""


class InvalidApp(InvalidInput):
    """An app or group is not valid. `faults` lists every fault, not only the first."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(f"{fault.path}: {fault.message}" for fault in self.faults))


class NotFound(KatoError):
    """It names what does not exist."""


class Conflict(KatoError):
    """It exists already, or changed meanwhile."""


class Locked(Conflict):
    """A running deployment holds the app. `deployments` are the ids that hold it."""

    def __init__(self, app: str, deployments: Sequence[str]) -> None:
        self.app = app
        self.deployments = tuple(deployments)
        super().__init__(
            f"App '{app}' is locked by deployment {', '.join(self.deployments)}. "
            "Wait for it, or take over with force."
        )


class Outdated(Conflict):
    """It is not what the client has read and says that it changes; nothing was done."""


class Unavailable(KatoError):
    """A part that is needed does not answer; trying again may help."""


class StoreUnavailable(Unavailable):
    """The store does not answer, or the outcome of a write is not known."""


class StoreFull(StoreUnavailable):
    """The disk is full; nothing was written."""


class StoreRefused(KatoError):
    """The store's file is corrupt, newer than this Káto, or held by another process."""


class TxnTooLarge(StoreRefused):
    """The transaction is beyond the port's limit; a larger wish writes pieces first."""


class Compacted(StoreRefused):
    """The revision asked for is gone; read everything and watch from there."""


class LeadershipLost(KatoError):
    """The leader key is not ours any more; nothing of the plan was committed."""


class DriverError(KatoError):
    """A driver could not do what it was asked; the message names driver, task and cause."""


class DriverSilent(DriverError):
    """What a driver asks does not answer: that says nothing of the task that it was asked about."""


class DriverMissing(DriverSilent):
    """A dependency of a driver is not there; the message says what installs it."""


class NotRun(DriverError):
    """A command beside a task is no program there, or may not be executed. code: 127 or 126, as a shell's
    (POSIX, Shell Command Language, 2.8.2).
    """

    def __init__(self, message: str, code: int) -> None:
        self.code = code
        super().__init__(message)


class Refused(KatoError):
    """Safety refused it; the message says which rule."""


class Unproven(Refused):
    """Who asks shows no token, or a wrong one."""
