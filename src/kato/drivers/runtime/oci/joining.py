"""How a container is joined to its networks: its places there flow in; what the keeper does before crun, in
the machine's namespace and in the container's own, comes out as lines of it.

All of it is done by the container's own processes: where they or the cell are killed on the way, the kernel takes
away what there was.
"""

import shlex
from collections.abc import Iterator, Sequence

from kato.drivers.runtime import Launch
from kato.drivers.runtime.oci.networks import BRIDGE, Endpoint, number_of
from kato.drivers.runtime.oci.outside import inner

LINES = "links"
"""The file of what `ip` does in the container's namespace."""
OPEN = (
    "{ for set in 'ip_unprivileged_port_start 0' 'ping_group_range 0 2147483647'; do "
    'echo "${set#* }" > "/proc/sys/net/ipv4/${set%% *}"; done; true; } 2>/dev/null'
)
"""Any user may listen at any port and ping, as in Docker's containers: the network is its own."""


def pid_file(n: int) -> str:
    """The file with the pid of who stands at its n-th network."""
    return f"network.{n}"


def before(keeper: str, folder: str, places: Sequence[str], rules: Sequence[str]) -> list[str]:
    """What is done while it is still in the machine's network. places: of its networks; rules: of the first."""
    told = ([place, f"{folder}/{pid_file(n)}", *(() if n else rules)] for n, place in enumerate(places))
    return [f'{shlex.quote(keeper)} share "$$" {shlex.join(words)}' for words in told]


def inside(places: Sequence[str]) -> list[str]:
    """What is done in its own."""
    there = (f"nsenter --net={place} ip -batch {LINES}.{n}" for n, place in enumerate(places))
    return [f"ip -batch {LINES}", *there, OPEN]


def lines(endpoints: Sequence[Endpoint], places: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The files that `ip` reads, by their names."""
    own = ["link set lo up"]
    for n, (endpoint, place) in enumerate(zip(endpoints, places, strict=True)):
        hardware = ":".join(("02:42", *(f"{int(part):02x}" for part in endpoint.address.split("."))))
        there, size = _there(endpoint), inner(endpoint.number).prefixlen
        own += [
            f"link add eth{n} address {hardware} type veth peer name {there} netns {place}",
            f"link set eth{n} addrgenmode none",
            f"address add {endpoint.address}/{size} dev eth{n}",
            f"link set eth{n} up",
        ]
        yield f"{LINES}.{n}", f"link set {there} addrgenmode none\nlink set {there} master {BRIDGE} up\n"
    own.append(f"route add default via {endpoints[0].gateway}")
    yield LINES, "".join(f"{line}\n" for line in own)


def rules(launch: Launch, endpoints: Sequence[Endpoint], address: str) -> list[str]:
    """What is published: at an address of the node, the ports that the planner gave, on its first network."""
    found = []
    for port, given in zip(launch.app.ports, launch.ports, strict=False):
        for protocol in port.protocol.split(","):
            found.append(f"{protocol}/{address}/{given}/{endpoints[0].address}/{port.container or given}")
    return found


def _there(endpoint: Endpoint) -> str:
    """What its end of the cable is called at the bridge."""
    return f"t{number_of(endpoint.address, endpoint.gateway)}"
