"""A route of the API as data: who answers it, what it takes and what it may answer. The server routes by these,
and the OpenAPI document is made of them, so that neither can know a route that the other does not.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kato.api.forms import Deployed

JSON = "application/json"
LINES = "application/x-ndjson"
TEXT = "text/plain"
WISH = (404, 408, 409, 413, 415, 422, 503, 507)
"""How a wish with a body may fail, beside what every request may."""
CHANGE = (404, 409, 422, 503, 507)
"""How a wish without a body may fail."""


@dataclass(frozen=True, slots=True)
class Query:
    """A parameter in a URL's query. type: of its value; about: a sentence."""

    name: str
    type: Any
    about: str


@dataclass(frozen=True, slots=True)
class Answer:
    """One kind of answer. type: of its body, None for none; media: what it can come as, each with its type.

    A tuple of types is one of them. headers: name → a sentence.
    """

    type: Any = None
    about: str = "Done."
    media: Mapping[str, Any] | None = None
    headers: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Body:
    """What a request carries. partial: only what is to change need be said."""

    type: Any
    media: str = JSON
    example: object = None
    partial: bool = False


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. path: Starlette's. The summary is the first sentence that `act` says of itself.

    fails: statuses whose body is a Problem; 400 and 403 may meet every request. tagged: a GET answers with an ETag
    and takes If-None-Match, a change takes If-Match.
    """

    method: str
    path: str
    act: Callable[[Request], Awaitable[Response]]
    answers: Mapping[int, Answer]
    query: tuple[Query, ...] = ()
    takes: Body | None = None
    fails: tuple[int, ...] = ()
    tagged: bool = False

    @property
    def route(self) -> Route:
        """What the server routes by."""
        return Route(self.path, self.act, methods=[self.method])


ID = "Marathon-Deployment-Id"
DEPLOYMENT = "The id of the deployment that this begins."
CREATED = {ID: DEPLOYMENT, "Location": "The path of what was created."}
EMBED = "What is shown beside an app: tasks, counts, deployments, readiness, lastTaskFailure, taskStats."
FORCE = Query("force", bool, "Take over from deployments that hold what this changes.")
FORCE_UNLESS = Query("force", bool, "As elsewhere; true where it is not said, as in Marathon.")
HOST = Query("host", str, "Only tasks on this machine, by id, name or address.")
KILL = (
    FORCE,
    Query("scale", bool, "The app becomes smaller by as many, so that none is replaced."),
    Query("wipe", bool, "Their data goes too; not together with `scale`."),
)


def ok(type: Any, about: str = "As asked for.", status: int = 200, **headers: str) -> Mapping[int, Answer]:
    """The one answer that a request gets where all is well. type: or a mapping of media types to types.

    headers: names with _ for -.
    """
    named = {name.replace("_", "-"): said for name, said in headers.items()} or None
    if isinstance(type, dict):
        return {status: Answer(None, about, type, named)}
    return {status: Answer(type, about, None, named)}


def killed(type: Any) -> Mapping[int, Answer]:
    """What is answered where tasks are stopped: themselves or, with `scale`, the deployment."""
    return ok((type, Deployed), "What is stopped; with `scale`, the deployment that makes its app smaller.")
