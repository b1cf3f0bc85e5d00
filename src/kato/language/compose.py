"""Compose files come in, with the environment and the texts of the files that they name; Apps come out.

The project is the group `/<name>`, each service an app in it. Everything wrong is found in one go, each fault with
file, line and column; what is ignored is a warning.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence

from kato.language.document import Document
from kato.language.dotenv import read_env
from kato.language.gathering import Gathering
from kato.language.interpolation import Lookup, interpolate
from kato.language.profiles import Choice, chosen, inactive
from kato.language.reading import Findings, Part
from kato.language.refusals import REFUSED_PROJECT
from kato.language.service import Project, read_service
from kato.language.service_build import UNBUILT, read_build
from kato.language.service_networks import read_networks
from kato.language.service_restart import awaited
from kato.language.service_secrets import KINDS, read_project_secrets
from kato.language.service_volumes import Surroundings, read_named_volumes
from kato.model.app import App
from kato.model.build import Build
from kato.model.dependencies import Dependencies
from kato.model.errors import InvalidInput
from kato.model.ingress import routes
from kato.model.secret import Secret
from kato.model.validate import validate
from kato.model.volume import named_volumes

MAX_SERVICES = 10_000

Lookups = Mapping[tuple[str, str], Lookup]

_NOT_NAME = re.compile(r"[^a-z0-9-]+")


@dataclasses.dataclass(frozen=True, slots=True)
class Composed:
    """What a project says. group: the one that the apps, in the order of the file, are the whole of; None where
    the user chose some of them. secrets: what the cell is to keep for their tasks. builds: how images are
    made, by app. volumes: the project's own, as the cell calls them.
    """

    group: str | None
    apps: tuple[App, ...]
    warnings: tuple[str, ...]
    secrets: Mapping[str, Secret]
    builds: Mapping[str, Build]
    volumes: frozenset[str]


def read_compose(
    document: Document,
    others: Sequence[str] = (),
    *,
    choice: Choice,
    folder: str,
    environ: Mapping[str, str],
    files: Lookup,
    contents: Callable[[str], bytes | None],
) -> Composed:
    """What a project says. Raises InvalidInput with every fault.

    others: absolute paths of files that are merged upon the first, in order. folder: the project's, absolute.
    files: the text of a file by absolute path, None where there is none; contents: its bytes.
    """
    gathering = Gathering(files)
    outer = _lookup(folder, environ, files, choice.env_files)
    documents = gathering.documents(document, others)
    given = choice.name or outer("COMPOSE_PROJECT_NAME") or _name_in(documents, outer)

    def lookup(name: str) -> str | None:
        value = outer(name)
        return value if value is not None or name != "COMPOSE_PROJECT_NAME" else _word(given or _last(folder))

    findings = gathering.project(documents, folder, lookup)
    top = Part(findings.document.data, (), findings)
    if top.raw("version") is not None:
        top.warn("version", "is ignored; Compose files have had no version since 2020")
    name = _project_name(top, folder, given)
    volumes, own = read_named_volumes(top, name)
    around = Surroundings(folder, environ.get("HOME"), volumes)
    section = top.part("services") or Part(None, ("services",), findings)
    idle = inactive(section, choice, lookup)
    secrets = read_project_secrets(top, name, around, lookup, contents, gathering.lookups, _unused(section, idle))
    networks = read_networks(top, name)
    project = Project({}, idle, frozenset(), frozenset(), networks, around, lookup, files, secrets)
    apps = _services(section, name, project, gathering.lookups)
    top.close(REFUSED_PROJECT)
    if choice.services:
        apps = chosen(apps, choice.services)
    builds = _builds(section, name, project, apps, gathering.lookups)
    findings.settle()
    named = {secret.source for app in apps.values() for secret in app.secrets.values()}
    return Composed(
        group=None if choice.services else f"/{name}",
        apps=tuple(apps.values()),
        warnings=tuple(dict.fromkeys(findings.warnings)),
        secrets={key: each for key, each in secrets.values.items() if key in named or not choice.services},
        builds=builds,
        volumes=own & named_volumes(apps.values()) if choice.services else own,
    )


def _name_in(documents: Sequence[Document], lookup: Lookup) -> str | None:
    """The last `name` of the files, before anything else is known of them."""
    for document in reversed(documents):
        name = document.data.get("name") if isinstance(document.data, dict) else None
        if isinstance(name, str) and name:
            try:
                return interpolate(name, lookup)
            except InvalidInput:
                return None  # which is told with its line when the file is read
    return None


def _unused(section: Part, idle: Mapping[str, tuple[str, ...]]) -> frozenset[tuple[str, str]]:
    """The secrets and configs that only services name which are not active: kind and name in the file."""
    used: dict[bool, set[tuple[str, str]]] = {True: set(), False: set()}
    services = {name: each for name, each in section.data.items() if isinstance(each, dict)}
    for name, service in services.items():
        for kind in KINDS:
            items = service.get(kind)
            for item in items if isinstance(items, list) else ():
                source = item.get("source") if isinstance(item, dict) else item
                used[name in idle].add((kind, str(source)))
    return frozenset(used[True] - used[False])


def _lookup(folder: str, environ: Mapping[str, str], files: Lookup, named: Sequence[str]) -> Lookup:
    """A variable's value: the environment's, else that of the files that are named, or of `.env` in the folder."""
    found: dict[str, str] = {}

    def lookup(name: str) -> str | None:
        return environ.get(name, found.get(name))

    for path in named or (f"{folder.rstrip('/')}/.env",):
        if (text := files(path)) is not None:
            found |= read_env(text, path, lookup)
        elif named:
            raise InvalidInput(f"There is no file {path} (--env-file).")
    return lookup


def _last(folder: str) -> str:
    return folder.rstrip("/").rsplit("/", 1)[-1]


def _project_name(top: Part, folder: str, asked: str | None) -> str:
    """What was asked for, else the folder's name, as one word of an id."""
    top.text("name")
    name = _word(asked or _last(folder))
    if not name:
        top.findings.fault(("name",), "the project needs a name of letters and digits; add `name: shop`")
    elif asked and name != asked:
        top.findings.warn(
            ("name",), f"the project is called {name}: ids have lower-case letters, digits and dashes"
        )
    return name or "project"


