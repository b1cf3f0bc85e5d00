"""A Compose service's environment, labels and the files of both come in; its variables and labels come out.

What the service itself says wins over what its files say, and a later file over an earlier one.
"""

from collections.abc import Callable

from kato.language.document import Path
from kato.language.dotenv import read_env, read_raw
from kato.language.interpolation import Lookup
from kato.language.reading import Part, text_of
from kato.language.service_volumes import Surroundings
from kato.model.errors import InvalidInput

Reader = Callable[[str, str, Lookup], dict[str, str]]
FORMATS: dict[str | None, Reader] = {None: read_env, "raw": read_raw}


def read_environment(service: Part, around: Surroundings, lookup: Lookup, file: Lookup) -> dict[str, str]:
    """The variables. A name without a value is the user's own variable. file: a text by absolute path."""
    found = _from_files(service, "env_file", around, lookup, file)
    for key, value in service.pairs("environment").items():
        if not key or "=" in key or "\0" in key + (value or ""):
            service.fault("environment", f"{key!r} is no name for a variable")
        value = lookup(key) if value is None else value
        if value is None:
            found.pop(key, None)
        else:
            found[key] = value
    return found


def read_labels(service: Part, around: Surroundings, lookup: Lookup, file: Lookup) -> dict[str, str]:
    """The labels."""
    found = _from_files(service, "label_file", around, lookup, file)
    return found | {key: value or "" for key, value in service.pairs("labels").items()}


def _from_files(service: Part, key: str, around: Surroundings, lookup: Lookup, file: Lookup) -> dict[str, str]:
    found: dict[str, str] = {}
    raw = service.raw(key)
    for n, item in enumerate(raw if isinstance(raw, list) else [raw] if raw is not None else []):
        path: Path = (*service.path, key, n) if isinstance(raw, list) else (*service.path, key)
        required, name, read = True, text_of(item), FORMATS[None]
        if isinstance(item, dict) and key == "env_file":
            entry = Part(item, path, service.findings)
            name, required = entry.text("path"), entry.flag("required") is not False
            if (form := entry.text("format")) not in FORMATS:
                entry.fault("format", f"{form!r} is not taken; leave it out, for Compose's own, or use raw")
            read = FORMATS.get(form, read)
            entry.close()
        if not name:
            service.findings.fault(path, "must be the path of a file")
            continue
        text = file(around.resolve(name))
        if text is not None:
            try:
                found |= read(text, name, lookup)
            except InvalidInput as error:
                service.findings.fault(path, str(error))
        elif required:
            hint = " (required: false would do without it)" if key == "env_file" else ""
            service.findings.fault(path, f"there is no file {name}{hint}")
    return found
