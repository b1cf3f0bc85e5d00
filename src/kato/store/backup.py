"""A backup: all that a store holds at one revision flows in and lines of JSON flow out, or the other way.

The first line says what it is, then there is one line a key, and the last has the checksum of all before it: so a
file that was cut short is seen, whatever else it holds.
"""

import hashlib
import os
import time
from pathlib import Path
from typing import Literal

import msgspec

from kato.model.errors import StoreRefused
from kato.model.ids import timestamp
from kato.store import KeyValue, Range, keys

FORMAT = 1
"""Of the lines; a backup of a higher one is refused."""
_MARK = b'{"kato":"backup",'
_LAST = b'{"sha256":"'
_OTHER = "Nothing was restored; take another backup."


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The first line. version: of the Káto that wrote it; store: the format of what stands in it; taken: a
    timestamp; items: how many keys.
    """

    kato: Literal["backup"] = "backup"
    format: int = FORMAT
    version: str
    store: int = keys.FORMAT
    cell: str
    incarnation: int
    revision: int
    taken: str
    items: int


class Backup(msgspec.Struct, frozen=True):
    """A cell as it was."""

    head: Head
    standing: Range


_Line = tuple[str, str, int, int, int]
_HEAD = msgspec.json.Decoder(Head)
_LINE = msgspec.json.Decoder(_Line)


def written(standing: Range, version: str, now: float, format: int = keys.FORMAT) -> bytes:
    """The file. What stands under a lease is not in it: whoever held that is gone. version: of this Káto; now:
    epoch seconds; format: of what stands.
    """
    items = [each for each in standing.items if not each.lease]
    cell: keys.Cell = next(keys.read(each.key, each.value) for each in items if each.key == keys.CELL)
    head = Head(
        version=version,
        store=format,
        cell=cell.id,
        incarnation=cell.incarnation,
        revision=standing.revision,
        taken=timestamp(now),
        items=len(items),
    )
    lines = [(each.key, each.value.decode(), each.created, each.modified, each.version) for each in items]
    body = msgspec.json.Encoder().encode_lines([head, *lines])
    return body + _LAST + hashlib.sha256(body).hexdigest().encode() + b'"}\n'


def keep(path: Path, standing: Range, format: int) -> None:
    """Writes a backup of a store of an older format, whole and durable, closed to others. OSError."""
    fresh = path.with_name(path.name + ".new")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as out:
        out.write(written(standing, f"before format {keys.FORMAT}", time.time(), format))
        out.flush()
        os.fsync(out.fileno())
    fresh.rename(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read(content: bytes, name: str) -> Backup:
    """The backup in a file called `name`. StoreRefused where it is damaged, cut short, newer, or none."""
    if not content.startswith(_MARK):
        raise StoreRefused(f"{name} is no backup of a cell. Name a file that kato backup wrote.")
    first, _, rest = content.partition(b"\n")
    try:
        head = _HEAD.decode(first)
    except msgspec.MsgspecError as error:
        raise StoreRefused(f"{name} is damaged: its first line cannot be read ({error}). {_OTHER}") from error
    if head.format > FORMAT or head.store > keys.FORMAT:
        raise StoreRefused(
            f"{name} was written by Káto {head.version}, which is newer than this one. Restore it with that Káto."
        )
    body, mark, last = rest.rpartition(_LAST)
    if not mark or not last.endswith(b'"}\n'):
        raise StoreRefused(f"{name} is cut short: it ends before its checksum. {_OTHER}")
    checksum = hashlib.sha256(first + b"\n" + body).hexdigest()
    if last != checksum.encode() + b'"}\n':
        raise StoreRefused(f"{name} is damaged: its checksum is wrong. {_OTHER}")
    lines = (_LINE.decode(line) for line in body.splitlines())
    items = (KeyValue(key, value.encode(), *numbers) for key, value, *numbers in lines)
    return Backup(head, Range(head.revision, tuple(items)))
