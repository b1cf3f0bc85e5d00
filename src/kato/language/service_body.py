"""What a runtime makes of a Compose service, beside what every service has."""

from collections.abc import Mapping
from dataclasses import dataclass

from kato.model.app import Container, Network, PortDefinition


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """The fields of an App that depend on its runtime. refused: the keys that it cannot keep, and why."""

    cmd: str | None = None
    args: tuple[str, ...] | None = None
    container: Container | None
    networks: tuple[Network, ...]
    port_definitions: tuple[PortDefinition, ...] | None = None
    labels: Mapping[str, str]
    refused: Mapping[str, str]
