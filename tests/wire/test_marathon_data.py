"""Marathon's own examples, and real groups of 100 and 1,000 apps, posted to a cell whose machines are made up:
their tasks run, what is read back is what was posted, and putting that again changes nothing.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from cells import Cell

from builders import node
from kato.store import Put, keys

DATA = Path(__file__).parents[3] / "shared" / "data" / "marathon"
ATTRIBUTES = {"platform": "foo", "rack": "bax-bar"}
"""What the real groups' constraints ask of their nodes."""
OLD = {"uris", "ports", "ipAddress", "version", "versionInfo"}
"""Old words that are read back as new ones, and what a cell assigns."""

pytestmark = pytest.mark.skipif(
    not DATA.is_dir() and not os.environ.get("CI"),
    reason=f"Marathon's examples are not here: they are read from {DATA}, beside the checkout",
)


def example(name: str) -> Any:
    return json.loads((DATA / "api" / "examples" / f"{name}.json").read_text())


async def furnished(cell: Cell) -> Cell:
    """With machines on which everything of the examples and the groups can be placed."""
    for n in range(2, 9):
        host, room = f"srv{n}.example", {"cpus": 1000.0, "mem": 1e6}
        wide = node(
            f"n{n}", hostname=host, attributes=ATTRIBUTES, runtimes=("process", "docker"),
            ports=((20001, 40000),), **room,
        )  # fmt: skip
        await cell.store.txn([], [Put(keys.node(wide.id), keys.encode(wide))])
    await cell.until(lambda: len(cell.mirror.world().nodes) == 8)
    return cell


def bare(document: Any) -> Any:
    """Without versions, as clients send it: with one, a PUT goes back to that version."""
    if isinstance(document, list):
        return [bare(each) for each in document]
    if isinstance(document, dict):
        return {key: bare(value) for key, value in document.items() if key != "version"}
    return document


async def wished(cell: Cell, method: str, path: str, body: object) -> None:
    """A wish that is taken, and comes true."""
    answer = await cell.call(method, path, body and bare(body))
    assert answer.status in (200, 201), answer
    await cell.over(answer.json.get("deploymentId") or answer.json["deployments"][0]["id"])


async def put_again_unchanged(cell: Cell, path: str, shown: object) -> None:
    """What was read is put as it is, and is no news."""
    before = cell.mirror.world()
    answer = await cell.call("PUT", path, bare(shown))
    assert answer.status == 200, answer
    after = cell.mirror.world()
    assert after.apps == before.apps and after.tasks == before.tasks and not after.deployments


def all_run(cell: Cell) -> bool:
    world = cell.mirror.world()
    serving = {
        id: sum(task.serves(world.statuses.get(id, {}).get(task.id)) for task in world.tasks.get(id, {}).values())
        for id in world.apps
    }
    return serving == {id: app.instances for id, app in world.apps.items()}


def same(given: Any, shown: Any, left_out: set[str] = OLD) -> None:
    """Every word of an app's that was posted is shown with its value."""
    for key, value in given.items():
        if key in left_out or (key, value) == ("container", None):
            continue
        if isinstance(value, dict) and isinstance(shown.get(key), dict):
            same(value, shown[key], {"network", "portMappings"})
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            assert len(value) == len(shown[key]), key
            for one, other in zip(value, shown[key], strict=True):
                same(one, other, set())
        elif key == "id":
            assert shown[key].endswith(value)
        elif value not in ([], {}):
            assert shown[key] == value, (key, value, shown.get(key))


def flat(group: Any) -> dict[str, Any]:
    """All apps of a group's tree, by id."""
    below = [app for each in group.get("groups", ()) for app in flat(each).items()]
    return {app["id"]: app for app in group.get("apps", ())} | dict(below)


@pytest.mark.parametrize(("name", "count"), [("155_100", 100), ("155_1000", 1000)])
async def test_a_real_group_is_placed_read_back_and_put_again(cell: Cell, name: str, count: int) -> None:
    await furnished(cell)
    group = json.loads((DATA / "groups" / f"{name}.json").read_text())
    await wished(cell, "PUT", "/v2/groups", group)
    shown = await cell.get("/v2/groups")
    given, read = flat(group), flat(shown)
    assert given.keys() == read.keys() and len(read) == count
    for id, app in given.items():
        same(app, read[id])
    await put_again_unchanged(cell, "/v2/groups", shown)

    # They were scaled to nothing when they were anonymised: one task each is wished for.
    await wished(cell, "PUT", "/v2/apps", [{"id": id, "instances": 1} for id in given])
    assert all_run(cell)
    placed = [task for tasks in cell.mirror.world().tasks.values() for task in tasks.values()]
    assert len(placed) == count and "n1" not in {task.node for task in placed}
    await put_again_unchanged(cell, "/v2/groups", await cell.get("/v2/groups"))


