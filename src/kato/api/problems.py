"""Acknowledgements of borders come in; what is not served comes out, as sentences, for all and for each app.

A border tells a problem as a sentence that names the app ("service port 80 of /web is in use by …"). One that
names no app is the ingress', and so of every app with a host; or the whole balancer's.
"""

import re
from collections.abc import Mapping

from kato.model.app import App
from kato.model.frontend import BorderAck, Service, host_name
from kato.model.ingress import hosts_of

_APP = re.compile(r" of (/\S+) ")


class Problems:
    """What the borders of one World cannot serve. all: each sentence once."""

    def __init__(self, borders: Mapping[str, BorderAck]) -> None:
        self.all = tuple(dict.fromkeys(problem for ack in borders.values() for problem in ack.problems))
        self._of_app: dict[str, tuple[str, ...]] = {}
        self._ingress: tuple[str, ...] = ()
        self._whole: tuple[str, ...] = ()
        for problem in self.all:
            if named := _APP.search(problem):
                self._of_app[named[1]] = (*self._of_app.get(named[1], ()), problem)
            elif problem.startswith("the ingress "):
                self._ingress += (problem,)
            else:
                self._whole += (problem,)

    def of(self, app: App) -> tuple[str, ...]:
        """Those that an app suffers from."""
        if not self.all or not app.balanced:
            return ()
        hosts = any(hosts_of(app, index) for index in range(len(app.ports)))
        return self._of_app.get(app.id, ()) + (self._ingress if hosts else ()) + self._whole

    def of_service(self, service: Service) -> tuple[str, ...]:
        """Those that keep one service, or a part of it, from being reached."""
        named = tuple(
            problem
            for problem in self._of_app.get(service.app, ())
            if not problem.startswith("service port ") or problem.startswith(f"service port {service.port} ")
        )
        return named + (self._ingress if service.hosts else ()) + self._whole

    def reach(self, service: Service) -> tuple[bool, tuple[str, ...]]:
        """Whether the service's port answers, and under which of its hosts it does."""
        own = self._of_app.get(service.app, ())
        port = not self._whole and not any(each.startswith(f"service port {service.port} ") for each in own)
        if self._whole or self._ingress or any(each.startswith(f"path {service.path!r} ") for each in own):
            return port, ()
        lost = {host for host in service.hosts if any(each.startswith(_of_host(host)) for each in own)}
        return port, tuple(host for host in service.hosts if host not in lost)


def _of_host(host: str) -> tuple[str, str]:
    """How a sentence about a host begins: as it was written, or as clients send it."""
    return f"host {host!r} ", f"host {host_name(host)} "
