"""One frozen configuration, parsed once: flags, then the environment, then defaults. The only reader of either."""

import os
import re
import sys
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, IPv6Address, ip_address
from pathlib import Path

import msgspec

from kato.model.errors import InvalidInput

API = "127.0.0.1:8180"
LOGS = ("text", "json")
INGRESS = "127.0.0.1:8181"
SERVER = "kato"
"""What a cell calls itself in every answer: its port may be another program's."""
NAMES = "127.0.0.55:53"
"""Where a cell answers whose machine asks it: nobody else is there, as systemd-resolved is at .53 and .54."""
RESOLVERS = Path("/etc/resolv.conf")
"""Where a machine says which name servers it asks."""
TRACES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
"""Where OpenTelemetry's exporter is told to send spans to: without one none are made."""
KEPT = ("HOME", "LANG", "SUDO_USER", "DOCKER_HOST", "DOCKER_CONFIG", "KATO_PRIVILEGED", *TRACES)
"""What `configure` reads besides the flags of a cell and PATH."""
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", re.IGNORECASE)


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """Where a cell lives and listens, and what this machine is.

    data: a folder, closed to others. api, ingress: host:port; https: whether the API speaks TLS, as it must where
    it is not on loopback. dns: host:port, None for no name server;
    resolvers: the file that says whom it asks for names of others, None for nobody. owns_names: whether the
    machine asks the cell (RESOLVERS).
    store: a URL; None means `local:` in `data`.
    roles: which parts run here. user: whom tasks run as where an app names no one (the caller under sudo).
    environ: what tasks have for PATH (`search_path`), HOME and LANG where their app does not say.
    engine: DOCKER_HOST, for the docker runtime. privileged: whether a container may be.
    logins: the file that `docker login` writes. notify: where a supervisor hears that the cell is up (sd_notify).
    log: how a line of the cell's log looks, one of LOGS. ship: to what kind of receiver, and where, all that is
    written and logged is shipped. traces: whether spans are sent, to where OpenTelemetry's own variables say.
    """

    data: Path
    api: str = API
    https: bool = False
    ingress: str = INGRESS
    dns: str | None = None
    resolvers: Path | None = None
    owns_names: bool = False
    store: str | None = None
    roles: tuple[str, ...] = ("master", "agent", "border", "api")
    user: str | None = None
    environ: Mapping[str, str] = {}
    engine: str | None = None
    privileged: bool = False
    logins: Path | None = None
    notify: str | None = None
    log: str = LOGS[0]
    ship: tuple[str, str] | None = None
    traces: bool = False
    region: str | None = None
    zone: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    price: float | None = None
    attributes: Mapping[str, str] = {}

    @property
    def own_ports(self) -> Mapping[int, str]:
        """The ports that no app can have, and what each is."""
        own = {"DNS": self.dns, "ingress": self.ingress, "API": self.api}
        return {int(where.rpartition(":")[2]): what for what, where in own.items() if where}

    @property
    def url(self) -> str:
        """Where the API listens, with its scheme."""
        return f"{'https' if self.https else 'http'}://{self.api}"

    @property
    def listens(self) -> str:
        """Where the API listens, as `--api` takes it."""
        return self.url if self.https else self.api

    @property
    def access(self) -> Path:
        """Where a cell keeps what it lets others in by: certificate, key and token."""
        return self.data / "access"

    @property
    def store_url(self) -> str:
        return self.store or f"local:{self.store_file}"

    @property
    def store_file(self) -> Path:
        """Where the store is that comes with the folder."""
        return self.data / "cell.sqlite"


