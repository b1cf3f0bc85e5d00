"""The World and counted requests in; figures come out, as Prometheus text or the JSON of Marathon's /metrics.

docs/observability.md says what each means; the alerts and the dashboard beside it name them.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from kato.model.app import App
from kato.model.frontend import Traffic
from kato.model.ids import short_task
from kato.model.link import Sample
from kato.model.task import TaskState
from kato.model.world import World

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_KINDS = ("cpus", "mem", "disk", "gpus")


class Requests:
    """Counts requests, and the seconds that they took together."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self.seconds = 0.0

    def count(self, method: str, status: int, seconds: float) -> None:
        """One request was answered (status 0: it was cut off)."""
        self.counts[method if method in _METHODS else "OTHER", str(status)] += 1
        self.seconds += seconds


class Shipping(Protocol):
    """What ships output and log: how many bytes were received and never will be, and whether they are now."""

    shipped: int
    connected: bool

    @property
    def dropped(self) -> int: ...


class Figures(Collector):
    """Everything that is worth watching about a cell, when this was made. leads: whether a master does."""

    def __init__(
        self,
        world: World,
        requests: Requests,
        *,
        leads: bool,
        version: str,
        shipping: Shipping | None = None,
        traffic: Sequence[Traffic] = (),
        used: Sequence[Sample] = (),
    ) -> None:
        self._used = {task: each for sample in used for task, each in sample.tasks.items()}
        self._shipping = shipping
        self._traffic = traffic
        self._world = world
        # Copied, since figures are written beside the event loop, which goes on counting.
        self._counts, self._seconds = sorted(requests.counts.items()), requests.seconds
        self._leads = leads
        self._version = version

    def collect(self) -> Iterator[Metric]:
        yield from self._cell()
        yield from self._nodes()
        yield from self._apps()
        yield from self._tasks()
        yield from self._served()
        yield from _passed(self._traffic)
        if self._shipping is not None:
            yield from _shipped(self._shipping)

    def _cell(self) -> Iterator[Metric]:
        world = self._world
        yield _gauge("kato_info", "Which Káto this is", [((self._version,), 1)], "version")
        yield _gauge("kato_leader", "Whether a master leads", [((), self._leads)])
        yield _gauge("kato_apps", "Apps that are wished for", [((), len(world.apps))])
        instances = sum(app.instances for app in world.apps.values())
        yield _gauge("kato_instances", "Instances that are wished for", [((), instances)])
        states = _states(world)
        yield _gauge("kato_tasks", "Tasks by state", [((state,), states[state]) for state in TaskState], "state")
        yield _gauge("kato_deployments", "Deployments that run", [((), len(world.deployments))])
        began = [((), min(each.started for each in world.deployments.values()))] if world.deployments else []
        help = "Epoch seconds at which the oldest deployment that runs began"
        yield _gauge("kato_deployments_oldest_start_seconds", help, began)
        problems = sum(len(ack.problems) for ack in world.borders.values())
        yield _gauge("kato_balancer_problems", "What balancers cannot serve", [((), problems)])
        yield _gauge("kato_store_revision", "Revision that the mirror shows", [((), world.revision)])
        yield CounterMetricFamily("kato_plans", "Transactions of the leader", value=world.seq)

    def _nodes(self) -> Iterator[Metric]:
        world = self._world
        yield _gauge("kato_nodes", "Nodes that are known", [((), len(world.nodes))])
        yield _gauge("kato_nodes_dark", "Nodes that do not answer", [((), len(world.dark))])
        placed: Counter[tuple[str, str]] = Counter()
        for tasks in world.tasks.values():
            for task in tasks.values():
                for kind in _KINDS:
                    placed[task.node, kind] += getattr(task.resources, kind)
        each = [(id, kind) for id in sorted(world.nodes) for kind in _KINDS]
        has = [((id, kind), getattr(world.nodes[id].resources, kind)) for id, kind in each]
        help = "What a node has: cores, MiB"
        yield _gauge("kato_node_capacity", help, has, "node", "resource")
        help = "What its tasks were promised of that"
        yield _gauge("kato_node_placed", help, [(key, placed[key]) for key in each], "node", "resource")

    def _apps(self) -> Iterator[Metric]:
        world = self._world
        apps = sorted(world.apps.values(), key=lambda app: app.id)
        wished = [((app.id,), app.instances) for app in apps]
        yield _gauge("kato_app_instances", "Instances of an app that are wished for", wished, "app")
        serving = [((app.id,), _serving(world, app.id)) for app in apps]
        yield _gauge("kato_app_serving", "Tasks of an app that serve: healthy and ready", serving, "app")
        failures = [((app.id,), _failures(world, app)) for app in apps]
        yield _gauge("kato_app_failures", "Tasks of an app that failed in a row", failures, "app")

    def _tasks(self) -> Iterator[Metric]:
        """What tasks use; nothing of those that no runtime tells of."""
        labels = ["app", "task", "node"]
        cpu = CounterMetricFamily("kato_task_cpu_seconds", "Seconds of processors that a task used", labels=labels)
        memory = GaugeMetricFamily("kato_task_memory_bytes", "Memory that a task has", labels=labels)
        for app, tasks in sorted(self._world.tasks.items()):
            for task in tasks.values():
                if (used := self._used.get(task.id)) is not None:
                    words = (app, short_task(task.id), task.node)
                    cpu.add_metric(words, used.cpu)
                    memory.add_metric(words, used.memory)
        yield from (cpu, memory)

    def _served(self) -> Iterator[Metric]:
        answered = CounterMetricFamily("kato_http_requests", "Requests answered", labels=["method", "status"])
        for labels, count in self._counts:
            answered.add_metric(labels, count)
        yield answered
        yield CounterMetricFamily("kato_http_seconds", "Seconds spent on requests", value=self._seconds)


