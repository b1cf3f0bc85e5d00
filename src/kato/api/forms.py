"""The forms of answers that are no struct of the model, as types: what clients may rely on. The OpenAPI document
is made from them and from the model's structs, and tests hold answers against it.
"""

from typing import Any, NotRequired, TypedDict

from kato.api.standing import StandingApp
from kato.api.wish.difference import Difference
from kato.api.wish.history import Kept as KeptVersion
from kato.model.action import Refusal
from kato.model.app import App, Group
from kato.model.frontend import Service
from kato.model.node import Node
from kato.plan.why import Ailing

# -- Marathon's ---------------------------------------------------------------------------------------------------


class Problem(TypedDict):
    """Why a request was not done. details: a sentence, or every fault with its path; deployments: who holds it;
    exitCode: of a command that could not be run, what a shell would exit with.
    """

    message: str
    details: NotRequired[str | list["FaultEntry"]]
    deployments: NotRequired[list["Id"]]
    exitCode: NotRequired[int]


class FaultEntry(TypedDict):
    """All that is wrong at one place of a body."""

    path: str
    errors: list[str]


class Id(TypedDict):
    """A deployment, by its id."""

    id: str


class Deployed(TypedDict):
    """A change was taken; it goes on as a deployment."""

    version: str
    deploymentId: str


class HealthResult(TypedDict):
    """What one check of a task has seen."""

    alive: bool
    consecutiveFailures: int
    taskId: str
    instanceId: str
    firstSuccess: NotRequired[str]
    lastSuccess: NotRequired[str]
    lastFailure: NotRequired[str]
    lastFailureCause: NotRequired[str]


class Address(TypedDict):
    """Where a task is reached."""

    ipAddress: str
    protocol: str


class TaskEntry(TypedDict):
    """A task, as Marathon writes one."""

    id: str
    appId: str
    slaveId: str
    host: str
    state: str
    ports: list[int]
    servicePorts: list[int]
    ipAddresses: list[Address]
    stagedAt: str
    version: str
    localVolumes: list[Any]
    role: str
    startedAt: NotRequired[str]
    healthCheckResults: NotRequired[list[HealthResult]]
    region: NotRequired[str]
    zone: NotRequired[str]


class TaskFailure(TypedDict):
    """The last unexpected end of a task."""

    appId: str
    host: str
    message: str
    state: str
    taskId: str
    instanceId: str
    slaveId: str
    timestamp: str
    version: str


class Readiness(TypedDict):
    """A result of a readiness check."""

    name: str
    taskId: str
    ready: bool


class AppInfo(TypedDict, total=False):
    """An app, with what is asked to be shown beside it."""

    tasksStaged: int
    tasksRunning: int
    tasksHealthy: int
    tasksUnhealthy: int
    deployments: list[Id]
    tasks: list[TaskEntry]
    readinessCheckResults: list[Readiness]
    lastTaskFailure: TaskFailure
    taskStats: dict[str, Any]


class AppOne(TypedDict):
    app: AppInfo


AppsBelow = TypedDict("AppsBelow", {"*": list[AppInfo]})


class AppList(TypedDict):
    apps: list[AppInfo]


class GroupInfo(TypedDict):
    """A group, with its apps and with the groups below it."""

    id: str
    version: str
    dependencies: list[str]
    pods: list[Any]
    apps: list[AppInfo]
    groups: list["GroupInfo"]


class TaskList(TypedDict):
    tasks: list[TaskEntry]


class TaskOne(TypedDict):
    task: TaskEntry


class VersionList(TypedDict):
    versions: list[str]


class StepAction(TypedDict):
    """What a step does to an app."""

    action: str
    app: str


class Step(TypedDict):
    """One step of a deployment."""

    actions: list[StepAction]


class StepList(TypedDict):
    steps: list[Step]


class CurrentAction(StepAction):
    """What a deployment does at the moment."""

    readinessCheckResults: list[Readiness]


class DeploymentInfo(TypedDict):
    """A change under way."""

    id: str
    version: str
    affectedApps: list[str]
    affectedPods: list[str]
    steps: list[Step]
    currentActions: list[CurrentAction]
    currentStep: int
    totalSteps: int


class Ids(TypedDict):
    """Tasks, by their ids."""

    ids: list[str]


class Delay(TypedDict):
    timeLeftSeconds: int
    overdue: bool


class Declined(TypedDict):
    """How many machines a filter refused."""

    reason: str
    declined: int
    processed: int


class OffersSummary(TypedDict):
    processedOffersCount: int
    unusedOffersCount: int
    rejectSummaryLastOffers: list[Declined]
    rejectSummaryLaunchAttempt: list[Declined]


class QueueItem(TypedDict):
    """An app that misses tasks, and why."""

    app: App
    count: int
    delay: Delay
    since: str
    processedOffersSummary: OffersSummary
    lastUnusedOffers: NotRequired[list[Any]]


class QueueList(TypedDict):
    queue: list[QueueItem]


class Leader(TypedDict):
    """host:port of the master that leads."""

    leader: str


class Info(TypedDict):
    """What Marathon says of itself."""

    name: str
    version: str
    buildref: str
    elected: bool
    leader: str | None
    frameworkId: str
    marathon_config: dict[str, Any]
    zookeeper_config: dict[str, Any]
    http_config: dict[str, int]


class Root(TypedDict):
    """What listens here."""

    name: str
    version: str
    apis: list[str]


class Figures(TypedDict):
    """Figures in the form of Dropwizard's registry."""

    version: str
    gauges: dict[str, dict[str, float]]
    counters: dict[str, dict[str, float]]
    histograms: dict[str, Any]
    meters: dict[str, Any]
    timers: dict[str, Any]


# -- Káto's own ---------------------------------------------------------------------------------------------------


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
