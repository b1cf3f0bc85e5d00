"""The World and counted requests in; figures come out, as Prometheus text or the JSON of Marathon's /metrics."""

from collections import Counter
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from kato.model.task import TaskState
from kato.model.world import World

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


class Requests:
    """Counts requests, and the seconds that they took together."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self.seconds = 0.0

    def count(self, method: str, status: int, seconds: float) -> None:
        """One request was answered (status 0: it was cut off)."""
        self.counts[method if method in _METHODS else "OTHER", str(status)] += 1
        self.seconds += seconds


class Figures(Collector):
    """Everything that is worth watching about a cell, as it is now."""

    def __init__(self, world: World, requests: Requests) -> None:
        self._world = world
        self._requests = requests

    def collect(self) -> Iterator[Metric]:
        world = self._world
        yield _gauge("kato_apps", "Apps that are wished for", len(world.apps))
        instances = sum(app.instances for app in world.apps.values())
        yield _gauge("kato_instances", "Instances that are wished for", instances)
        tasks = GaugeMetricFamily("kato_tasks", "Tasks by state", labels=["state"])
        states = _states(world)
        for state in TaskState:
            tasks.add_metric([state], states[state])
        yield tasks
        yield _gauge("kato_deployments", "Deployments that run", len(world.deployments))
        yield _gauge("kato_nodes", "Nodes that are known", len(world.nodes))
        yield _gauge("kato_nodes_dark", "Nodes that do not answer", len(world.dark))
        yield _gauge("kato_store_revision", "Revision that the mirror shows", world.revision)
        yield CounterMetricFamily("kato_plans", "Transactions of the leader", value=world.seq)
        answered = CounterMetricFamily("kato_http_requests", "Requests answered", labels=["method", "status"])
        for labels, count in sorted(self._requests.counts.items()):
            answered.add_metric(labels, count)
        yield answered
        yield CounterMetricFamily("kato_http_seconds", "Seconds spent on requests", value=self._requests.seconds)


def as_text(figures: Figures) -> bytes:
    """Prometheus' text format, 0.0.4."""
    registry = CollectorRegistry()
    registry.register(figures)
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


def _gauge(name: str, help: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, help, value=value)


def _states(world: World) -> Counter[str]:
    states: Counter[str] = Counter()
    for app, tasks in world.tasks.items():
        facts = world.statuses.get(app, {})
        states.update(facts[id].state if id in facts else TaskState.STAGING for id in tasks)
    return states
