"""secrets: a value goes in from a file, a pipe or a prompt, never as a word; names come out."""

import getpass
import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from kato.cli.printing.show import Output, listing, say
from kato.cli.words.place import THERE, Address
from kato.model.errors import Conflict, InvalidInput
from kato.model.ids import timestamp
from kato.model.secret import LARGEST, called


async def secrets(
    act: Literal["set", "ls", "rm"],
    name: str | None = None,
    file: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    /,
    *,
    force: Annotated[bool, Parameter(negative=())] = False,
    output: Output = "table",
    place: Address = THERE,
) -> None:
    """Keep values that tasks alone are told: kato secrets set NAME FILE, kato secrets ls, kato secrets rm NAME.

    Without FILE the value is asked for on a terminal, and read from the input otherwise. It is kept as it is, to
    the last byte. Tasks that run keep the value that they were started with: `kato restart APP` gives them the
    new one.

    Parameters
    ----------
    act
        set, ls or rm.
    name
        The secret, such as shop/db-password; an app names it as `source`.
    file
        Where the value is; - for the input.
    force
        Remove it although an app names it.
    output
        How ls prints: table, json or yaml.
    """
    if act == "ls":
        await _list(output, place)
    elif name is None:
        raise InvalidInput(f"Which secret? Write: kato secrets {act} NAME")
    elif file is not None and act == "rm":
        raise InvalidInput(f"{file!r} is too much: kato secrets rm takes a name, and --force.")
    elif act == "set":
        await _set(called(name), file, place)
    else:
        await _remove(called(name), force, place)


async def _list(output: str, place: Address) -> None:
    async with place.client() as client:
        rows = [{**each, "since": timestamp(each["since"])} for each in await client.secrets()]
    listing(rows, ["name", "since", "apps"], output, empty="No secret is set. Set one: kato secrets set NAME FILE")


async def _set(name: str, file: str | None, place: Address) -> None:
    value = _value(name, file)
    async with place.client() as client:
        done = await client.set_secret(name, value)
    if value.endswith(b"\n") and value.count(b"\n") == 1:
        print("kato: the value ends with a newline, which is kept; printf '%s' writes none.", file=sys.stderr)
    if not done["changed"]:
        say(f"{name} is what it was.")
        return
    kept = f" Tasks of {', '.join(done['apps'])} that run keep what they have, until: kato restart"
    say(f"{name} is set." + (kept if done["apps"] else ""))


async def _remove(name: str, force: bool, place: Address) -> None:
    async with place.client() as client:
        try:
            await client.remove_secret(name, force=force)
        except Conflict as conflict:
            raise Conflict(f"{conflict} (--force)") from conflict
    say(f"{name} is removed.")


def _value(name: str, file: str | None) -> bytes:
    """The bytes of a file or of the input, or what somebody types where nobody sees it."""
    if file is None and sys.stdin.isatty():
        return getpass.getpass(f"Value of {name} (it is not shown): ").encode()
    if file in (None, "-"):
        value = sys.stdin.buffer.read(LARGEST + 1)
    else:
        try:
            with Path(str(file)).open("rb") as stream:
                value = stream.read(LARGEST + 1)
        except OSError as error:
            raise InvalidInput(f"{file} cannot be read: {error.strerror}.") from error
    if not value or len(value) > LARGEST:
        what = f"more than {LARGEST:,} bytes" if value else "empty"
        raise InvalidInput(f"The value of {name} is {what}. A secret is a password, a key or a small file.")
    return value
