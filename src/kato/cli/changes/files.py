"""validate and convert: files go in; their faults, or the Marathon group that they become, come out."""

import time
from typing import TYPE_CHECKING, Any

from kato.cli.changes.source import ALL, DEFAULT, Chosen, load, named, warn
from kato.cli.printing.show import Output, document, listing
from kato.cli.views.inspect import Format
from kato.cli.words.place import HERE, Place
from kato.model.errors import InvalidApp, InvalidInput

if TYPE_CHECKING:
    from kato.language import Manifest


def validate(*files: str, output: Output = "table", chosen: Chosen = ALL, place: Place = HERE) -> int:
    """Say all that is wrong with files, with line and column. It needs no cell. Exit code: 0 nothing, 2 something.

    Parameters
    ----------
    files
        Compose or Marathon files, or folders with one in them, each by itself; without any, those of -f, else
        the present folder.
    output
        How to print: table (a line a file, faults on stderr), json or yaml.
    """
    rows = [_judged(file, chosen, place) for file in files or (DEFAULT,)]
    if output == "table":
        for row in rows:
            warn([*row["warnings"], *row["faults"]])
    listing(rows, ["file", "apps", "state"], output, empty="")
    return 2 if any(row["faults"] for row in rows) else 0


def convert(file: str = ".", /, *, output: Format = "json", chosen: Chosen = ALL) -> None:
    """Print the Marathon group, or list of apps, that a file becomes; `kato up` takes that as it takes the file.

    Parameters
    ----------
    file
        A Compose or Marathon file, or a folder with one in it.
    output
        How to print: json or yaml.
    """
    manifest = load(file, chosen)
    warn(manifest.warnings)
    if manifest.builds:
        warn(
            [f"{', '.join(manifest.builds)}: `kato up` of the file itself builds the image, which has no name yet"]
        )
    document(manifest.body(), output)


def _judged(file: str, chosen: Chosen, place: Place) -> dict[str, Any]:
    """One file for the listing. What cannot be read at all is a fault of it, too."""
    row: dict[str, Any] = {"file": file, "apps": 0, "state": "wrong", "warnings": [], "faults": []}
    try:
        row["file"] = " ".join(str(path) for path in named(file, chosen))
        manifest = load(file, chosen)
        row |= {"apps": len(manifest.apps), "warnings": list(manifest.warnings)}
        _foresee(manifest, place)
    except InvalidApp as error:
        row["faults"] = [f"{fault.path}: {fault.message}" for fault in error.faults]
    except InvalidInput as error:
        row["faults"] = [str(error)]
    else:
        row["state"] = "right"
    return row


def _foresee(manifest: "Manifest", place: Place) -> None:
    """Puts it before a cell in which nothing is: what its apps would take from each other is found so."""
    from kato.api.foresee import foresee
    from kato.plan import Recall, decide
    from kato.store.mirror import Mirror

    world, now = Mirror().world(), time.time()
    before = decide(world, now, Recall())
    foresee(world, manifest.plan_body, before, now, salt="", own=place.config.own_ports)
