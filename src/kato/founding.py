"""A store goes in, before a node's roles begin; the cell that lives in it comes out. From then on they may rely on
what stands there: its format, its incarnation, and nothing of former lives that is no more.
"""

from collections.abc import Callable
from pathlib import Path

import msgspec
import structlog

from kato.model.errors import StoreRefused
from kato.model.frontend import BorderAck
from kato.store import MAX_TXN_OPERATIONS, Compare, Delete, Put, Store, keys

log = structlog.get_logger()


async def found_cell(store: Store, new_id: Callable[[], str]) -> keys.Cell:
    """The cell that lives in `store`, made where there is none, raised to our format. StoreRefused where a newer
    Káto made it.
    """
    fresh = keys.Cell(id=new_id())
    await store.txn([Compare(keys.CELL, "modified", "=", 0)], [Put(keys.CELL, keys.encode(fresh))])
    standing = await store.get(keys.CELL)
    cell = fresh if standing is None else keys.decode(keys.CELL, standing.value)
    assert isinstance(cell, keys.Cell)
    if cell.format > keys.FORMAT:
        raise StoreRefused(
            f"The cell's store is of format {cell.format}, and this Káto knows {keys.FORMAT}. "
            "Run the newer Káto that wrote it, or restore a backup."
        )
    if cell.format < keys.FORMAT:
        cell = msgspec.structs.replace(cell, format=keys.FORMAT)
        await store.txn([], [Put(keys.CELL, keys.encode(cell))])
    return cell


async def raise_incarnation(store: Store, cell: keys.Cell, folder: Path) -> keys.Cell:
    """The cell, in a new incarnation where its store was put back: the agent of `folder` obeyed a later list, or
    another cell's since.

    Otherwise the agent would refuse what the store says now as outdated (safety rule 3), and ids of tasks that the
    store has forgotten would be given again. So an incarnation is higher than any that was obeyed in the folder.
    """
    from kato.agent.journal import remembered

    known = remembered(folder)
    if known is None:
        return cell
    id, (incarnation, _, revision) = known
    standing = await store.range(keys.LEADER)
    # A list comes from a leader. Where there is none now, a later revision has removed it.
    newest = standing.revision if standing.items else standing.revision - 1
    if (incarnation, revision) <= (cell.incarnation, newest if id == cell.id else -1):
        return cell
    raised = msgspec.structs.replace(cell, incarnation=max(incarnation, cell.incarnation) + 1)
    await store.txn([], [Put(keys.CELL, keys.encode(raised))])
    log.warning(
        "this store is another one than before, or was put back; its tasks are what it says",
        cell=cell.id,
        incarnation=raised.incarnation,
    )
    return raised


async def forget_other_nodes(store: Store, node: str) -> None:
    """Removes what is written of nodes but this one: of a store that no other machine can open, they are gone.

    Their tasks are placed anew. It happens where a folder got a new node id.
    """
    gone = [
        Delete(item.key)
        for prefix in ("nodes/", "borders/", "links/")
        for item in (await store.range(prefix)).items
        if item.key != prefix + node
    ]
    for first in range(0, len(gone), MAX_TXN_OPERATIONS):
        await store.txn([], gone[first : first + MAX_TXN_OPERATIONS])


async def forget_looks(store: Store, node: str) -> None:
    """Takes back that the border of `node` has looked: what it saw in an earlier life may be another by now."""
    standing = await store.get(keys.border(node))
    if standing is None:
        return
    said = keys.decode(keys.border(node), standing.value)
    assert isinstance(said, BorderAck)
    await store.txn([], [Put(keys.border(node), keys.encode(msgspec.structs.replace(said, shape="")))])
