"""The World: one frozen look at everything that a decision needs. It shares the mirror's indexes."""

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field

from kato.model.app import App
from kato.model.deployment import Deployment, GroupRecord, Kill, Launches, Nudge, Progress
from kato.model.frontend import BorderAck
from kato.model.node import Node
from kato.model.secret import Secret
from kato.model.task import Status, Task


def _no_app(_app: str, _version: str) -> App | None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The store's snapshot at `revision`, and the leader's soft state. Nothing in it ever changes.

    A mapping that did not change between two Worlds is the same object in both, so a planner may remember
    what it found for it. tasks and statuses are by app, then by task id.
    apps: the wishes in force, the targets of running deployments included.
    spec: looks up one version of an app, current or old.
    dark: nodes judged not to answer. incarnation: which life of its store this is.
    """

    revision: int = 0
    seq: int = 0
    apps: Mapping[str, App] = field(default_factory=dict)
    groups: Mapping[str, GroupRecord] = field(default_factory=dict)
    deployments: Mapping[str, Deployment] = field(default_factory=dict)
    locks: Mapping[str, str] = field(default_factory=dict)
    progress: Mapping[str, Progress] = field(default_factory=dict)
    launches: Mapping[str, Launches] = field(default_factory=dict)
    kills: Mapping[str, Kill] = field(default_factory=dict)
    nudges: Mapping[str, Nudge] = field(default_factory=dict)
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    nodes: Mapping[str, Node] = field(default_factory=dict)
    tasks: Mapping[str, Mapping[str, Task]] = field(default_factory=dict)
    statuses: Mapping[str, Mapping[str, Status]] = field(default_factory=dict)
    borders: Mapping[str, BorderAck] = field(default_factory=dict)
    dark: Set[str] = frozenset()
    incarnation: int = 1
    spec: Callable[[str, str], App | None] = _no_app