def configure(
    *,
    api: str | None = None,
    ingress: str | None = None,
    dns: str | None = None,
    dns_forward: bool = False,
    dns_own: bool = False,
    data: str | None = None,
    log: str | None = None,
    ship: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> Config:
    """The configuration from flags, else KATO_API, KATO_INGRESS, KATO_DNS and KATO_DATA, else defaults.

    Raises InvalidInput, naming the flag and the variable, for an address that is not host:port, or not on loopback
    where it has to be.
    """
    env = os.environ if environ is None else environ
    root = os.geteuid() == 0
    where, https = endpoint(api or env.get("KATO_API") or API)
    own = dns_own or env.get("KATO_DNS_OWN") == "1"
    names = dns or env.get("KATO_DNS") or (NAMES if own else None)
    if own and names and not names.endswith(":53"):
        raise InvalidInput(
            f"--dns (or KATO_DNS) is {names!r}, and --dns-own (or KATO_DNS_OWN) has the machine ask, which asks "
            f"port 53 alone. Leave --dns out, or name port 53 of an address: --dns {NAMES}"
        )
    forward = dns_forward or env.get("KATO_DNS_FORWARD") == "1"
    return Config(
        data=folder(data or env.get("KATO_DATA") or ("/var/lib/kato" if root else "~/.local/share/kato"), env),
        api=where,
        https=https,
        ingress=address(ingress or env.get("KATO_INGRESS") or INGRESS, "--ingress", "KATO_INGRESS"),
        dns=address(names, "--dns", "KATO_DNS") if names else None,
        resolvers=RESOLVERS if own or forward else None,
        owns_names=own,
        environ={name: env[name] for name in ("HOME", "LANG") if name in env} | {"PATH": search_path(env)},
        engine=env.get("DOCKER_HOST"),
        privileged=env.get("KATO_PRIVILEGED") == "1",
        logins=_logins(env),
        notify=env.get("NOTIFY_SOCKET"),
        log=one_of(log or env.get("KATO_LOG") or LOGS[0], LOGS, "--log", "KATO_LOG"),
        ship=receiver(text, env) if (text := ship or env.get("KATO_SHIP")) else None,
        traces=any(env.get(name) for name in TRACES) and env.get("OTEL_SDK_DISABLED", "").lower() != "true",
        user=env.get("SUDO_USER") if root and env.get("SUDO_USER") != "root" else None,
    )


def _logins(env: Mapping[str, str]) -> Path | None:
    where = env.get("DOCKER_CONFIG") or (f"{env['HOME']}/.docker" if env.get("HOME") else None)
    return Path(where, "config.json").absolute() if where else None


def one_of(text: str, words: Sequence[str], flag: str, variable: str) -> str:
    """`text` if it is one of `words`; InvalidInput otherwise."""
    if text not in words:
        raise InvalidInput(f"{flag} (or {variable}) is {text!r}; it takes {' or '.join(words)}.")
    return text


def receiver(text: str, env: Mapping[str, str]) -> tuple[str, str]:
    """Where to ship: `file:PATH`, `unix:PATH` or `tcp:HOST:PORT`, as kind and rest. InvalidInput otherwise."""
    kind, _, where = text.partition(":")
    host, _, port = where.rpartition(":")
    if kind == "tcp" and host and port.isdecimal() and 0 < int(port) < 65536:
        return kind, where
    if kind in ("file", "unix") and where:
        return kind, str(folder(where, env))
    raise InvalidInput(
        f"--ship (or KATO_SHIP) is {text!r}; it takes file:PATH, unix:PATH or tcp:HOST:PORT, for example "
        "tcp:127.0.0.1:5170."
    )


def folder(text: str, env: Mapping[str, str]) -> Path:
    """A folder by its path, absolute; `~` is HOME. InvalidInput where there is none."""
    first, _, rest = text.partition("/")
    if first == "~" and env.get("HOME"):
        text = f"{env['HOME']}/{rest}"
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError:
        raise InvalidInput(
            f"{text} is in the home of somebody who has none on this machine. Name a folder with --data or "
            "KATO_DATA."
        ) from None


def search_path(env: Mapping[str, str], interpreter: str = sys.executable) -> str:
    """Where tasks look for programs: the caller's PATH, then beside the interpreter that runs the cell.

    So `python app.py` runs though nobody activated the virtual environment that Káto lives in.
    """
    found = env.get("PATH") or os.defpath
    beside = os.path.dirname(interpreter)
    return found if not beside or beside in found.split(os.pathsep) else f"{found}{os.pathsep}{beside}"


def kept_variables(environ: Mapping[str, str] | None = None) -> Mapping[str, str]:
    """What a cell must have of the caller's environment to be the same where something else starts it."""
    env = os.environ if environ is None else environ
    return {name: env[name] for name in KEPT if env.get(name)} | {"PATH": search_path(env)}


def variables() -> Mapping[str, str]:
    """The caller's environment: what `${VAR}` in a file means."""
    return os.environ


def debugging(environ: Mapping[str, str] | None = None) -> bool:
    """Whether errors are shown with their tracebacks (KATO_DEBUG)."""
    return bool((os.environ if environ is None else environ).get("KATO_DEBUG"))


def has_browser(environ: Mapping[str, str] | None = None) -> bool:
    """Whether a page can be shown: on a desktop, or by a program that BROWSER names."""
    env = os.environ if environ is None else environ
    return sys.platform == "darwin" or any(env.get(name) for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY"))


def plain_output(environ: Mapping[str, str] | None = None) -> bool:
    """Whether colour and cursor movements are not wanted (no-color.org, terminfo(5))."""
    env = os.environ if environ is None else environ
    return bool(env.get("NO_COLOR")) or env.get("TERM") == "dumb"


def paintable(environ: Mapping[str, str] | None = None) -> bool:
    """Whether a terminal, where there is one, takes cursor movements (terminfo(5)), whatever its colours."""
    env = os.environ if environ is None else environ
    return env.get("TERM", "dumb") not in ("", "dumb")


def address(text: str, flag: str, variable: str) -> str:
    """`text` if it is host:port on loopback; InvalidInput otherwise."""
    if not on_loopback(_host(text, flag, variable)):
        raise InvalidInput(
            f"{flag} (or {variable}) is {text!r}, which is not loopback. Only the API listens elsewhere; use "
            "127.0.0.1 and a tunnel."
        )
    return text


def endpoint(text: str) -> tuple[str, bool]:
    """host:port of an API, and whether it speaks TLS: as its scheme says, else where it is not on loopback.

    >>> endpoint("127.0.0.1:8180"), endpoint("https://kato.example:8180/"), endpoint("0.0.0.0:8180")
    (('127.0.0.1:8180', False), ('kato.example:8180', True), ('0.0.0.0:8180', True))
    """
    flag, variable = "--api", "KATO_API"
    scheme, _, rest = text.rpartition("://")
    where = rest.rstrip("/")
    host = _host(where, flag, variable)
    if scheme not in ("", "http", "https") or not (on_loopback(host) or is_host(host)):
        raise InvalidInput(
            f"{flag} (or {variable}) is {text!r}; it takes host:port or a URL, for example 127.0.0.1:8180 or "
            "https://kato.example:8180."
        )
    if scheme == "http" and not on_loopback(host):
        raise InvalidInput(
            f"{flag} (or {variable}) is {text!r}: beyond loopback everybody on the way could read the token. Use "
            f"https://{where}, or 127.0.0.1 and a tunnel."
        )
    return where, scheme == "https" or not on_loopback(host)


def _host(text: str, flag: str, variable: str) -> str:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or not 0 < int(port) < 65536:
        raise InvalidInput(f"{flag} (or {variable}) is {text!r}; it takes host:port, for example 127.0.0.1:8180.")
    return host


def is_host(text: str) -> bool:
    """Whether it is a name, an address of IPv4, or one of IPv6 in its brackets."""
    if not text.startswith("["):
        return _NAME.fullmatch(text) is not None
    try:
        return text.endswith("]") and ip_address(text[1:-1]).version == 6
    except ValueError:
        return False


def apart(config: Config) -> None:
    """InvalidInput where a cell would be started with two of its listeners at one address."""
    listeners = {
        "the API": (config.api, "--api (or KATO_API)"),
        "the ingress": (config.ingress, "--ingress (or KATO_INGRESS)"),
        "the name server": (config.dns, "--dns (or KATO_DNS)"),
    }
    taken: dict[str, str] = {}
    for what, (where, flag) in listeners.items():
        if where is None:
            continue
        where = where.lower().replace("localhost", "127.0.0.1")
        other = taken.setdefault(where, what)
        if other != what:
            raise InvalidInput(
                f"{other[0].upper()}{other[1:]} and {what} cannot both listen on {where}. "
                f"Give one of them another port: {listeners[other][1]}, {flag}."
            )


def on_loopback(host: str) -> bool:
    """Whether it is exactly localhost, 127.0.0.0/8, or [::1] in its brackets."""
    if host.lower() == "localhost":
        return True
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        ip = ip_address(host[1:-1] if bracketed else host)
    except ValueError:
        return False
    return ip == IPv6Address("::1") if bracketed else ip in IPv4Network("127.0.0.0/8")
