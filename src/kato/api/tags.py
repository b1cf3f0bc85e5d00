"""A World and a request's If-Match or If-None-Match come in; ETags go out, and refusals of wishes that were made
of what is no longer so.

A tag is `"WISH.BODY"`: what is wished for, and a digest of the answer. Tasks come and go without a wish, so a
write is held against the first part alone, and a read against the whole (RFC 9110, 13.1).
"""

from collections.abc import Callable
from hashlib import blake2b

from starlette.requests import Request
from starlette.responses import Response

from kato.api.wish import Wish, find
from kato.api.wish.wish import Asked
from kato.model.errors import Outdated
from kato.model.ids import within
from kato.model.world import World

Place = Callable[[World], str | None]
"""What is wished for somewhere, as the first part of its tag; None where there is nothing."""


def of_app(id: str) -> Place:
    """An app's version."""
    return lambda world: world.apps[id].version if id in world.apps else None


def of_group(id: str) -> Place:
    """A digest of every app's and group's id and version."""

    def wished(world: World) -> str | None:
        if not find.group_exists(world, id):
            return None
        apps = [f"{app.id} {app.version}\n" for app in world.apps.values() if within(app.id, id)]
        groups = [f"{each}/ {record.version}\n" for each, record in world.groups.items() if within(each, id)]
        return _digest("".join(sorted(apps + groups)).encode())

    return wished


def only_if(request: Request, place: Place, asked: Asked) -> Asked:
    """`asked`, but Outdated where the place is not what If-Match says, or is there against If-None-Match: `*`.

    It is held against the very World that the wish is committed on, so that nobody can be quicker.
    """
    match, none_match = _told(request, "if-match"), _told(request, "if-none-match")
    if not match and "*" not in none_match:
        return asked
    wished = {each.strip('"').rpartition(".")[0] for each in match if each.startswith('"')}

    def held(world: World) -> Wish:
        now = place(world)
        if match and (now is None or not ("*" in match or now in wished)):
            raise Outdated(_changed(request, now is not None))
        if "*" in none_match and now is not None:
            raise Outdated(f"{request.url.path} exists already, against If-None-Match: *. Nothing was changed.")
        return asked(world)

    return held


def tagged(request: Request, response: Response, wished: str | None) -> Response:
    """The answer with its tag; 304, without a body, where the client has that answer already."""
    tag = f'"{wished}.{_digest(bytes(response.body))}"'
    known = [each.removeprefix("W/") for each in _told(request, "if-none-match")]
    if tag in known or "*" in known:
        return Response(status_code=304, headers={"ETag": tag})
    response.headers["ETag"] = tag
    return response


def _told(request: Request, header: str) -> list[str]:
    return [word.strip() for line in request.headers.getlist(header) for word in line.split(",") if word.strip()]


def _changed(request: Request, exists: bool) -> str:
    path = request.url.path
    if not exists:
        return f"{path} does not exist, against If-Match. Nothing was changed."
    return (
        f"{path} was changed since it was read. Nothing was done: GET it again, and make the change to what it is."
    )


def _digest(data: bytes) -> str:
    return blake2b(data, digest_size=8).hexdigest()
