"""The forms of answers of Káto's own API that are no struct of the model, as types: what clients may rely on. The
OpenAPI document is made of them.
"""

from typing import TypedDict

from kato.api.forms import Deployed
from kato.api.standing import StandingApp
from kato.api.wish.difference import Difference
from kato.api.wish.history import KeptVersion
from kato.model.action import Refusal
from kato.model.app import App, Group
from kato.model.frontend import Service
from kato.model.node import Node
from kato.plan.why import Ailing


class Said(TypedDict):
    message: str


class CellInfo(TypedDict):
    """Which cell this is, and where it lives. started: epoch seconds."""

    id: str
    incarnation: int
    version: str
    pid: int
    api: str
    ingress: str
    dns: str | None
    log: str
    ship: str | None
    data: str
    started: float
    leader: str | None


class Used(TypedDict):
    """What tasks have of a machine."""

    cpus: float
    mem: float
    disk: float
    gpus: float
    tasks: int


class NodeInfo(Node, frozen=True, kw_only=True):
    """A machine, with what is used of it. dark: whether it does not answer; problems: what is not served there."""

    used: Used
    dark: bool
    problems: tuple[str, ...]


class ServiceInfo(Service, frozen=True, kw_only=True):
    """A service, with where it answers, and why it does not."""

    urls: tuple[str, ...]
    problems: tuple[str, ...]


class ServiceList(TypedDict):
    """applied: whether every border has looked at these very ports, hosts and paths."""

    services: list[ServiceInfo]
    problems: list[str]
    applied: bool


class Standing(TypedDict):
    apps: list[StandingApp]


class NodeList(TypedDict):
    nodes: list[NodeInfo]


class WaitInfo(TypedDict):
    """Why tasks are missing. until: epoch seconds, where only time must pass."""

    app: str
    count: int
    refusals: list[Refusal]
    reason: str
    until: float | None
    sentence: str


class Foreseen(TypedDict):
    """What a wish would change; nothing is done. Prices in $ an hour, null where one is not known."""

    changes: list[Difference]
    actions: list[str]
    warnings: list[str]
    waits: list[WaitInfo]
    price_before: float | None
    price_after: float | None


class WhyInfo(TypedDict):
    """How an app stands, and why not better."""

    app: str
    wished: int
    healthy: int
    sentences: list[str]
    ailing: list[Ailing]
    wait: WaitInfo | None
    pulling: str | None
    problems: list[str]


class KeptVersions(TypedDict):
    versions: list[KeptVersion]


class RolledBack(Deployed):
    changes: list[Difference]


class Version(TypedDict, total=False):
    """A version to go back to; without one, the former that was whole."""

    version: str


class PlanOf(TypedDict, total=False):
    """One of the two: a group, or apps, as a PUT takes them."""

    group: Group
    apps: list[App]


class EndedTask(TypedDict):
    """A task that has gone and whose output is kept. Times are epoch seconds."""

    task: str
    short: str
    started: float | None
    ended: float | None
    message: str


class EndedList(TypedDict):
    tasks: list[EndedTask]
