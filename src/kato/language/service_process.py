"""What makes a Compose service a process on the host comes in; its command, volumes and folder come out."""

import shlex

from kato.language.reading import Part
from kato.language.refusals import REFUSED, WARNED
from kato.language.service_body import Body
from kato.language.service_ports import Port
from kato.language.service_volumes import Surroundings
from kato.model.app import AppVolume, Container, Network, PortDefinition

WORKDIR = "KATO_WORKDIR"
"""The label that tells the process runtime where to run: an absolute folder. Without it, in the sandbox."""


def read_process(
    service: Part, ports: tuple[Port, ...], volumes: tuple[AppVolume, ...], around: Surroundings
) -> Body:
    """The body of a service that runs on the host; what is a container's is warned about, or refused."""
    service.raw("build")  # the file says itself that no container runs it
    if service.raw("image") is not None:
        service.warn("image", "is ignored: x-kato.runtime is process, so the command runs on the host")
    if service.data.get("network_mode") == "host":
        service.raw("network_mode")  # it has no other
    for key, why in WARNED.items():
        if service.raw(key) is not None:
            service.warn(key, f"is ignored: {why}")
    cmd, args = _command(service)
    return Body(
        cmd=cmd,
        args=args,
        container=Container(type="MESOS", volumes=volumes) if volumes else None,
        networks=(Network(),),
        port_definitions=tuple(
            PortDefinition(port=port.published, protocol=port.protocol, name=port.name) for port in ports
        ),
        labels={WORKDIR: around.resolve(service.text("working_dir") or ".")},
        refused=REFUSED,
    )


def _command(service: Part) -> tuple[str | None, tuple[str, ...] | None]:
    """Docker's entrypoint and command as Marathon's cmd (a shell line) or args (words that no shell reads).

    A list stays a list. A string is a line for /bin/sh, so that `$$PORT` is expanded; where one of the two is a
    string, the other joins the line, its words quoted.
    """
    lines: list[str | tuple[str, ...]] = []
    for key in ("entrypoint", "command"):
        raw = service.raw(key)
        if isinstance(raw, list):
            lines.append(service.words(key) or ())
        elif text := service.text(key):
            lines.append(text)
    lines = [line for line in lines if line]
    if not lines:
        service.findings.fault(service.path, "there is nothing to run; add a `command`")
        return None, None
    if all(isinstance(line, tuple) for line in lines):
        return None, tuple(word for line in lines for word in line)
    return " ".join(line if isinstance(line, str) else shlex.join(line) for line in lines), None
