"""How much is asked of others at once: questions flow in at many name servers of one cell."""

import asyncio
import socket
from pathlib import Path

from kato.drivers.dns.forward import EACH, FAIR, OUTSTANDING, Forwarder

QUERY = bytes(12)


async def test_who_floods_name_servers_takes_neither_the_cell_s_descriptors_nor_the_others_turn(
    tmp_path: Path,
) -> None:
    """Whom they ask keeps silent, as one that is gone."""
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        some = [
            Forwarder(tmp_path / "resolv.conf", port, own=("127.0.0.1", 53)) for _ in range(OUTSTANDING // EACH)
        ]
        last = Forwarder(tmp_path / "resolv.conf", port, own=("127.0.0.1", 53))
        flood = [asyncio.create_task(each.ask(QUERY, tcp=False)) for each in some for _ in range(EACH + 1)]
        few = [asyncio.create_task(last.ask(QUERY, tcp=False)) for _ in range(FAIR + 1)]
        for _ in range(2):  # each has had its first turn
            await asyncio.sleep(0)
        refused = [sum(each.done() for each in asked) for asked in (flood, few)]
        for each in (*flood, *few):
            each.cancel()
        await asyncio.gather(*flood, *few, return_exceptions=True)
        assert refused == [len(some), 1]
        again = asyncio.create_task(last.ask(QUERY, tcp=False))
        await asyncio.sleep(0)
        assert not again.done(), "all of them gave their room back"
        again.cancel()
