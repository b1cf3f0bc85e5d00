"""What passes the real HAProxy is told by the cell's figures, app by app."""

import re

from machine import Machine, running

COMPOSE = """
name: pair
services:
  web:
    command: exec python3 -m http.server --bind 127.0.0.1 $$PORT
    expose: ["80"]
    x-kato: {runtime: process, host: web.localhost, health: {tcp: true, interval: 1s, delay: 100ms}}
  quiet:
    command: exec python3 -m http.server --bind 127.0.0.1 $$PORT
    expose: ["80"]
    x-kato: {runtime: process, host: quiet.localhost, health: {tcp: true, interval: 1s, delay: 100ms}}
"""


def figure(machine: Machine, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} (\S+)$", machine.get("/metrics"), re.MULTILINE)
    return float(found[1]) if found else -1.0


def test_what_passes_the_balancer_is_counted_by_app() -> None:
    with running(COMPOSE) as machine:
        for path in ("/", "/", "/", "/no-such-file"):
            machine.until(lambda path=path: machine.site("web.localhost", path)[0] in (200, 404))  # type: ignore[misc]
        good = 'kato_app_responses_total{app="/pair/web",status="2xx"}'
        bad = good.replace("2xx", "4xx")
        machine.until(lambda: (figure(machine, good), figure(machine, bad)) == (3.0, 1.0))
        assert figure(machine, 'kato_app_sent_bytes_total{app="/pair/web",way="http"}') > 500
        assert figure(machine, 'kato_app_received_bytes_total{app="/pair/web",way="http"}') > 100
        machine.until(lambda: figure(machine, 'kato_app_sessions{app="/pair/web",way="http"}') == 0)
        assert figure(machine, 'kato_app_responses_total{app="/pair/quiet",status="2xx"}') == 0
