"""The forms of answers that are no struct of the model, as types: what clients may rely on. The OpenAPI document
is made from them and from the model's structs, and tests hold answers against it.
"""

from typing import Any, NotRequired, TypedDict

from kato.model.app import App


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


class LastResponse(TypedDict):
    """What a task last answered to a readiness check; of the body its first 16 KiB."""

    status: int
    contentType: str
    body: str


class Readiness(TypedDict):
    """A result of a readiness check. lastResponse: where the check says preserveLastResponse."""

    name: str
    taskId: str
    ready: bool
    lastResponse: NotRequired[LastResponse]


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
