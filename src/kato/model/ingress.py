"""An app comes in; what it asks of the balancer comes out, each with its path in Marathon's manner: TCP service
ports, and names on the ingress (marathon-lb's labels `HAPROXY_<n>_VHOST` and `HAPROXY_<n>_PATH`).
"""

from collections.abc import Iterator

from kato.model.app import App
from kato.model.frontend import host_name


def service_ports(app: App) -> Iterator[tuple[str, int]]:
    """Where the balancer listens for it."""
    mapped = app.container is not None and app.container.port_mappings is not None
    for index, port in enumerate(app.ports):
        if port.balanced:
            where = (
                f"/container/portMappings({index})/servicePort" if mapped else f"/portDefinitions({index})/port"
            )
            yield where, port.service


def routes(app: App) -> Iterator[tuple[str, str]]:
    """Hosts with their paths, as `vote.localhost/` or `shop.localhost/api/`; not those that are no host."""
    for index, port in enumerate(app.ports):
        label = f"HAPROXY_{index}_VHOST"
        if not port.balanced or label not in app.labels:
            continue
        path = app.labels.get(f"HAPROXY_{index}_PATH", "/").rstrip("/") + "/"
        for host in app.labels[label].split(","):
            if name := host_name(host.strip()):
                yield f"/labels/{label}", name + path
