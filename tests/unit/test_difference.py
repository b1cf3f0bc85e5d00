"""Two versions of an app go in; what differs comes out, as deep and as much of it as shows how, but no secret."""

from typing import Any

import pytest

from builders import V1, V2, app, world
from kato.api.wish.difference import difference, differences
from kato.model.app import AppVolume, Command, Container, External, HealthCheck

LONG = "exec gunicorn --bind 127.0.0.1:$PORT --workers {} --access-logfile - shop:application"


def said(old: dict[str, Any], new: dict[str, Any]) -> str:
    found = difference("/web", app(version=V1, **old), app(version=V2, **new))
    assert found is not None and found.sentence.startswith("update /web: ")
    return found.sentence.removeprefix("update /web: ")


def checked(path: str) -> dict[str, Any]:
    argv = ("curl", "-fsS", f"http://localhost:$PORT/{path}")
    return {"health_checks": (HealthCheck(protocol="COMMAND", command=Command(argv=argv)),)}


def test_of_a_list_it_is_said_what_differs_in_it() -> None:
    assert said(checked("health"), checked("ready")) == (
        "healthChecks[0].command.argv[2] http://localhost:$PORT/health → http://localhost:$PORT/ready"
    )


def test_long_values_are_shown_from_where_they_differ() -> None:
    assert said({"cmd": LONG.format(2)}, {"cmd": LONG.format(8)}) == (
        "cmd …T --workers 2 --access-logfile - shop:… → …T --workers 8 --access-logfile - shop:…"
    )


@pytest.mark.parametrize(
    ("old", "new", "shown"),
    [
        ({"VERSION": "1.2"}, {"VERSION": "1.3"}, "env.VERSION 1.2 → 1.3"),
        ({}, {"DEBUG": "true"}, "env.DEBUG none → true"),
        ({"URL": "http://db:5432/shop"}, {}, "env.URL http://db:5432/shop → none"),
        ({"DB_PASSWORD": "one"}, {"DB_PASSWORD": "two"}, "env.DB_PASSWORD changed"),
        ({}, {"API_KEY": "one"}, "env.API_KEY added"),
        ({"DSN": "x"}, {}, "env.DSN removed"),
        ({"URL": "pg://me:hunter2@db/shop"}, {"URL": "pg://db/shop"}, "env.URL changed"),
        ({"ID": "1"}, {"ID": "9f86d081884c7d659a2feaa0c55ad015"}, "env.ID changed"),
        ({"NOTE": "a" * 41}, {"NOTE": "b"}, "env.NOTE changed"),
    ],
)
def test_a_variable_is_shown_unless_it_looks_like_a_secret(
    old: dict[str, str], new: dict[str, str], shown: str
) -> None:
    assert said({"env": old}, {"env": new}) == shown


@pytest.mark.parametrize("mode", ["RW", "RO"])
def test_of_an_upgrade_it_is_said_that_the_old_task_stops_first_where_both_would_write(mode: Any) -> None:
    volume = AppVolume(container_path="data", external=External(name="v", provider="kato"), mode=mode)
    box = Container(type="MESOS", volumes=(volume,))
    old, new = (app(version=version, container=box, cmd=version) for version in (V1, V2))
    (found,) = differences(world(apps=[old]), world(apps=[new]))
    ends = "; an older task stops before a newer one starts, since both would write to its volume"
    assert found.sentence.endswith(ends) == (mode == "RW")
    (first,) = differences(world(), world(apps=[new]))
    assert first.sentence == "create /web with 1 task"
