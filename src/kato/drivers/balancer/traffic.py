"""What passed HAProxy: the table of its backends goes in, what passed for each service comes out."""

from collections.abc import Iterable, Iterator

from kato.drivers.balancer.render import http_name, tcp_name
from kato.drivers.balancer.runtime_socket import Row, tables
from kato.model.frontend import Service, Traffic

QUESTION = "show stat -1 2 -1"
"""Of all proxies (-1) the backends (2), whole (-1): HAProxy's management guide, \"show stat\"."""
MOMENT = 1.0
"""Seconds that HAProxy has: whoever asks for figures does not wait for one that is stuck."""
FRESH = 0.5
"""Seconds for which an answer is given again."""


def traffic(answer: str, services: Iterable[Service]) -> Iterator[Traffic]:
    """What a worker says of the backends of `services`."""
    names = {name: each.app for each in services for name in (tcp_name(each), http_name(each))}
    for row in tables(answer):
        if row.get("svname") == "BACKEND" and (app := names.get(row["pxname"])) is not None:
            way = row["pxname"].partition(".")[0]
            yield Traffic(
                app=app,
                way=way,
                sessions=_number(row, "scur"),
                queued=_number(row, "qcur"),
                connections=_number(row, "stot"),
                received=_number(row, "bin"),
                sent=_number(row, "bout"),
                responses={digit: _number(row, f"hrsp_{digit}xx") for digit in "12345"} if way == "http" else {},
            )


def _number(row: Row, name: str) -> int:
    text = row.get(name, "")
    return int(text) if text.isdecimal() else 0
