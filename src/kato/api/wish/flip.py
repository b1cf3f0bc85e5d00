"""A Draft goes in; the transactions that put it in force come out: pieces, the flip, what settles it. Pure."""

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from kato.api.wish.draft import Draft
from kato.model.deployment import Deployment, GroupRecord, Record
from kato.model.errors import TxnTooLarge
from kato.store import MAX_TXN_BYTES, MAX_TXN_OPERATIONS, Compare, Delete, Op, Put, keys

MAX_APP_BYTES = 1_000_000
"""Of one app as JSON, so that it fits into one transaction with what goes beside it."""
_CANCELLED_AT_ONCE = 30
"""Deployments that one flip ends; more are ended before it, which is safe by itself."""


class Batch(msgspec.Struct, frozen=True):
    """One transaction but for `wish/seq`, which `Wishes` compares and raises."""

    compares: tuple[Compare, ...] = ()
    ops: tuple[Op, ...] = ()


def prepare(draft: Draft, modified: Mapping[str, int]) -> Iterator[Batch]:
    """The immutable pieces, in as many transactions as they need; each must not exist yet.

    Raises TxnTooLarge, before anything is written, where an app is larger than any transaction.
    """
    writes = [_cancel(ended, modified) for ended in draft.cancelled[_CANCELLED_AT_ONCE:]]
    for app in draft.pieces:
        key, value = keys.version(app.id, app.version), keys.encode(app)
        if len(value) > MAX_APP_BYTES:
            raise TxnTooLarge(
                f"App {app.id} is too large: {len(value):,} bytes as JSON, and {MAX_APP_BYTES:,} is the most. "
                "Give its tasks what is large (env, labels, cmd) as a file in a volume."
            )
        writes.append(Batch((Compare(key, "modified", "=", 0),), (Put(key, value),)))
    return batches(writes)


def flip(draft: Draft, modified: Mapping[str, int]) -> tuple[Batch, tuple[Batch, ...]]:
    """The transaction that puts the wish in force, and those that settle it where all did not fit into the first.

    modified: at which revision each deployment that is taken over was last written, by its key.
    """
    first = [_cancel(ended, modified) for ended in draft.cancelled[:_CANCELLED_AT_ONCE]]
    rest = [_put(keys.kill(kill.task), kill) for kill in draft.kills]
    for group, record in sorted(draft.groups.items(), key=lambda item: (not _depends(item[1]), item[0])):
        rest.append(_delete(keys.group(group)) if record is None else _put(keys.group(group), record))
    if draft.deployment is None:
        whole, *more = [*batches([*first, *rest])] or [Batch()]
        return whole, tuple(more)
    made = _put(keys.deployment(draft.deployment.id), draft.deployment)
    entire = list(batches([*first, made, *rest, *_pointers(draft.deployment)]))
    if len(entire) == 1:
        return entire[0], ()
    open_ended = msgspec.structs.replace(draft.deployment, settled=False)
    head, *more = batches([*first, _put(keys.deployment(open_ended.id), open_ended), *rest])
    return head, (*more, *settling(open_ended))


def settling(deployment: Deployment) -> tuple[Batch, ...]:
    """What makes the pointers and locks follow a deployment; its last write says that they do."""
    key = keys.deployment(deployment.id)
    alive = Compare(key, "modified", "!=", 0)
    done = _put(key, msgspec.structs.replace(deployment, settled=True))
    parts = [Batch((alive,), part.ops) for part in batches(_pointers(deployment), reserve=1)]
    return (*parts, Batch((alive,), done.ops))


def batches(writes: Iterable[Batch], *, reserve: int = 0) -> Iterator[Batch]:
    """Writes joined into transactions within the port's limit, in order.

    reserve: operations that the caller adds to each, beside the two for `wish/seq`.
    """
    compares: list[Compare] = []
    ops: list[Op] = []
    size = 0
    for write in writes:
        count = len(compares) + len(ops) + len(write.compares) + len(write.ops)
        if ops and (count + reserve + 2 > MAX_TXN_OPERATIONS or size + _size(write) > MAX_TXN_BYTES // 2):
            yield Batch(tuple(compares), tuple(ops))
            compares, ops, size = [], [], 0
        compares += write.compares
        ops += write.ops
        size += _size(write)
    if ops:
        yield Batch(tuple(compares), tuple(ops))


def _pointers(deployment: Deployment) -> Iterator[Batch]:
    for app, version in sorted(deployment.target.items()):
        pointer = keys.app(app)
        yield _delete(pointer) if version is None else _put(pointer, Record(app=app, version=version))
        yield _put(keys.lock(app), deployment.id)


def _cancel(deployment: Deployment, modified: Mapping[str, int]) -> Batch:
    """Only if the leader has not ended it meanwhile: it must not come back."""
    key = keys.deployment(deployment.id)
    over = msgspec.structs.replace(deployment, cancelled=True)
    return Batch((Compare(key, "modified", "=", modified[key]),), (Put(key, keys.encode(over)),))


def _put(key: str, value: object) -> Batch:
    return Batch((), (Put(key, keys.encode(value)),))


def _delete(key: str) -> Batch:
    return Batch((), (Delete(key),))


def _size(write: Batch) -> int:
    return sum(len(op.key) + (len(op.value) if isinstance(op, Put) else 0) for op in write.ops)


def _depends(record: GroupRecord | None) -> bool:
    return record is not None and bool(record.dependencies)
