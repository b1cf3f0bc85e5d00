"""The environment of a service comes in; a warning for each value that calls another service by its Compose name.

Containers find each other by name, processes do not: they are told by `<NAME>_HOST` and `<NAME>_PORT`, and what
the service sets itself wins over these.
"""

import re
from collections.abc import Mapping

from kato.language.document import Path
from kato.language.reading import Part
from kato.model.ids import env_name

_PLACE = re.compile(r"(^|_)(HOST|HOSTS|HOSTNAME|ADDR|ADDRESS|SERVER|SERVERS|ENDPOINT|URL|URI)$")
"""Variables whose whole value is likely to be a host. `POSTGRES_USER: postgres` is none."""
_HOST = re.compile(r"(?:^|//|@|,)([A-Za-z0-9._-]+)(:[0-9]+|[/,]|$)")


def warn_of_names(service: Part, env: Mapping[str, str], ids: Mapping[str, str]) -> None:
    """Warns, at its place in the file, of each value that is to resolve to a service of `ids` (service -> app)."""
    for key, value in env.items():
        name = next((each for each in _hosts(key, value) if each in ids), None)
        if name is None:
            continue
        host, port = f"{env_name(ids[name])}_HOST", f"{env_name(ids[name])}_PORT"
        if key in (host, port):
            both = f" and {port}" if key == host and port in env else ""
            remedy = f"Leave {key}{both} out: Káto sets {host} and {port}"
        else:
            remedy = f"Let the command use $${host} and $${port}, which Káto sets"
        needs = "" if ids[name] in _depended(service, ids) else f", once `depends_on` names {name}"
        service.findings.warn(
            place_of(service, key),
            f"{name!r} resolves nowhere: processes are not reached by name. {remedy}{needs}",
        )


def _hosts(key: str, value: str) -> list[str]:
    """What may be names of hosts in a value: of a URL, of `host:port`, or all of it where the key says so."""
    found = []
    for match in _HOST.finditer(value):
        bare = match[2] == "" and "//" not in value and "@" not in value
        if not bare or _PLACE.search(key.upper()):
            found.append(match[1])
    return found


def _depended(service: Part, ids: Mapping[str, str]) -> set[str]:
    raw = service.raw("depends_on")
    names = raw if isinstance(raw, list | dict) else ()
    return {ids[name] for name in names if isinstance(name, str) and name in ids}


def place_of(service: Part, key: str) -> Path:
    """Where a variable is set: its line in `environment`, else the `env_file` that has it."""
    raw = service.raw("environment")
    if isinstance(raw, dict) and key in raw:
        return (*service.path, "environment", key)
    for n, item in enumerate(raw if isinstance(raw, list) else ()):
        if isinstance(item, str) and item.partition("=")[0] == key:
            return (*service.path, "environment", n)
    return (*service.path, "env_file")