def _word(text: str) -> str:
    return _NOT_NAME.sub("-", text.lower()).strip("-")[:60].strip("-")


def _services(section: Part, name: str, project: Project, lookups: Lookups) -> dict[str, App]:
    """Service → app, of those that are active. lookups: of what was included."""
    ids: dict[str, str] = {}
    findings = section.findings
    if not section.data:
        findings.fault(("services",), "there is no service; add one under `services`")
        return {}
    if len(section.data) > MAX_SERVICES:
        findings.fault(("services",), f"there are more than {MAX_SERVICES} services; split the file")
        return {}
    active = [service for service in section.data if service not in project.idle]
    if not active:
        words = " or ".join(sorted({profile for profiles in project.idle.values() for profile in profiles}))
        findings.fault(("services",), f"no service is active; choose some with --profile {words}")
    for service in active:
        id = f"/{name}/{_word(service)}"
        if not _word(service):
            findings.fault(("services", service), "a service's name needs letters or digits")
        elif id in ids.values():
            findings.fault(("services", service), f"another service is called {id} too; rename one")
        elif id.rsplit("/", 1)[1] != service:
            findings.warn(("services", service), f"is called {id}: ids have lower-case letters, digits and dashes")
        ids[service] = id
    data = {service: section.data[service] for service in active}
    project = dataclasses.replace(project, ids=ids, healthy=_with_checks(section), awaited=awaited(data))
    apps = {
        service: read_service(
            Part(data[service], ("services", service), findings), id, _seen(project, service, lookups)
        )
        for service, id in ids.items()
    }
    _between(apps, findings)
    return apps


def _builds(
    section: Part, name: str, project: Project, apps: Mapping[str, App], lookups: Lookups
) -> dict[str, Build]:
    """How the images of apps are made that have no name yet, by app. apps: by service; name: of the project."""
    found: dict[str, Build] = {}
    for service, app in apps.items():
        if app.image == UNBUILT:
            part = Part(section.data[service], ("services", service), section.findings)
            found[app.id] = read_build(part, name, project.around, _seen(project, service, lookups).lookup)
    return found


def _seen(project: Project, service: str, lookups: Lookups) -> Project:
    """The project with the variables that hold for a service, which may be included."""
    lookup = lookups.get(("services", service))
    return project if lookup is None else dataclasses.replace(project, lookup=lookup)


def _with_checks(section: Part) -> frozenset[str]:
    found: set[str] = set()
    for name, service in section.data.items():
        if isinstance(service, dict):
            kato = service.get("x-kato")
            if service.get("healthcheck") or (isinstance(kato, dict) and kato.get("health")):
                found.add(name)
    return frozenset(found)


def _between(apps: Mapping[str, App], findings: Findings) -> None:
    """What is wrong with an app by the model's rules, and what services ask for that another has."""
    for name, app in apps.items():
        for fault in validate(app):
            if fault.path == "/upgradeStrategy/maximumOverCapacity":
                findings.fault(
                    ("services", name, "deploy", "update_config", "order"),
                    "two tasks must not use a volume at once; use stop-first",
                )
            elif fault.path != "/":  # «nothing to run» was said where the command is missing
                findings.fault(("services", name), f"{fault.path}: {fault.message}")
    published: dict[tuple[int, str], str] = {}
    served: dict[str, str] = {}
    for name, app in apps.items():
        for port in app.ports:
            other = published.setdefault((port.service, port.protocol), name)
            if port.service and other != name:
                findings.fault(("services", name, "ports"), f"port {port.service} is published by {other} too")
        for _, route in routes(app):
            if (other := served.setdefault(route, name)) != name:
                findings.fault(("services", name, "x-kato", "host"), f"{route} is served by {other} too")
    names = {app.id: name for name, app in apps.items()}
    for circle in Dependencies({app.id: app for app in apps.values()}).circles():
        words = " → ".join(names[id] for id in circle)
        findings.fault(("services", names[circle[0]], "depends_on"), f"services wait in a circle: {words}")