async def test_the_group_example_is_placed_read_back_and_put_again(cell: Cell) -> None:
    await furnished(cell)
    group = example("group")
    await wished(cell, "PUT", "/v2/groups", group)
    shown = await cell.get("/v2/groups")
    given, read = flat(group), flat(shown)
    assert given.keys() == read.keys()
    for id, app in given.items():
        same(app, read[id])
    assert all_run(cell)
    await put_again_unchanged(cell, "/v2/groups", shown)


async def test_every_app_example_is_placed_read_back_and_put_again(cell: Cell) -> None:
    await furnished(cell)
    for app in example("apps_create"):
        await wished(cell, "POST", "/v2/apps", app)
    await wished(cell, "PATCH", "/v2/apps", example("apps_patch"))
    await wished(cell, "POST", "/v2/apps", example("app-check-http-example"))
    [listed] = example("app_list")["apps"]
    await wished(cell, "PUT", f"/v2/apps{listed['id']}", listed)
    await wished(cell, "DELETE", f"/v2/apps{listed['id']}", None)

    refused = await cell.call("POST", "/v2/apps", whole := example("app"))
    assert refused.status == 422, "Marathon refuses it too: both cmd and args, and an address beside ports"
    foo = {key: value for key, value in whole.items() if key not in ("ipAddress", "portDefinitions", "args")}
    foo["secrets"] = {**foo["secrets"], "/db/password": {"source": "/db/password"}}
    for secret in foo["secrets"].values():
        told = await cell.call("PUT", f"/v1/secrets/{secret['source'].lstrip('/')}", {"value": "known"})
        assert told.status in (200, 201), told
    await wished(cell, "POST", "/v2/apps", foo)
    same(foo, (await cell.get("/v2/apps/foo"))["app"])
    await wished(cell, "PATCH", "/v2/apps/foo", example("app_patch"))
    assert all_run(cell)

    shown = (await cell.get("/v2/apps"))["apps"]
    by_id = {app["id"]: app for app in shown}
    assert (by_id["/test/sleep60"]["cpus"], by_id["/test/sleep120"]["instances"]) == (0.3, 2)
    assert by_id["/foo"]["instances"] == 2 and len(by_id) == 4
    for app in shown:
        await put_again_unchanged(cell, f"/v2/apps{app['id']}", app)
    await put_again_unchanged(cell, "/v2/apps", shown)


async def test_documents_have_the_words_of_the_examples(cell: Cell) -> None:
    """Every word that Marathon shows in an answer is shown here, but those that it has taken away since."""
    await furnished(cell)
    await cell.deploy({"id": "/web", "cmd": "sleep 1", "healthChecks": [{"protocol": "TCP"}]})
    cell.machine.idle.add("/huge")
    answer = await cell.call("POST", "/v2/apps", {"id": "/huge", "cmd": "sleep 1", "cpus": 9e5})
    assert answer.status == 201
    [queued] = (await cell.get("/v2/queue"))["queue"]
    assert set(example("queue")["queue"][0]) - {"role"} <= set(queued), "role: strict clients do not know it"
    [deployment] = await cell.get("/v2/deployments")
    assert set(example("deployments")[0]) <= set(deployment)
    [task] = (await cell.get("/v2/apps/web/tasks"))["tasks"]
    for name in ("tasks", "app_tasks"):
        assert set(example(name)["tasks"][0]) - {"region", "zone", "healthCheckResults"} <= set(task)
    taken_away = {"assetsPath", "eventSubscriber", "event_subscriber"}
    assert set(example("info")) - taken_away <= set(await cell.get("/v2/info"))
    back = await cell.call("DELETE", f"/v2/deployments/{deployment['id']}")
    assert set(example("deployments_result")) == set(back.json)
    pod = await cell.call("POST", "/v2/pods", example("pod"))
    assert pod.status == 404, "pods are not taken"
