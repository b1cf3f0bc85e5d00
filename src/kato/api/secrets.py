"""Secrets: a value comes in and is kept; names, and which apps name them, go out. No answer ever holds a value."""

import base64
import binascii
from typing import TypedDict

from starlette.requests import Request
from starlette.responses import Response

from kato.api.answers import answer
from kato.api.body import flag, read_object
from kato.api.naming import naming
from kato.api.operation import Body, Operation, Query, ok
from kato.api.parts import Parts
from kato.language.shape import Malformed
from kato.model.errors import Conflict, Fault, InvalidInput, NotFound
from kato.model.secret import LARGEST, Secret, is_name, sources
from kato.model.world import World
from kato.store import Delete, Put, keys

_FORCE = Query("force", bool, "Remove it although an app names it, which then waits where it starts a task.")


class SecretValue(TypedDict, total=False):
    """What a secret is to be: a text, or any bytes in base64."""

    value: str
    base64: str


class SecretEntry(TypedDict):
    """A secret by its name. since: when it was set, in epoch seconds; apps: those that name it."""

    name: str
    since: float
    apps: list[str]


class SecretList(TypedDict):
    """Every secret."""

    secrets: list[SecretEntry]


class SecretSet(TypedDict):
    """A secret is set. changed: whether it was another before, or none."""

    name: str
    changed: bool
    apps: list[str]


class Secrets:
    """The routes of secrets."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def routes(self) -> list[Operation]:
        """All of them."""
        one, value = "/v1/secrets/{name:path}", Body(SecretValue, example={"value": "correct horse"})
        fails = (408, 409, 413, 415, 422, 503, 507)
        return [
            Operation("GET", "/v1/secrets", self.list_all, ok(SecretList)),
            Operation("PUT", one, self.put, ok(SecretSet), (), value, fails),
            Operation("DELETE", one, self.remove, ok(SecretSet), (_FORCE,), None, (404, 409, 503, 507)),
        ]

    async def list_all(self, request: Request) -> Response:
        """The names of all secrets, when each was set, and which apps name it."""
        world = self._parts.world
        found = [
            {"name": name, "since": each.since, "apps": _naming(world, name)}
            for name, each in sorted(world.secrets.items())
        ]
        return answer({"secrets": found})

    async def put(self, request: Request) -> Response:
        """Sets a secret. Tasks that run keep the value that they were started with."""
        name, value = _name(request), _value(await read_object(request))
        parts = self._parts
        standing = parts.world.secrets.get(name)
        changed = standing is None or standing.value != value
        if changed:
            secret = Secret(value=value, since=parts.clock())
            await parts.wishes.write([Put(keys.secret(name), keys.encode(secret))])
        return answer({"name": name, "changed": changed, "apps": _naming(parts.world, name)})

    async def remove(self, request: Request) -> Response:
        """Removes a secret, unless an app names it."""
        name, world = _name(request), self._parts.world
        if name not in world.secrets:
            raise NotFound(f"There is no secret {name}. See: kato secrets ls")
        apps = _naming(world, name)
        if apps and not flag(request, "force"):
            raise Conflict(
                f"The secret {name} is named by {', '.join(apps)}. Take it out of there first, or remove it "
                "all the same with force."
            )
        await self._parts.wishes.write([Delete(keys.secret(name))])
        return answer({"name": name, "changed": True, "apps": apps})


def _naming(world: World, name: str) -> list[str]:
    return naming(world, lambda app: bool(app.secrets) and name in sources(app))


def _name(request: Request) -> str:
    name = str(request.path_params["name"])
    if not is_name(name):
        raise InvalidInput(
            "That is no name for a secret: it has letters, digits, '.', '_' and '-', and '/' between words, "
            "such as shop/db-password."
        )
    return name


def _value(body: dict[str, object]) -> bytes:
    """What a body says; no fault repeats it."""
    match body:
        case {"value": str(text), **rest} if not rest:
            value = text.encode("utf-8", "surrogatepass")
        case {"base64": str(text), **rest} if not rest:
            try:
                value = base64.b64decode(text, validate=True)
            except (binascii.Error, ValueError):
                raise Malformed([Fault("/base64", "must be base64")]) from None
        case _:
            raise Malformed([Fault("/", 'must be {"value": text} or {"base64": bytes in base64}')])
    if not value or len(value) > LARGEST:
        raise Malformed([Fault("/", f"a secret has between 1 and {LARGEST:,} bytes")])
    return value
