"""A service that calls another by its Compose name is warned, with the place and the remedy."""

import pytest

from kato.language import read


def warnings(text: str, web_env: str = "") -> tuple[str, ...]:
    """Of a Compose file in the folder /srv/shop, beside `web.env`."""
    files = {"/srv/shop/web.env": web_env}
    return read(text, path="/srv/shop/compose.yaml", environ={}, files=files.get).warnings


CALLS = """
services:
  redis: {command: serve, expose: [6379]}
  db: {command: serve}
  web:
    command: serve
    depends_on: [redis]
    environment:
      %s
"""


@pytest.mark.parametrize(
    ("line", "place", "said"),
    [
        (
            "REDIS_HOST: redis",
            "environment.REDIS_HOST",
            "Leave REDIS_HOST out: Káto sets REDIS_HOST and REDIS_PORT",
        ),
        (
            "{REDIS_HOST: redis, REDIS_PORT: 6379}",
            "environment.REDIS_HOST",
            "Leave REDIS_HOST and REDIS_PORT out: Káto sets REDIS_HOST and REDIS_PORT",
        ),
        (
            "- DATABASE_URL=postgres://u:p@db:5432/votes",
            "environment[0]",
            "Let the command use $$DB_HOST and $$DB_PORT, which Káto sets, once `depends_on` names db",
        ),
        (
            "CACHE: redis:6379",
            "environment.CACHE",
            "Let the command use $$REDIS_HOST and $$REDIS_PORT, which Káto sets",
        ),
    ],
)
def test_a_service_called_by_its_name_is_a_warning(line: str, place: str, said: str) -> None:
    name = "db" if "db" in line else "redis"
    column = 9 if line.startswith("-") else 8 if line.startswith("{") else 7
    assert warnings(CALLS % line) == (
        f"/srv/shop/compose.yaml:9:{column}: services.web.{place}: {name!r} resolves nowhere: processes are not "
        f"reached by name. {said}",
    )


@pytest.mark.parametrize(
    "line", ["MODE: redis", "POSTGRES_DB: db", "URL: http://redis.example/db", "REDIS_HOST: h"]
)
def test_a_value_that_only_looks_like_a_service_is_none(line: str) -> None:
    assert warnings(CALLS % line) == ()


def test_a_service_called_by_its_name_in_an_env_file_is_a_warning() -> None:
    text = (CALLS % "A: b").replace("    environment:", "    env_file: web.env\n    environment:")
    (warning,) = warnings(text, "REDIS_HOST=redis\n")
    assert warning.startswith("/srv/shop/compose.yaml:8:5: services.web.env_file: 'redis' resolves nowhere")
