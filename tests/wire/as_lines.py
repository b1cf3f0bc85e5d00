"""For schemathesis, which knows no lines of JSON: such a body goes out as it is."""

from typing import Any

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def as_lines(context: Any, value: object) -> bytes:
    """The body of a request."""
    return str(value).encode(errors="replace")
