"""A transaction as a caller wrote it flows in; nothing flows out, or the refusal that every store gives alike.

The limits are the port's (etcd's), so that what passes on one machine passes in a cluster.
"""

from collections.abc import Sequence

from kato.model.errors import TxnTooLarge
from kato.store import MAX_TXN_BYTES, MAX_TXN_OPERATIONS, Compare, Delete, Op, Put


def check(compares: Sequence[Compare], ops: Sequence[Op]) -> None:
    """Refuses what no store would take.

    Raises TxnTooLarge beyond the port's limits; ValueError for an empty key, a compare with a value of the wrong
    type, or two operations that meet on one key.
    """
    _check_size(compares, ops)
    for compare in compares:
        if isinstance(compare.to, bytes) is not (compare.field == "value"):
            raise ValueError(f"{compare.key}: {compare.field} is not compared with {type(compare.to).__name__}")
    for each in (*compares, *ops):
        if not each.key and not (isinstance(each, Delete) and each.prefix):
            raise ValueError("a key is empty")
    _check_overlap(ops)


def _check_size(compares: Sequence[Compare], ops: Sequence[Op]) -> None:
    count = len(compares) + len(ops)
    if count > MAX_TXN_OPERATIONS:
        raise TxnTooLarge(
            f"A transaction of {count} compares and operations is beyond the limit of {MAX_TXN_OPERATIONS}. "
            "Write immutable pieces first, then flip one pointer."
        )
    size = sum(len(each.key.encode()) for each in (*compares, *ops))
    size += sum(len(compare.to) for compare in compares if isinstance(compare.to, bytes))
    size += sum(len(op.value) for op in ops if isinstance(op, Put))
    if size > MAX_TXN_BYTES:
        raise TxnTooLarge(
            f"A transaction of {size} bytes is beyond the limit of {MAX_TXN_BYTES}. "
            "Write immutable pieces first, then flip one pointer."
        )


def _check_overlap(ops: Sequence[Op]) -> None:
    seen: set[str] = set()
    prefixes = [op.key for op in ops if isinstance(op, Delete) and op.prefix]
    for op in ops:
        if op.key in seen:
            raise ValueError(f"two operations on {op.key} in one transaction")
        seen.add(op.key)
    for prefix in prefixes:
        met = [key for key in seen if key.startswith(prefix) and key != prefix]
        if met:
            raise ValueError(f"two operations on {min(met)} in one transaction: one removes all under {prefix!r}")
