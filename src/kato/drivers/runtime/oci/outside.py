"""The way out of a network of containers: a namespace flows in; a link to the machine, whose number no other
network there has, and rules of the machine's for what goes out by it come out.

The link goes with the namespace. The rules are in chains of their own, KATO-<number>, and what says that they are
there is a file, so that those of a network which went while no cell ran are taken away by the next.
"""

import shutil
import socket
from ipaddress import IPv4Network
from pathlib import Path

import structlog

from kato.drivers.runtime import namespaces
from kato.model.errors import DriverError

UPLINKS = IPv4Network("10.212.0.0/22")
"""Four addresses a network, of which two are used."""
INNER = IPv4Network("10.208.0.0/14")
"""1,024 addresses a network; a bridge of Linux has 1,023 ports at most."""
MOST = 256
INSIDE = "outside"
"""The link's name in the network, where it leads outside."""
FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
_RULES = (("nat", "POSTROUTING", "-A"), ("filter", "FORWARD", "-I"))
log = structlog.get_logger()


def inner(number: int) -> IPv4Network:
    """The addresses of a network's containers."""
    return IPv4Network((int(INNER.network_address) + (number << 10), 22))


def uplink(number: int) -> IPv4Network:
    """The addresses of its link: the first is the machine's."""
    return IPv4Network((int(UPLINKS.network_address) + (number << 2), 30))


def note(path: str) -> str | None:
    """Why containers reach nothing beyond the machine, as a sentence; None where they do."""
    if shutil.which("iptables", path=path) is None:
        return "Containers of oci on networks reach nothing beyond this machine. Run: apt-get install iptables"
    if not _forwards():
        return (
            "Containers of oci on networks reach nothing beyond this machine, which forwards no packets. Run: "
            "sysctl -w net.ipv4.ip_forward=1"
        )
    return None


def _forwards() -> bool:
    try:
        return FORWARD.read_text().strip() == "1"
    except OSError:
        return False


class Uplinks:
    """Of one cell. folder: for the files that say of which networks there are rules."""

    def __init__(self, folder: Path, path: str) -> None:
        self._folder = folder
        self._path = path

    def open(self, namespace: int) -> int:
        """Makes the link of a namespace, and its rules where they can be; its number. DriverError."""
        taken = _routes(Path("/proc/thread-self/net/route").read_text())
        for number in range(MOST):
            ranges = (inner(number), uplink(number))
            if _exists(number) or any(each.overlaps(own) for each in taken for own in ranges):
                continue
            try:
                self._link(number, namespace)
            except DriverError as error:
                if "File exists" in str(error):  # another cell was quicker
                    continue
                raise
            self._rules(number)
            return number
        raise DriverError(
            f"{MOST} networks are in use on this machine, or its routes leave no room in {INNER} and {UPLINKS}. "
            "See: ip route"
        )

    def _link(self, number: int, namespace: int) -> None:
        here, there = list(uplink(number).hosts())
        name, path = f"kato{number}", self._path
        make = f"link add {name} type veth peer name {INSIDE} netns {namespaces.path_of(namespace)}"
        namespaces.run(["ip", *make.split()], path)
        for_us = f"link set {name} addrgenmode none\naddress add {here}/30 dev {name}\nlink set {name} up\n"
        namespaces.run(["ip", "-batch", "-"], path, for_us)
        for_them = (
            f"link set {INSIDE} addrgenmode none\naddress add {there}/30 dev {INSIDE}\nlink set {INSIDE} up\n"
            f"route add default via {here}\n"
        )

        def lead() -> None:
            namespaces.run(["ip", "-batch", "-"], path, for_them)
            try:
                FORWARD.write_text("1")
                namespaces.run(_tables("nat", f"-A POSTROUTING -o {INSIDE} -j MASQUERADE"), path)
            except (OSError, DriverError) as error:
                log.warning("containers on a network reach nothing beyond this machine", why=str(error))

        namespaces.within(namespace, lead)

    def _rules(self, number: int) -> None:
        """What the machine does with packets of the network. Without them it has no way out, and nothing worse."""
        if note(self._path) is not None:
            return
        self._folder.mkdir(mode=0o700, exist_ok=True)
        (self._folder / str(number)).touch()
        self._take_away(number)  # another cell may have left what has the same name
        name, chain = f"kato{number}", f"KATO-{number}"
        rules = {
            "nat": (f"-A {chain} -s {uplink(number)} ! -o {name} -j MASQUERADE",),
            "filter": (
                f"-A {chain} -i {name} -j ACCEPT",
                f"-A {chain} -o {name} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            ),
        }
        try:
            for table, built_in, how in _RULES:
                for rule in (f"-N {chain}", *rules[table], f"{how} {built_in} -j {chain}"):
                    namespaces.run(_tables(table, rule), self._path)
        except (OSError, DriverError) as error:
            log.warning("containers on a network reach nothing beyond this machine", why=str(error))

    def close(self, number: int) -> None:
        """Takes away link and rules."""
        try:
            if _exists(number):
                namespaces.run(["ip", "link", "delete", f"kato{number}"], self._path)
        except (OSError, DriverError) as error:
            log.warning("the link of a network goes with its last container", why=str(error))
        self._forget(number)

    def tidy(self) -> None:
        """Takes away the rules of networks that are no more."""
        for file in self._folder.glob("*") if self._folder.is_dir() else ():
            if not _exists(int(file.name)):
                self._forget(int(file.name))

    def _forget(self, number: int) -> None:
        if (self._folder / str(number)).exists():
            self._take_away(number)
            (self._folder / str(number)).unlink(missing_ok=True)

    def _take_away(self, number: int) -> None:
        chain = f"KATO-{number}"
        for table, built_in, _ in _RULES:
            for rule in (f"-D {built_in} -j {chain}", f"-F {chain}", f"-X {chain}"):
                try:
                    namespaces.run(_tables(table, rule), self._path)
                except (OSError, DriverError):  # it is not there
                    continue


def _tables(table: str, rule: str) -> list[str]:
    return ["iptables", "-w", "5", "-t", table, *rule.split()]


def _exists(number: int) -> bool:
    try:
        return bool(socket.if_nametoindex(f"kato{number}"))
    except OSError:
        return False


def _routes(text: str) -> list[IPv4Network]:
    r"""Where the machine's routes lead, but for the default, of /proc/net/route.

    >>> _routes("Iface\neth0 0000D10A 0 1 0 0 0 0000FFFF\neth0 00000000 0 1 0 0 0 00000000\n")
    [IPv4Network('10.209.0.0/16')]
    """
    found = []
    for line in text.splitlines()[1:]:
        words = line.split()
        address, mask = (int.from_bytes(bytes.fromhex(words[n]), "little") for n in (1, 7))
        if mask:
            found.append(IPv4Network((address, mask.bit_count())))
    return found
