"""An app comes in; what it asks of the balancer comes out, each with its path in Marathon's manner: TCP service
ports, and names on the ingress (marathon-lb's labels `HAPROXY_<n>_VHOST` and `HAPROXY_<n>_PATH`).
"""

from collections.abc import Iterator

from kato.model.app import App
from kato.model.frontend import front_of, host_name


def service_ports(app: App) -> Iterator[tuple[str, int]]:
    """Where the balancer listens for it."""
    mapped = app.container is not None and app.container.port_mappings is not None
    for index, port in enumerate(app.ports):
        if port.balanced:
            where = (
                f"/container/portMappings({index})/servicePort" if mapped else f"/portDefinitions({index})/port"
            )
            yield where, port.service


def hosts_of(app: App, index: int) -> tuple[str, ...]:
    """Where a port answers on the ingress, as it is written; nothing where it does not."""
    return tuple(filter(None, map(str.strip, app.labels.get(_host_label(index), "").split(","))))


def path_of(app: App, index: int) -> str:
    """Below which path a port answers on the ingress, as it is written."""
    return app.labels.get(f"HAPROXY_{index}_PATH", "/")


def routes(app: App) -> Iterator[tuple[str, str]]:
    """Hosts with their paths, as `vote.localhost/` or `shop.localhost/api/`; not those that are no host."""
    for index, port in enumerate(app.ports):
        path = front_of(path_of(app, index))
        for host in hosts_of(app, index) if "tcp" in port.protocol else ():  # its port may be still to be given
            if name := host_name(host):
                yield f"/labels/{_host_label(index)}", name + path


def _host_label(index: int) -> str:
    return f"HAPROXY_{index}_VHOST"
