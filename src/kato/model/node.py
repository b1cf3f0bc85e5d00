"""A Node: one machine's resources and place, as facts it reports about itself."""

from collections.abc import Mapping

import msgspec


class Resources(msgspec.Struct, frozen=True):
    """cpus in cores, mem and disk in MiB, gpus whole."""

    cpus: float = 0.0
    mem: float = 0.0
    disk: float = 0.0
    gpus: int = 0


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A machine that runs tasks. Written by the master that holds its link.

    id: stable over restarts; machine_id and boot_id are the kernel's and tell a copied or rebooted machine.
    address: where its tasks' host ports are reached (loopback in the embedded cell).
    ports: inclusive ranges of host ports that tasks may be given.
    taken: ports in those ranges that something outside Káto listens on.
    runtimes: names of the runtime drivers that work here; powers: optional powers they have.
    images: those that were asked for (`Assignments.upgrades`): '' where it is here, else why it cannot be had.
    latitude, longitude: degrees; price: dollars an hour, None where no price is known.
    """

    id: str
    hostname: str
    address: str = "127.0.0.1"
    machine_id: str = ""
    boot_id: str = ""
    resources: Resources = Resources()
    ports: tuple[tuple[int, int], ...] = ((31000, 32000),)
    taken: tuple[int, ...] = ()
    attributes: Mapping[str, str | float] = {}
    region: str | None = None
    zone: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    price: float | None = None
    runtimes: tuple[str, ...] = ()
    powers: tuple[str, ...] = ()
    images: Mapping[str, str] = {}
    notes: tuple[str, ...] = ()
