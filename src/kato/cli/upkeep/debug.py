"""debug: a cell that runs, or has ended, flows in; one archive of all that helps to see what is wrong with it, and
holds no secret, flows out.
"""

import io
import os
import platform
import tarfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from cyclopts import Parameter

from kato.access import TOKEN, caller, read_token
from kato.cli.upkeep.backup import replace
from kato.cli.upkeep.doctor import examined
from kato.cli.upkeep.redact import GONE, Redactor
from kato.cli.words.place import HERE, Place
from kato.model.errors import InvalidInput, KatoError, Unavailable
from kato.store import Range
from kato.store.backup import read
from kato.store.opening import read_store

if TYPE_CHECKING:
    from kato.client import Client

LOG = 2 * 2**20
"""Bytes of the end of each log."""
ASKED = {
    "cell.json": "/v1/cell",
    "nodes.json": "/v1/nodes",
    "standing.json": "/v1/apps",
    "services.json": "/v1/services",
    "ended.json": "/v1/ended",
    "tasks.json": "/v2/tasks",
    "deployments.json": "/v2/deployments",
    "metrics.txt": "/metrics",
    "stacks.txt": "/v1/stacks",
}
File = Annotated[str | None, Parameter(help="The archive; without it, kato-debug-TIME.tar.gz in this folder.")]
ABOUT = f"""What stands in a cell, for whoever looks what is wrong with it.

store.json is all that its store holds; other files are what the cell, its log, its balancer and this machine say.
Environment, commands, labels and whatever else of an app may hold a secret are "{GONE}", and so are they in every
other file, with all that looks like a credential. A secret of fewer than six characters may still stand in a log.
What tasks wrote is not in it.
"""


async def debug(file: File = None, /, *, place: Place = HERE) -> None:
    """Write one archive of all that helps to see what is wrong with the cell, whether it runs or not: what it
    knows and does, its log, its balancer, what `kato doctor` finds. Environment, commands and credentials
    are taken out.
    """
    path = Path(file or f"kato-debug-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.tar.gz")
    if not path.parent.is_dir() or path.exists():
        raise InvalidInput(f"{path} cannot be written: name a new file in a folder that is there.")
    files = await gathered(place)
    replace(path, archive(files))
    print(f"{path} has {', '.join(sorted(files))}. Look through it before you give it away: tar -xzf {path}")


async def gathered(place: Place) -> dict[str, str]:
    """Every file by its name, without secrets; `missing.txt` says what could not be had, and why."""
    found: dict[str, str] = {}
    missing: list[str] = []
    async with place.client() as client:
        standing = await _standing(place, client)
        store = {each.key: msgspec.json.decode(each.value) for each in standing.items}
        redactor = Redactor(store, _logins(place.config.logins), _tokens(place))
        found["store.json"] = _shown(redactor.stored())
        for name, asked in ASKED.items():
            with suppress(KatoError):
                found[name] = (await client.raw(asked)).decode()
        with suppress(KatoError):
            queue = msgspec.json.decode(await client.raw("/v2/queue"))
            found["queue.json"] = _shown([{**each, "app": redactor.app(each["app"])} for each in queue["queue"]])
    found["doctor.json"] = _shown([each._asdict() async for each in examined(place)])
    found["machine.json"] = _shown(_machine(place))
    data = place.config.data
    if "cell.json" in found:  # it may live elsewhere than is said here
        data = Path(msgspec.json.decode(found["cell.json"])["data"])
    for log in (data / "cell.log", data / "cell.log.1", data / "balancer" / "haproxy.cfg"):
        try:
            found[log.name] = _end(log)
        except OSError as error:
            missing.append(f"{log}: {error.strerror}")
    missing += [f"{name}: the cell does not answer" for name in (*ASKED, "queue.json") if name not in found]
    found |= {"README.txt": ABOUT, "missing.txt": "".join(f"{line}\n" for line in missing)}
    return {name: _clean(name, text, redactor) for name, text in found.items()}


def _clean(name: str, text: str, redactor: Redactor) -> str:
    if name.endswith(".json"):
        return _shown(redactor.data(msgspec.json.decode(text)))
    return redactor.text(text)


async def _standing(place: Place, client: "Client") -> Range:
    """What the cell knows, by itself or, where it has ended, by its store. Unavailable where neither can be read:
    nobody can tell then what is a secret.
    """
    try:
        if await _answers(client):
            return read(await client.backup(), "The cell's answer").standing
        return await read_store(place.config.store_url) or Range(0, ())
    except KatoError as error:
        raise Unavailable(
            f"What the cell knows cannot be read, and so nobody can tell what of its log is a secret. {error}"
        ) from error


async def _answers(client: "Client") -> bool:
    with suppress(KatoError):  # another program may have its port
        return await client.ping()
    return False


def _machine(place: Place) -> dict[str, Any]:
    from kato.api.version import kato_version

    config = place.config
    said = {name: getattr(config, name) for name in ("ingress", "dns", "roles", "privileged", "store_url")}
    return {
        "kato": kato_version(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "user": os.geteuid(),
        "config": {"api": config.listens, **said, "data": str(config.data)},
    }


def _logins(path: Path | None) -> bytes | None:
    with suppress(OSError):
        return path.read_bytes() if path else None
    return None


def _tokens(place: Place) -> list[str]:
    """What lets into this cell, or into others."""
    found: list[str | None] = []
    with suppress(InvalidInput):
        found.append(caller(place.config).token)
    with suppress(InvalidInput):
        found.append(read_token(place.config.access / TOKEN))
    return [each for each in found if each]


def _end(path: Path) -> str:
    """The end of a text file, from the beginning of a line."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - LOG, 0))
        text = file.read()
    return (text if size <= LOG else text.partition(b"\n")[2]).decode("utf-8", "replace")


def _shown(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n"


def archive(files: dict[str, str]) -> bytes:
    """A gzipped tar of texts, closed to others."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, text in sorted(files.items()):
            content = text.encode()
            member = tarfile.TarInfo(f"kato-debug/{name}")
            member.size, member.mode, member.mtime = len(content), 0o600, int(time.time())
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()
