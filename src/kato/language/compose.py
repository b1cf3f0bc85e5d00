"""A Compose file comes in, with the environment and the texts of the files that it names; Apps come out.

The project is the group `/<name>`, each service an app in it. Everything wrong is found in one go, each fault with
file, line and column; what is ignored is a warning.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping

from kato.language.document import Document
from kato.language.dotenv import read_env
from kato.language.interpolation import Lookup
from kato.language.reading import Findings, Part, interpolated
from kato.language.refusals import REFUSED_PROJECT
from kato.language.service import Project, read_service
from kato.language.service_build import UNBUILT, Build, read_build
from kato.language.service_container import read_networks
from kato.language.service_restart import awaited
from kato.language.service_secrets import read_kept
from kato.language.service_volumes import Surroundings, read_named_volumes
from kato.model.app import App
from kato.model.dependencies import Dependencies
from kato.model.ingress import routes
from kato.model.secret import Secret
from kato.model.validate import validate

MAX_SERVICES = 10_000

_NOT_NAME = re.compile(r"[^a-z0-9-]+")


def read_compose(
    document: Document,
    *,
    folder: str,
    environ: Mapping[str, str],
    files: Lookup,
    contents: Callable[[str], bytes | None],
) -> tuple[str, tuple[App, ...], tuple[str, ...], Mapping[str, Secret], Mapping[str, Build]]:
    """The group's id, its apps in the order of the file, warnings, what the cell is to keep for its tasks, and how
    images are built, by app. Raises InvalidInput with every fault.

    folder: the file's folder, absolute. files: the text of a file by absolute path, None where there is none;
    contents: its bytes.
    """
    findings = Findings(document)
    lookup = _lookup(folder, environ, files)
    data = document.data if isinstance(document.data, dict) else {}
    settled = {
        key: value if key.startswith("x-") else interpolated(value, (key,), findings, lookup)
        for key, value in data.items()
    }
    top = Part(settled, (), findings)
    if top.raw("version") is not None:
        top.warn("version", "is ignored; Compose files have had no version since 2020")
    name = _project_name(top, folder, lookup)
    around = Surroundings(folder, environ.get("HOME"), read_named_volumes(top, name))
    kept = read_kept(top, name, around, lookup, contents)
    networks = read_networks(top, name)
    project = Project({}, frozenset(), frozenset(), networks, around, lookup, files, kept)
    apps = _services(top, name, project)
    top.close(REFUSED_PROJECT)
    services = {
        app.id: Part(data["services"][service], ("services", service), findings)
        for service, app in apps.items()
        if app.image == UNBUILT
    }
    builds = {id: read_build(service, name, around, lookup) for id, service in services.items()}
    findings.settle()
    return f"/{name}", tuple(apps.values()), tuple(dict.fromkeys(findings.warnings)), kept.values, builds


def _lookup(folder: str, environ: Mapping[str, str], files: Lookup) -> Lookup:
    """A variable's value: the environment's, else that of `.env` beside the file."""
    text = files(f"{folder.rstrip('/')}/.env")
    file = read_env(text, f"{folder.rstrip('/')}/.env", environ.get) if text is not None else {}
    return lambda name: environ.get(name, file.get(name))


def _project_name(top: Part, folder: str, lookup: Lookup) -> str:
    """COMPOSE_PROJECT_NAME, else `name`, else the folder's name, as one word of an id."""
    given = top.text("name")
    asked = lookup("COMPOSE_PROJECT_NAME") or given
    name = _word(asked or folder.rstrip("/").rsplit("/", 1)[-1])
    if not name:
        top.findings.fault(("name",), "the project needs a name of letters and digits; add `name: shop`")
    elif asked and name != asked:
        top.findings.warn(
            ("name",), f"the project is called {name}: ids have lower-case letters, digits and dashes"
        )
    return name or "project"


def _word(text: str) -> str:
    return _NOT_NAME.sub("-", text.lower()).strip("-")[:60].strip("-")


def _services(top: Part, name: str, project: Project) -> dict[str, App]:
    """Service → app."""
    section = top.part("services")
    ids: dict[str, str] = {}
    findings = top.findings
    if section is None or not section.data:
        findings.fault(("services",), "there is no service; add one under `services`")
        return {}
    if len(section.data) > MAX_SERVICES:
        findings.fault(("services",), f"there are more than {MAX_SERVICES} services; split the file")
        return {}
    for service in section.data:
        id = f"/{name}/{_word(service)}"
        if not _word(service):
            findings.fault(("services", service), "a service's name needs letters or digits")
        elif id in ids.values():
            findings.fault(("services", service), f"another service is called {id} too; rename one")
        elif id.rsplit("/", 1)[1] != service:
            findings.warn(("services", service), f"is called {id}: ids have lower-case letters, digits and dashes")
        ids[service] = id
    project = dataclasses.replace(project, ids=ids, healthy=_with_checks(section), awaited=awaited(section.data))
    apps = {
        service: read_service(Part(section.data[service], ("services", service), findings), id, project)
        for service, id in ids.items()
    }
    _between(apps, findings)
    return apps


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
