"""The wish: an App, in Marathon's words (its `app.raml`, 1.11), as frozen structs that are also the wire form.

JSON maps to these once; there is no second tree. Field names on the wire are camelCase. Times are seconds,
memory and disk MiB, cpus cores. `version` strings are UTC timestamps with milliseconds and sort as text.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

from kato.model.ids import parent

SERVICE_PORTS = (10000, 20000)
"""Where a service port of 0 is given a free one (Marathon's `--local_port_min` and `--local_port_max`)."""
MAX_INSTANCES = 1_000_000


DEFAULT = "default"
"""The network that the apps of a group share, as the services of a Compose project do."""


BUILT = "localhost/kato/"
"""How the names of images begin that `kato up` builds: no registry has them."""


class Wire(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A frozen struct whose wire names are camelCase. None means absent and is not written to clients."""


class SecretRef(Wire, frozen=True, kw_only=True):
    """An environment value that comes from `App.secrets[secret]`."""

    secret: str


class SecretSource(Wire, frozen=True, kw_only=True):
    """Where a secret of an app comes from."""

    source: str


class PortDefinition(Wire, frozen=True, kw_only=True):
    """A port of a task on the host network.

    port: the service port, stable, where the balancer listens; 0 asks for a free one (10000–20000), which is
    written back. With `requirePorts` it is the host port too.
    """

    port: int = 0
    protocol: Literal["tcp", "udp", "udp,tcp"] = "tcp"
    name: str | None = None
    labels: Mapping[str, str] = {}


class PortMapping(Wire, frozen=True, kw_only=True):
    """A port of a task in a network of its own: container port, host port (0: any), service port."""

    container_port: int = 0
    host_port: int | None = None
    service_port: int = 0
    protocol: Literal["tcp", "udp", "udp,tcp"] = "tcp"
    name: str | None = None
    labels: Mapping[str, str] = {}
    network_names: tuple[str, ...] | None = None


class Parameter(Wire, frozen=True, kw_only=True):
    """A flag handed to `docker run`."""

    key: str
    value: str


class Docker(Wire, frozen=True, kw_only=True):
    """The image of a container and how to run it."""

    image: str | None = None
    force_pull_image: bool = False
    privileged: bool = False
    parameters: tuple[Parameter, ...] = ()
    pull_config: SecretRef | None = None

    @property
    def built(self) -> bool:
        """Whether `kato up` has built its image."""
        return (self.image or "").startswith(BUILT)


class Persistent(Wire, frozen=True, kw_only=True):
    """A volume that outlives its task on the node. size in MiB."""

    type: Literal["root", "path", "mount"] = "root"
    size: int
    max_size: int | None = None
    profile_name: str | None = None
    constraints: tuple[tuple[str, ...], ...] = ()


class External(Wire, frozen=True, kw_only=True):
    """A named volume that outlives the app. Provider `kato` is a folder that the cell keeps on the node."""

    name: str | None = None
    provider: str | None = None
    size: int | None = None
    shared: bool = False
    options: Mapping[str, str] = {}


class Access(Wire, frozen=True, kw_only=True):
    """Who may do what with a file in a container. mode: as chmod has it (`0440`)."""

    uid: int | None = None
    gid: int | None = None
    mode: str | None = None


class AppVolume(Wire, frozen=True, kw_only=True):
    """A volume of an app: one of host path, persistent, external or secret. access: of the secret's file."""

    container_path: str
    host_path: str | None = None
    mode: Literal["RW", "RO"] = "RW"
    persistent: Persistent | None = None
    external: External | None = None
    secret: str | None = None
    access: Access | None = None

    @property
    def own(self) -> bool:
        """Whether two tasks must not use it at once: it outlives the task, is not shared, and is written to."""
        kept = self.persistent is not None or (self.external is not None and not self.external.shared)
        return kept and self.mode == "RW"


class Container(Wire, frozen=True, kw_only=True):
    """How the task is contained. No container, or MESOS without an image, is a process on the host;
    MESOS with an image is a daemonless container; DOCKER is the docker engine."""

    type: Literal["DOCKER", "MESOS"] = "DOCKER"
    docker: Docker | None = None
    volumes: tuple[AppVolume, ...] = ()
    port_mappings: tuple[PortMapping, ...] | None = None
    linux_info: Mapping[str, object] | None = None


class Network(Wire, frozen=True, kw_only=True):
    """A network that the task joins."""

    mode: Literal["host", "container", "container/bridge"] = "host"
    name: str | None = None
    labels: Mapping[str, str] = {}


class Command(Wire, frozen=True, kw_only=True):
    """A command line for the shell, or an argument vector that no shell reads (a superset of Marathon's)."""

    value: str | None = None
    argv: tuple[str, ...] | None = None


class HealthCheck(Wire, frozen=True, kw_only=True):
    """A check that decides whether a task is alive. All times in seconds, Marathon's defaults.

    gracePeriodSeconds: failures are ignored this long after the start, until the first success.
    maxConsecutiveFailures: the task is killed at this many in a row; 0 never kills.
    delaySeconds: the first check waits this long after the start.
    """

    protocol: Literal["HTTP", "HTTPS", "TCP", "COMMAND", "MESOS_HTTP", "MESOS_HTTPS", "MESOS_TCP"] = "HTTP"
    path: str | None = None
    port: int | None = None
    port_index: int | None = None
    command: Command | None = None
    grace_period_seconds: float = 300
    interval_seconds: float = 60
    timeout_seconds: float = 20
    max_consecutive_failures: int = 3
    delay_seconds: float = 15
    ignore_http1xx: bool = msgspec.field(name="ignoreHttp1xx", default=False)
    ip_protocol: Literal["IPv4", "IPv6"] | None = None


class ReadinessCheck(Wire, frozen=True, kw_only=True):
    """A check that gates a deployment; once ready, ready for life."""

    name: str = "readinessCheck"
    protocol: Literal["HTTP", "HTTPS"] = "HTTP"
    path: str = "/"
    port_name: str = "http-api"
    interval_seconds: float = 30
    timeout_seconds: float = 10
    http_status_codes_for_ready: tuple[int, ...] = (200,)
    preserve_last_response: bool = False


class UpgradeStrategy(Wire, frozen=True, kw_only=True):
    """Capacity kept and exceeded while versions are exchanged, as fractions of `instances`."""

    minimum_health_capacity: float = 1.0
    maximum_over_capacity: float = 1.0


class RestartPolicy(Wire, frozen=True, kw_only=True):
    """What becomes of a task that has ended by itself, in the words of Compose's `deploy.restart_policy`.

    condition: `any` replaces it always, `on-failure` unless it ended with exit code 0, `none` never. One that has
    not begun to run (its image is missing) is tried again in any case.
    maxAttempts: failures after which `on-failure` gives up, of all its tasks together; None for never.
    job: it is as wished once its tasks have ended well, and whoever depends on it waits for that; a task of any
    other app is so while it serves.
    """

    condition: Literal["any", "on-failure", "none"] = "any"
    max_attempts: int | None = None
    job: bool = False


class UnreachableStrategy(Wire, frozen=True, kw_only=True):
    """When a task on a dark node is replaced and when it is forgotten, in seconds."""

    inactive_after_seconds: float = 0
    expunge_after_seconds: float = 0


class Artifact(Wire, frozen=True, kw_only=True):
    """A file fetched into the sandbox before the start."""

    uri: str
    extract: bool = True
    executable: bool = False
    cache: bool = False
    dest_path: str | None = None


class VersionInfo(Wire, frozen=True, kw_only=True):
    """When the app was last scaled, and when its configuration last changed (both are versions)."""

    last_scaling_at: str
    last_config_change_at: str


class App(Wire, frozen=True, kw_only=True):
    """A long-running service: what to run, how many, where, and how to exchange versions."""

    id: str
    cmd: str | None = None
    args: tuple[str, ...] | None = None
    user: str | None = None
    env: Mapping[str, str | SecretRef] = {}
    instances: int = 1
    cpus: float = 1.0
    mem: float = 128.0
    disk: float = 0.0
    gpus: int = 0
    executor: str = ""
    executor_resources: Mapping[str, float] | None = None
    resource_limits: Mapping[str, float | str] | None = None
    constraints: tuple[tuple[str, ...], ...] = ()
    fetch: tuple[Artifact, ...] = ()
    container: Container | None = None
    networks: tuple[Network, ...] = (Network(),)
    port_definitions: tuple[PortDefinition, ...] | None = None
    require_ports: bool = False
    backoff_seconds: float = 1.0
    backoff_factor: float = 1.15
    max_launch_delay_seconds: float = 300.0
    restart_policy: RestartPolicy | None = None
    health_checks: tuple[HealthCheck, ...] = ()
    check: Mapping[str, object] | None = None
    readiness_checks: tuple[ReadinessCheck, ...] = ()
    dependencies: tuple[str, ...] = ()
    upgrade_strategy: UpgradeStrategy = UpgradeStrategy()
    labels: Mapping[str, str] = {}
    accepted_resource_roles: tuple[str, ...] | None = None
    role: str = "*"
    secrets: Mapping[str, SecretSource] = {}
    task_kill_grace_period_seconds: float | None = None
    kill_selection: Literal["YOUNGEST_FIRST", "OLDEST_FIRST"] = "YOUNGEST_FIRST"
    unreachable_strategy: UnreachableStrategy | Literal["disabled"] = UnreachableStrategy()
    residency: Mapping[str, object] | None = None
    tty: bool | None = None
    version: str = ""
    version_info: VersionInfo | None = None

    @property
    def config_version(self) -> str:
        """The version at which the configuration (anything but `instances`) last changed."""
        return self.version_info.last_config_change_at if self.version_info else self.version

    @property
    def image(self) -> str | None:
        """The image of its container; None for a process."""
        return self.container.docker.image if self.container and self.container.docker else None

    @property
    def runtime(self) -> str:
        """The name of the runtime driver that its tasks need: process, docker or oci."""
        if self.container is None or not self.image:
            return "process"
        return "docker" if self.container.type == "DOCKER" else "oci"

    @property
    def own_networks(self) -> frozenset[str]:
        """Where its containers have names. Each runtime has networks of its own, and each group a `default`."""
        named = (network.name for network in self.networks if network.mode != "host" and network.name)
        whose = self.runtime
        return frozenset(
            f"{whose} {parent(self.id)} default" if name == DEFAULT else f"{whose} {name}" for name in named
        )

    @property
    def resident(self) -> bool:
        """Whether its tasks have data of their own, which two of them must not use at once.

        Persistent volumes, as in Marathon; and, unlike there, external ones, neither shared nor read-only: a
        database that starts beside its predecessor on the same files never gets healthy; the upgrade would hang.
        """
        return any(each.own for each in (self.container.volumes if self.container else ()))

    @property
    def restarts(self) -> str:
        """When a task that has ended by itself is replaced: any, on-failure or none."""
        return self.restart_policy.condition if self.restart_policy else "any"

    @property
    def job(self) -> bool:
        """Whether it is as wished only once its tasks have ended well."""
        return self.restart_policy is not None and self.restart_policy.job

    @property
    def balanced(self) -> bool:
        """Whether the balancer serves it on any port."""
        return any(port.balanced for port in self.ports)

    @property
    def kill_grace(self) -> float:
        """Seconds between SIGTERM and SIGKILL (Mesos' default, 3 s, where the app names none)."""
        return 3.0 if self.task_kill_grace_period_seconds is None else self.task_kill_grace_period_seconds

    @property
    def ports(self) -> tuple["ServicePort", ...]:
        """Its ports in order, whichever way they are written. Index n is `$PORTn` and `portIndex` n."""
        if self.container is not None and self.container.port_mappings is not None:
            return tuple(
                ServicePort(m.service_port, m.protocol, m.name, m.host_port or 0, m.container_port)
                for m in self.container.port_mappings
            )
        return tuple(
            ServicePort(d.port, d.protocol, d.name, d.port if self.require_ports else 0, 0)
            for d in self.port_definitions or ()
        )


class ServicePort(msgspec.Struct, frozen=True):
    """One port of an app, seen alike for host and container networks.

    service: where the balancer listens. host: the port asked of the node, 0 for any.
    container: the port inside the container's own network, 0 on the host network.
    """

    service: int
    protocol: str
    name: str | None
    host: int
    container: int

    @property
    def balanced(self) -> bool:
        """Whether the balancer listens for it: it is a TCP service port."""
        return bool(self.service) and "tcp" in self.protocol


class Group(Wire, frozen=True, kw_only=True):
    """A folder of apps with dependencies of its own. `apps` and `groups` are filled only on the wire."""

    id: str
    apps: tuple[App, ...] = ()
    groups: tuple["Group", ...] = ()
    pods: tuple[object, ...] = ()
    dependencies: tuple[str, ...] = ()
    version: str = ""
    enforce_role: bool | None = None
