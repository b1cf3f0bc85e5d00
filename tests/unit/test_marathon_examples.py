"""Marathon's own examples, and real groups of 100 and 1,000 apps, are read as they are."""

import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kato.language.marathon import documents, merge, read_app, read_apps, read_group
from kato.language.wire import app_document
from kato.model.errors import InvalidApp

DATA = Path(__file__).parents[3] / "shared" / "data" / "marathon"

pytestmark = pytest.mark.skipif(
    not DATA.is_dir() and not os.environ.get("CI"),
    reason=f"Marathon's examples are not here: they are read from {DATA}, beside the checkout",
)


def example(name: str) -> Any:
    return json.loads((DATA / "api" / "examples" / f"{name}.json").read_text())


@pytest.mark.parametrize(("name", "count"), [("155_100", 100), ("155_1000", 1000)])
def test_real_groups_are_read_and_written_and_read_again_unchanged(name: str, count: int) -> None:
    data = json.loads((DATA / "groups" / f"{name}.json").read_text())
    tree = read_group(data, strict=True)
    assert len(tree.apps) == count
    again = read_group(json.loads(msgspec.json.encode(documents(tree))), strict=True)
    assert {app.id: app for app in again.apps} == {app.id: app for app in tree.apps}
    for app in data["apps"][:20]:
        written = app_document(next(each for each in tree.apps if each.id == app["id"]))
        assert {key: written[key] for key in app if key not in ("versionInfo", "env")} == {
            key: value for key, value in app.items() if key not in ("versionInfo", "env")
        }


def test_the_group_example() -> None:
    tree = read_group(example("group"), strict=True)
    assert [app.id for app in tree.apps] == [
        "/tools/oauth-server",
        "/tools/datadog-agent",
        "/tools/docker/registry",
    ]
    registry = tree.apps[2]
    assert [(port.container, port.service) for port in registry.ports] == [(5000, 5000)]
    assert [group.id for group in tree.groups] == ["/tools", "/tools/log", "/tools/docker"]


def test_the_app_example_is_refused_for_what_it_contradicts_and_read_without_that() -> None:
    data = example("app")
    with pytest.raises(InvalidApp) as caught:
        read_app(data, strict=True)
    assert {fault.path for fault in caught.value.faults} == {
        "/ipAddress",
        "/ipAddress/discovery",
        "/container/docker/portMappings",
    }
    without = {key: value for key, value in data.items() if key not in ("ipAddress", "portDefinitions", "args")}
    without["secrets"] = {"/db/password": {"source": "/db/password"}}
    app = read_app(without, strict=True)
    assert (app.id, app.runtime, app.tty, app.ports[0].service) == ("/foo", "docker", True, 10019)


def test_the_check_example() -> None:
    app = read_app(example("app-check-http-example"), strict=True)
    assert app.check == {"http": {"portIndex": 0, "path": "/"}, "intervalSeconds": 60, "timeoutSeconds": 20}


def test_the_create_and_patch_examples() -> None:
    apps = {app.id: app for app in read_apps(example("apps_create"), strict=True)}
    assert apps["/test/sleep60"].dependencies == ("/test/sleep120", "/other/namespace/or/app")
    patched = [read_app(merge(apps[patch["id"]], patch)) for patch in example("apps_patch")]
    assert (patched[0].cpus, patched[1].instances) == (0.3, 2)
    foo = read_app({"id": "/foo", "cmd": "x"})
    assert read_app(merge(foo, example("app_patch"))).instances == 2


def test_what_a_get_shows_can_be_put_again() -> None:
    [shown] = example("app_list")["apps"]
    app = read_app(shown)
    assert [port.service for port in app.ports] == [10013, 10015]
    assert app.constraints == (("hostname", "UNIQUE", ""),)
