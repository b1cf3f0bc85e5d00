"""An app's JSON with Marathon's old words comes in, of the right shape; the same app in today's words comes out.

The rules are those of Marathon's `AppNormalization`: `docker.network` and `ipAddress` become networks,
`docker.portMappings` moves up, `uris` become `fetch`, `ports` become `portDefinitions`; old and new together are
refused; then what depends on other fields gets its default.
"""

from typing import Any

from kato.model.errors import Fault

Json = dict[str, Any]

_ARCHIVES = (".tgz", ".tar.gz", ".tbz2", ".tar.bz2", ".txz", ".tar.xz", ".zip")
_MODES = {"BRIDGE": "container/bridge", "USER": "container", "HOST": "host"}
_RESIDENCY = {"relaunchEscalationTimeoutSeconds": 3600, "taskLostBehavior": "WAIT_FOREVER"}


def normalise(given: Json) -> tuple[Json, list[Fault]]:
    """The app in today's words, and what could not be said in them. `given` is not changed."""
    app = dict(given)
    faults: list[Fault] = []
    if "container" in app:
        app["container"] = dict(app["container"])
        if "docker" in app["container"]:
            app["container"]["docker"] = dict(app["container"]["docker"])
    _fetch(app, faults)
    _networks(app, faults)
    _ports(app, faults)
    _volumes(app)
    _health_checks(app)
    if not app.get("args"):
        app.pop("args", None)
    for assigned in ("version", "versionInfo"):
        app.pop(assigned, None)
    return app, faults


def _both(faults: list[Fault], old: str, new: str) -> None:
    faults.append(Fault(old, f"is the old word for {new}, and both are set; keep {new}"))


def _fetch(app: Json, faults: list[Fault]) -> None:
    uris = app.pop("uris", None)
    if not uris:
        return
    if app.get("fetch"):
        _both(faults, "/uris", "/fetch")
    app["fetch"] = [{"uri": uri, "extract": uri.endswith(_ARCHIVES)} for uri in uris]


def _networks(app: Json, faults: list[Fault]) -> None:
    docker = app.get("container", {}).get("docker", {})
    old = docker.pop("network", None)
    address = app.pop("ipAddress", None)
    networks = app.get("networks")
    if networks and old:
        _both(faults, "/container/docker/network", "/networks")
    if networks and address is not None:
        _both(faults, "/ipAddress", "/networks")
    if old == "NONE":
        faults.append(Fault("/container/docker/network", "NONE is not kept; use HOST, BRIDGE or USER"))
    if networks:
        app["networks"] = [{"mode": "container", **network} for network in networks]
    elif address is not None:
        app["networks"] = [_address_network(address, old)]
        _discovery(app, address, faults)
    else:
        app["networks"] = [{"mode": _MODES.get(old or "HOST", "host")}]


def _address_network(address: Json, old: str | None) -> Json:
    network: Json = {"mode": _MODES.get(old or "USER", "container")}
    if network["mode"] == "container" and "networkName" in address:
        network["name"] = address["networkName"]
    if address.get("labels"):
        network["labels"] = address["labels"]
    return network


def _discovery(app: Json, address: Json, faults: list[Fault]) -> None:
    """The ports that an `ipAddress` announces become port mappings."""
    if app.get("ports") or app.get("portDefinitions"):
        faults.append(
            Fault("/ipAddress", "with an address of its own the app has no ports on the host; drop those")
        )
    ports = address.get("discovery", {}).get("ports")
    if not ports:
        return
    container = app.setdefault("container", {"type": "MESOS"})
    if container.get("portMappings") or container.get("docker", {}).get("portMappings"):
        _both(faults, "/ipAddress/discovery", "/container/portMappings")
    keep = ("name", "protocol", "labels")
    container["portMappings"] = [
        {"containerPort": port.get("number", 0), **{key: port[key] for key in keep if key in port}}
        for port in ports
    ]


def _ports(app: Json, faults: list[Fault]) -> None:
    """Each kind of network has ports of one kind; where none are named, Marathon gives one, `default`."""
    container = app.get("container", {})
    old = container.get("docker", {}).pop("portMappings", None)
    if old:
        if container.get("portMappings"):
            _both(faults, "/container/docker/portMappings", "/container/portMappings")
        container["portMappings"] = old
    ports = app.pop("ports", None)
    if any(network["mode"] == "host" for network in app["networks"]):
        if ports and app.get("portDefinitions"):
            _both(faults, "/ports", "/portDefinitions")
        if not container.get("portMappings"):
            container.pop("portMappings", None)
        if ports is not None and not app.get("portDefinitions"):
            app["portDefinitions"] = [{"port": port} for port in ports]
        app.setdefault("portDefinitions", [{"port": 0, "name": "default"}])
        return
    # Marathon before 1.5 repeated the service ports of the mappings in `ports`, so those are no contradiction.
    if not app.get("portDefinitions"):
        app.pop("portDefinitions", None)
    container = app.setdefault("container", {"type": "MESOS"})
    container.setdefault("portMappings", [{"containerPort": 0, "name": "default"}])
    if app["networks"][0]["mode"] == "container/bridge":
        container["portMappings"] = [{"hostPort": 0, **mapping} for mapping in container["portMappings"]]


def _volumes(app: Json) -> None:
    volumes = app.get("container", {}).get("volumes", ())
    persistent = any("persistent" in volume for volume in volumes)
    if persistent or any("external" in volume and volume.get("mode") != "RO" for volume in volumes):
        careful = {"minimumHealthCapacity": 0.5, "maximumOverCapacity": 0}
        app["upgradeStrategy"] = careful | app.get("upgradeStrategy", {})
    if persistent:
        app["residency"] = _RESIDENCY | app.get("residency", {})
        app.setdefault("unreachableStrategy", "disabled")


def _health_checks(app: Json) -> None:
    if "healthChecks" in app:
        app["healthChecks"] = [
            check
            if check.get("protocol") == "COMMAND" or "port" in check or "portIndex" in check
            else {**check, "portIndex": 0}
            for check in app["healthChecks"]
        ]
