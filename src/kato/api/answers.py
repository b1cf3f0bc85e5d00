"""Values and errors in, HTTP answers out. Errors have Marathon's bodies (its `MarathonExceptionMapper`)."""

from collections.abc import Mapping, Sequence

import msgspec
from starlette.exceptions import HTTPException
from starlette.responses import Response

from kato.language import shape
from kato.model.errors import (
    Conflict,
    DriverError,
    Fault,
    InvalidApp,
    InvalidInput,
    KatoError,
    Locked,
    NotFound,
    NotRun,
    Outdated,
    Refused,
    StoreFull,
    TxnTooLarge,
    Unavailable,
    Unproven,
)

_ENCODER = msgspec.json.Encoder()
LOCKED = (
    "App is locked by one or more deployments. Override with the option '?force=true'. "
    "View details at '/v2/deployments/<DEPLOYMENT_ID>'."
)


CHALLENGE = 'Bearer realm="kato"'
"""What a 401 asks for (RFC 9110, 11.6.1). Of Basic it says nothing: a browser would ask a person for a password,
and send it with whatever any page makes it ask."""


class NoJson(InvalidInput):
    """A body that is no JSON at all."""


def encode(value: object) -> bytes:
    """A value as JSON."""
    return _ENCODER.encode(value)


def answer(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer; `bytes` are taken as JSON that is encoded already. A newline ends it, for terminals."""
    body = value if isinstance(value, bytes) else encode(value)
    return Response(body + b"\n", status, headers, "application/json")


def deployed(id: str, version: str, status: int = 200) -> Response:
    """Marathon's answer to every change."""
    return answer({"version": version, "deploymentId": id}, status, {"Marathon-Deployment-Id": id})


def refusal(error: KatoError) -> Response:
    """The answer to a request that cannot be done."""
    match error:
        case NoJson():
            return answer({"message": "Invalid JSON", "details": str(error)}, 400)
        case shape.Malformed():
            return answer({"message": "Invalid JSON", "details": details(error.faults)}, 422)
        case InvalidApp():
            return answer({"message": "Object is not valid", "details": details(error.faults)}, 422)
        case Locked():
            return answer({"message": LOCKED, "deployments": [{"id": id} for id in error.deployments]}, 409)
        case NotRun():
            return answer({"message": str(error), "exitCode": error.code}, 409)
        case StoreFull():
            return answer({"message": str(error)}, 507)
        case Unavailable():
            return answer({"message": str(error)}, 503, {"Retry-After": "1"})
        case Unproven():
            return answer({"message": str(error)}, 401, {"WWW-Authenticate": CHALLENGE, "Connection": "close"})
    kinds: Sequence[tuple[type[KatoError], int]] = (
        (InvalidInput, 400),
        (NotFound, 404),
        (Outdated, 412),
        (Conflict, 409),
        (Refused, 403),
        (TxnTooLarge, 413),
        (DriverError, 409),
    )
    status = next((status for kind, status in kinds if isinstance(error, kind)), 500)
    return answer({"message": str(error)}, status)


def details(faults: Sequence[Fault]) -> list[dict[str, object]]:
    """Faults in Marathon's form: one entry a path, with all that is wrong there."""
    by_path: dict[str, list[str]] = {}
    for fault in faults:
        by_path.setdefault(fault.path, []).append(fault.message)
    return [{"path": path, "errors": errors} for path, errors in by_path.items()]


def http_refusal(error: HTTPException) -> Response:
    """The answer to what HTTP itself forbids (405, 413, 415 …)."""
    return answer({"message": error.detail}, error.status_code, error.headers)