def _passed(traffic: Sequence[Traffic]) -> Iterator[Metric]:
    """What passed the balancer. An app's services are one: their ways are what tells them apart."""
    ways = ["app", "way"]
    sessions = GaugeMetricFamily("kato_app_sessions", "Sessions with the balancer that are open", labels=ways)
    queued = GaugeMetricFamily("kato_app_queued", "Sessions that wait for a task", labels=ways)
    begun = CounterMetricFamily("kato_app_connections", "Sessions of an app since the last reload", labels=ways)
    received = CounterMetricFamily("kato_app_received_bytes", "Bytes from clients to an app", labels=ways)
    sent = CounterMetricFamily("kato_app_sent_bytes", "Bytes from an app to clients", labels=ways)
    help = "Answers of an app to HTTP requests"
    answered = CounterMetricFamily("kato_app_responses", help, labels=["app", "status"])
    for (app, way), some in _by_app(traffic).items():
        for family, name in (
            (sessions, "sessions"),
            (queued, "queued"),
            (begun, "connections"),
            (received, "received"),
            (sent, "sent"),
        ):
            family.add_metric((app, way), sum(getattr(each, name) for each in some))
        for digit in "12345" if way == "http" else "":
            answered.add_metric((app, f"{digit}xx"), sum(each.responses.get(digit, 0) for each in some))
    yield from (sessions, queued, begun, received, sent, answered)


def _by_app(traffic: Sequence[Traffic]) -> dict[tuple[str, str], list[Traffic]]:
    found: dict[tuple[str, str], list[Traffic]] = {}
    for each in sorted(traffic, key=lambda each: (each.app, each.way)):
        found.setdefault((each.app, each.way), []).append(each)
    return found


def _shipped(shipping: Shipping) -> Iterator[Metric]:
    yield CounterMetricFamily("kato_shipped_bytes", "Output and log that was received", value=shipping.shipped)
    yield CounterMetricFamily("kato_ship_dropped_bytes", "Output and log that is lost", value=shipping.dropped)
    yield _gauge("kato_ship_connected", "Whether what is shipped is received", [((), shipping.connected)])


def as_text(figures: Figures) -> bytes:
    """Prometheus' text format, 0.0.4; with what the process itself uses, as programs commonly say it."""
    registry = CollectorRegistry()
    registry.register(figures)
    ProcessCollector(registry=registry)
    return generate_latest(registry)


def as_json(figures: Figures) -> dict[str, object]:
    """The form of Dropwizard's registry, which clients of Marathon read."""
    rooms: dict[str, dict[str, dict[str, float]]] = {"gauge": {}, "counter": {}}
    for metric in figures.collect():
        for sample in metric.samples:
            name = ".".join([sample.name, *sample.labels.values()])
            rooms[metric.type][name] = {"value" if metric.type == "gauge" else "count": sample.value}
    empty: dict[str, object] = {"histograms": {}, "meters": {}, "timers": {}}
    return {"version": "4.0.0", "gauges": rooms["gauge"], "counters": rooms["counter"]} | empty


def _gauge(
    name: str, help: str, values: Iterable[tuple[tuple[str, ...], float]], *labels: str
) -> GaugeMetricFamily:
    gauge = GaugeMetricFamily(name, help, labels=labels)
    for words, value in values:
        gauge.add_metric(words, value)
    return gauge


def _serving(world: World, app: str) -> int:
    statuses = world.statuses.get(app, {})
    return sum(task.serves(statuses.get(id)) for id, task in world.tasks.get(app, {}).items())


def _failures(world: World, app: App) -> int:
    launches = world.launches.get(app.id)
    return launches.failures if launches and launches.config == app.config_version else 0


def _states(world: World) -> Counter[str]:
    states: Counter[str] = Counter()
    for app, tasks in world.tasks.items():
        facts = world.statuses.get(app, {})
        states.update(facts[id].state if id in facts else TaskState.STAGING for id in tasks)
    return states
