"""certify: names and addresses of this machine go in; what others are told, to be let in, comes out."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from kato import certificates
from kato.access import AUTHORITY, CERTIFICATE, TOKEN, read_token
from kato.cli.upkeep.cell import make_folder
from kato.cli.words.place import HERE, Place
from kato.model.errors import InvalidInput

Flag = Annotated[bool, Parameter(negative=())]


def certify(
    *hosts: Annotated[str, Parameter(help="Names and addresses by which others call this machine.")],
    cert: str | None = None,
    key: str | None = None,
    new_token: Flag = False,
    place: Place = HERE,
) -> None:
    """Make what a cell lets others in by, so that its API may listen beyond loopback (--api 0.0.0.0:8180): a
    certificate for these names, by an authority of the cell's own, and a token. Said again, with other names or
    none, it makes a new certificate by the same authority. A cell that runs takes it at once, and ends no task.

    Parameters
    ----------
    cert
        Your own certificate with its chain, in place of one of the cell's; it is read where it is, whenever it
        changes.
    key
        The key of it.
    new_token
        Another token; the former one lets nobody in any more.
    """
    if (cert is None) != (key is None) or (cert is not None and hosts):
        raise InvalidInput("Your own certificate is named by --cert FILE and --key FILE, and without HOSTs.")
    config = place.config
    make_folder(config)
    with certificates.room(config.access) as folder:
        if new_token:  # first: that others know the former one cannot wait
            certificates.make_token(folder)
            print("The token is another one. A cell that runs lets nobody in by the former one any more.")
        if cert is not None and key is not None:
            certificates.take(folder, Path(cert).absolute(), Path(key).absolute())
        elif hosts or not new_token:
            certificates.make(folder, hosts or certificates.hosts_of(folder))
        if not (folder / TOKEN).exists():
            certificates.make_token(folder)
        read_token(folder / TOKEN)
        _tell(folder, config.api.rpartition(":")[2])


def _tell(folder: Path, port: str) -> None:
    if not (folder / CERTIFICATE).exists():
        return
    hosts, until = certificates.hosts_of(folder), certificates.until(folder / CERTIFICATE)
    print(f"The certificate is for {', '.join(dict.fromkeys((*hosts, *certificates.ALWAYS)))}, until {until}.")
    print(f"A cell that others are to reach: kato serve --api 0.0.0.0:{port}")
    believed = f"KATO_CA={AUTHORITY} " if (folder / AUTHORITY).exists() else ""
    what = f"{folder}/{AUTHORITY} and " if believed else ""
    print(
        f"A client needs a copy of {what}{folder}/{TOKEN}, which lets do all that the cell's user may:\n"
        f"  {believed}KATO_TOKEN_FILE={TOKEN} kato --api https://{_written(hosts[0])}:{port} ls"
    )


def _written(host: str) -> str:
    return f"[{host}]" if ":" in host else host
