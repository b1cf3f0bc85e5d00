"""The API's refusals: the status and the body of an answer, or what came in place of one, flow in; an error of
Káto's own tree flows out, and what a deployment that holds an app is doing, in words.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp
import msgspec

from kato.model.errors import (
    Conflict,
    Fault,
    InvalidApp,
    InvalidInput,
    KatoError,
    Locked,
    NotFound,
    NotRun,
    Outdated,
    Refused,
    Unavailable,
    Unproven,
)

_DOING = {
    "StopApplication": "removing",
    "StartApplication": "starting",
    "ScaleApplication": "scaling",
    "RestartApplication": "exchanging the tasks of",
}
_MOST = 4
"""Apps that one sentence names."""


def error_of(status: int, content: bytes) -> KatoError:
    """The error that an API answer stands for, with every fault that its body lists."""
    body = decoded(content)
    if not isinstance(body, dict):
        body = {"message": content.decode("utf-8", "replace").strip() or f"HTTP status {status}"}
    message, details = str(body.get("message", f"HTTP status {status}")), body.get("details")
    held = [str(each["id"]) for each in body.get("deployments") or () if isinstance(each, dict) and "id" in each]
    if isinstance(code := body.get("exitCode"), int):
        return NotRun(message, code)
    if status == 409:
        return _locked(message, held) if held else Conflict(message)
    if status in (400, 415, 422):
        faults = _faults(details)
        if faults:
            return InvalidApp(faults)
        return InvalidInput(f"{message}: {details}" if isinstance(details, str) and details else message)
    kinds: dict[int, type[KatoError]] = {
        401: Unproven,
        403: Refused,
        404: NotFound,
        412: Outdated,
        413: InvalidInput,
        503: Unavailable,
    }
    return kinds.get(status, KatoError)(message)


def under_way(deployment: Mapping[str, Any]) -> str:
    """What a deployment, as Marathon tells it, does to which app, since when, and what it waits for."""
    kinds: dict[str, str] = {}
    for step in deployment["steps"]:
        for action in step["actions"]:
            kinds.setdefault(action["app"], action["action"])  # what starts is scaled in a later step
    words = [f"{_DOING.get(kind, 'changing')} {app}" for app, kind in kinds.items()]
    more = f" and {len(words) - _MOST} more" if len(words) > _MOST else ""
    waits = ", ".join(each["app"] for each in deployment["currentActions"][:_MOST])
    return (
        f"A deployment is {', '.join(words[:_MOST])}{more} since {deployment['version']}"
        f"{f', and waits for {waits}' if waits else ''}."
    )


def remedy(deployment: Mapping[str, Any]) -> str:
    """What to do about a deployment that holds an app."""
    app = str(next(iter(deployment["affectedApps"]), "APP")).strip("/")
    return f"Wait for it, take it back (kato rollback {app}), or take over from it (--force)."


def _locked(message: str, deployments: Sequence[str]) -> Locked:
    error = Locked("", deployments)
    error.args = (
        f"{message.split('. ')[0].rstrip('.')} ({', '.join(deployments)}). "
        "Wait for it, or take over with --force.",
    )
    return error


def _faults(details: object) -> list[Fault]:
    if not isinstance(details, list):
        return []
    return [
        Fault(str(each.get("path") or "/"), str(error))
        for each in details
        if isinstance(each, dict)
        for error in each.get("errors") or ()
    ]


def decoded(content: bytes) -> Any:
    """The JSON of an answer; None where it is none."""
    try:
        return msgspec.json.decode(content) if content else None
    except msgspec.DecodeError:
        return None


def foreign(address: str) -> Conflict:
    """Something listens at a URL, and it is no cell."""
    return Conflict(
        f"What listens at {address.partition('://')[2]} is not a Káto cell. Name another address, of your cell or "
        "of one to start: --api or KATO_API."
    )


def unanswered(address: str, error: Exception) -> KatoError:
    """Why there was no answer from a URL, or none that was whole."""
    if isinstance(error, aiohttp.ClientResponseError):  # it speaks something else than HTTP
        return foreign(address)
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return Refused(
            f"What listens at {address} cannot prove that it is your cell ({error.certificate_error}), and is "
            "told nothing. Name whose certificates you believe: KATO_CA=FILE, a copy of access/ca.pem of the "
            "cell's folder."
        )
    if isinstance(error, aiohttp.ClientSSLError):
        return Conflict(f"What listens at {address} does not speak HTTPS ({error.strerror or error}).")
    if isinstance(error, aiohttp.ClientConnectorError):
        return Unavailable(
            f"No cell answers at {address} (--api, KATO_API). Start one: kato up FILE, or kato serve."
        )
    cause = str(error) or type(error).__name__
    if isinstance(error, aiohttp.ServerDisconnectedError | ConnectionResetError) and address.startswith("http:"):
        cause += f" (where it speaks HTTPS: --api https{address.removeprefix('http')})"
    return Unavailable(f"The cell at {address} did not finish its answer: {cause}. Try again.")
