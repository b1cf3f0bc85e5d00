"""The programs that the oci runtime needs: their names flow in; where they are, or what to install, flows out, and
what came of running one.
"""

import asyncio
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from kato.model.errors import DriverError, DriverMissing

NEEDED = ("crun", "skopeo", "umoci", "unshare", "mount")
PACKAGES = {"unshare": "util-linux"}
"""Debian's name where it is another than the program's."""
_SAID = re.compile(r'msg="((?:[^"\\]|\\.)*)"')


def check(path: str) -> None:
    """DriverMissing where one is not on the PATH, or where who runs the cell may not make containers."""
    missing = [name for name in NEEDED if shutil.which(name, path=path) is None]
    if missing:
        packages = " ".join(dict.fromkeys(PACKAGES.get(name, name) for name in missing))
        raise DriverMissing(
            f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not on the PATH. Run: "
            f"apt-get install {packages}"
        )
    if os.geteuid() != 0:
        raise DriverMissing("The oci runtime mounts images and makes namespaces. Run the cell as root.")


async def run(words: Sequence[str], folder: Path) -> None:
    """Runs a program in `folder` to its end, or until it is cancelled. DriverError has its last words.

    What it keeps for a while is in that folder too: elsewhere there may be no room for an image.
    """
    process = await asyncio.create_subprocess_exec(
        *words,
        cwd=folder,
        env={**os.environ, "TMPDIR": str(folder)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, said = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise DriverError(last_words(said.decode(errors="replace")) or f"{words[0]} ended by {process.returncode}")


def last_words(said: str) -> str:
    r"""What went wrong, of what a program wrote.

    >>> last_words('x\ntime="2026" level=fatal msg="reading \\"a\\": denied"\n'), last_words("plain: no\n")
    ('reading "a": denied', 'plain: no')
    """
    line = next(reversed(said.strip().splitlines()), "")
    found = _SAID.search(line)
    return re.sub(r"\\(.)", r"\1", found[1]) if found else line.removeprefix("FATA[0000] ").strip()
