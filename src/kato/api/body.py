"""A request comes in; its JSON body, within bounds of size, time and depth, and its flags come out."""

import asyncio

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request

from kato.api.answers import NoJson
from kato.language.shape import Malformed
from kato.model.errors import Fault

MAX_BYTES = 16 * 1024 * 1024
MAX_SECONDS = 30.0
"""In which a body must have come whole."""


async def read_json(request: Request) -> object:
    """The body as plain data. NoJson (400), or HTTPException: 408, 413, 415."""
    data = await read_bytes(request)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not data.strip() and not kind:
        raise _empty()
    if kind != "application/json" and not kind.endswith("+json"):
        said = f"is {kind}" if kind else "does not say what it is"
        raise HTTPException(
            415, f"The body {said}; this takes JSON, with the header 'Content-Type: application/json'."
        )
    if (coding := request.headers.get("content-encoding", "identity").strip().lower()) != "identity":
        raise HTTPException(415, f"The body is in the encoding {coding}; send it as it is, without one.")
    if not data.strip():
        raise _empty()
    try:
        return msgspec.json.decode(data)
    except RecursionError:
        raise NoJson("The body is nested too deep.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NoJson(f"{error}.") from None


async def read_object(request: Request) -> dict[str, object]:
    """The body as a JSON object."""
    body = await read_json(request)
    if not isinstance(body, dict):
        raise Malformed([Fault("/", "must be an object")])
    return body


async def read_list(request: Request) -> list[object]:
    """The body as a JSON array."""
    body = await read_json(request)
    if not isinstance(body, list):
        raise Malformed([Fault("/", "must be a list")])
    return body


async def read_bytes(request: Request) -> bytes:
    """The whole body, at most MAX_BYTES of it, within MAX_SECONDS."""
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > MAX_BYTES:
        raise _too_large()
    pieces: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(MAX_SECONDS):
            async for piece in request.stream():
                size += len(piece)
                if size > MAX_BYTES:
                    raise _too_large()
                pieces.append(piece)
    except TimeoutError:
        raise HTTPException(408, f"The body did not come within {MAX_SECONDS:.0f} seconds.") from None
    return b"".join(pieces)


def flag(request: Request, name: str, default: bool = False) -> bool:
    """A query parameter that is true or false, in any case (Python clients send `True`)."""
    value = request.query_params.get(name)
    return default if value is None else value.strip().lower() == "true"


def many(request: Request, *names: str) -> list[str]:
    """All values of a query parameter that may be repeated, or be a list with commas."""
    given = [value for name in names for value in request.query_params.getlist(name)]
    return [word.strip() for value in given for word in value.split(",") if word.strip()]


def _empty() -> NoJson:
    return NoJson("No content to map due to end-of-input: the body is empty.")


def _too_large() -> HTTPException:
    return HTTPException(413, f"The body is larger than {MAX_BYTES // 1024 // 1024} MiB. Send the apps in parts.")
