"""What a Prometheus is told to ask, of made-up worlds."""

from builders import app, node, status, task, world
from kato.api.scrape import PATH, PORT, tasks
from kato.model.app import PortDefinition
from kato.model.task import TaskState

NAMED = (PortDefinition(port=10000, name="http"), PortDefinition(port=10001, name="figures"))


def told(labels: dict[str, str], state: TaskState = TaskState.RUNNING, address: str = "10.0.0.7") -> list[str]:
    web = app("/shop/web", port_definitions=NAMED, labels=labels)
    one = task(web)
    seen = world(apps=[web], nodes=[node("n1", address=address)], tasks=[one], statuses=[status(one, state)])
    return [target for group in tasks(seen) for target in group.targets]


def test_a_port_is_named_by_its_place_or_its_name() -> None:
    assert told({PORT: "0"}) == ["10.0.0.7:31010"]
    assert told({PORT: "1"}) == told({PORT: "figures"}) == ["10.0.0.7:31011"]
    assert told({PORT: "0"}, address="fd00::7") == ["[fd00::7]:31010"]


def test_who_does_not_ask_or_names_no_port_is_not_asked() -> None:
    for labels in ({}, {PATH: "/figures"}, {PORT: "2"}, {PORT: "-1"}, {PORT: ""}, {PORT: "other"}, {PORT: "²"}):
        assert told(labels) == []


def test_only_tasks_that_run_are_asked_also_where_they_fail_their_checks() -> None:
    assert told({PORT: "0"}, TaskState.STAGING) == told({PORT: "0"}, TaskState.FAILED) == []
    web = app("/web", ports=1, labels={PORT: "0", PATH: "/f"})
    ill, idle = task(web, 1), task(web, 2)
    (group,) = tasks(world(apps=[web], nodes=[node("n1")], tasks=[ill, idle], statuses=[status(ill, alive=False)]))
    assert group.labels["__metrics_path__"] == "/f" and group.labels["app"] == group.labels["job"] == "/web"
    assert group.labels["task"] == "web.1" and group.labels["node"] == "n1"
