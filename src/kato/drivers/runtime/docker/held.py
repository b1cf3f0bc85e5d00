"""What a container of the engine may not be where the cell is not privileged: an App and what the engine would be
asked for go in; a refusal comes out for what would give the container its machine.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from kato.drivers.runtime.brought.pulled import docker_of
from kato.drivers.runtime.rights import held, hold_place, hold_volumes, usual
from kato.model.app import App

NAMESPACES = {"PidMode": "processes (pid)", "IpcMode": "shared memory (ipc)", "UsernsMode": "users"}
OWN = ("", "private", "shareable", "none")
"""Words for a namespace that the container shares with nobody who was there before."""


def hold_back(app: App, host: Mapping[str, Any], own: Iterable[Path]) -> None:
    """DriverError for the first that it may not have. host: the engine's HostConfig; own: the cell's places.

    Blocks.
    """
    for what in _wants(host):
        raise held(what)
    hold_volumes(app, own)
    for each in docker_of(app).parameters:
        source, _, rest = each.value.partition(":")
        if each.key == "volume" and source.startswith("/") and rest:
            hold_place(source, read_only="ro" in rest.partition(":")[2].split(","), own=own)


def _wants(host: Mapping[str, Any]) -> Iterator[str]:
    if host.get("Privileged"):
        yield "to be privileged"
    yield from (f"the capability {name}" for name in host.get("CapAdd", ()) if not usual(name))
    yield from (f"the device {each['PathOnHost']}" for each in host.get("Devices", ()))
    yield from (f"devices by the rule {rule!r}" for rule in host.get("DeviceCgroupRules", ()))
    for kind, named in NAMESPACES.items():
        if (mode := host.get(kind, "")) not in OWN:
            yield f"the {named} of {'another container' if ':' in mode else 'the host'}"
    yield from (f"the security option {each!r}" for each in host.get("SecurityOpt", ()) if not _tightens(each))
    if "/" in (runtime := host.get("Runtime", "")):  # the engine would execute any file that is called so
        yield f"the program {runtime} of the host as its runtime"


def _tightens(option: str) -> bool:
    """Whether a security option takes rights away, or leaves those that Docker gives."""
    name, _, rest = option.replace("=", ":", 1).partition(":")
    return name == "no-new-privileges" or (name, rest) in (("apparmor", "docker-default"), ("seccomp", "builtin"))
