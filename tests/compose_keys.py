"""Every key of the Compose Specification, each with the smallest file that has it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

KEYS = Path(__file__).parent / "golden" / "compose" / "keys.txt"

_TOP: dict[str, Any] = {
    "version": "3",
    "name": "store",
    "include": ["inc.yaml"],
    "include[].path": "inc.yaml",
    "include[].env_file": "a.env",
    "include[].project_directory": "sub",
    "services": {"more": {"command": ["x"]}},
    "models.*.context_size": 5,
    "networks": {"n": None},
    "networks.*.attachable": True,
    "networks.*.driver": "bridge",
    "networks.*.enable_ipv4": True,
    "networks.*.enable_ipv6": True,
    "networks.*.external": True,
    "networks.*.internal": True,
    "volumes": {"v": None},
    "volumes.*.driver": "local",
    "volumes.*.external": True,
    "secrets": {"s": {"environment": "V"}},
    "secrets.*.environment": "V",
    "secrets.*.external": True,
    "secrets.*.file": "a.env",
    "configs": {"c": {"environment": "V"}},
    "configs.*.environment": "V",
    "configs.*.external": True,
    "configs.*.file": "a.env",
}
"""By whole keys."""
_OF_SERVICE: dict[str, Any] = {
    "attach": False,
    "build": "sub",
    "build.dockerfile": "Other",
    "build.dockerfile_inline": "FROM busybox",
    "build.extra_hosts": ["a:1.2.3.4"],
    "build.no_cache": True,
    "build.platforms": ["linux/amd64"],
    "build.privileged": True,
    "build.pull": True,
    "build.secrets": ["s"],
    "build.shm_size": "64m",
    "build.ulimits": {"nofile": 5},
    "command": ["other"],
    "configs": ["c"],
    "configs[].gid": "5",
    "configs[].mode": "0440",
    "configs[].source": "c",
    "configs[].target": "/etc/c",
    "configs[].uid": "5",
    "cpu_count": 1,
    "cpus": 0.5,
    "cpuset": "0",
    "depends_on": ["other"],
    "depends_on.*.condition": "service_completed_successfully",
    "depends_on.*.required": False,
    "depends_on.*.restart": True,
    "deploy": {"replicas": 2},
    "deploy.endpoint_mode": "dnsrr",
    "deploy.mode": "replicated-job",
    "deploy.placement": {"max_replicas_per_node": 1},
    "deploy.placement.constraints": ["node.labels.disk==ssd"],
    "deploy.placement.max_replicas_per_node": 1,
    "deploy.replicas": 2,
    "deploy.resources": {"limits": {"memory": "64m"}},
    "deploy.resources.limits": {"memory": "64m"},
    "deploy.resources.limits.cpus": "0.5",
    "deploy.resources.limits.memory": "64m",
    "deploy.resources.limits.pids": 5,
    "deploy.resources.reservations": {"memory": "64m"},
    "deploy.resources.reservations.cpus": "0.5",
    "deploy.resources.reservations.memory": "64m",
    "deploy.restart_policy": {"condition": "none"},
    "deploy.restart_policy.condition": "on-failure",
    "deploy.restart_policy.delay": "3s",
    "deploy.restart_policy.max_attempts": 3,
    "deploy.restart_policy.window": "3s",
    "deploy.update_config": {"order": "stop-first"},
    "deploy.update_config.delay": "3s",
    "deploy.update_config.failure_action": "rollback",
    "deploy.update_config.monitor": "3s",
    "deploy.update_config.order": "start-first",
    "deploy.update_config.parallelism": 2,
    "develop": {"watch": [{"path": ".", "action": "sync", "target": "/x"}]},
    "devices": ["/dev/null:/dev/x"],
    "dns": "1.1.1.1",
    "entrypoint": ["/run"],
    "env_file": "a.env",
    "env_file[].format": "raw",
    "env_file[].path": "a.env",
    "env_file[].required": False,
    "environment": {"A": "b"},
    "expose": [81],
    "extends": "other",
    "extends.file": "common.yaml",
    "extends.service": "other",
    "extra_hosts": ["a:1.2.3.4"],
    "healthcheck": {"test": "true"},
    "healthcheck.disable": True,
    "healthcheck.interval": "3s",
    "healthcheck.retries": 5,
    "healthcheck.start_interval": "1s",
    "healthcheck.start_period": "9s",
    "healthcheck.test": ["CMD", "true"],
    "healthcheck.timeout": "4s",
    "image": "busybox:2",
    "init": True,
    "label_file": "a.env",
    "labels": {"a": "b"},
    "links": ["other"],
    "mem_limit": "64m",
    "mem_reservation": "64m",
    "memswap_limit": "64m",
    "network_mode": "host",
    "networks": ["n"],
    "networks.*.priority": 5,
    "oom_kill_disable": True,
    "oom_score_adj": 5,
    "pids_limit": 5,
    "ports": ["8080:80"],
    "ports[].app_protocol": "http",
    "ports[].host_ip": "127.0.0.1",
    "ports[].mode": "ingress",
    "ports[].name": "web",
    "ports[].protocol": "tcp",
    "ports[].published": 8080,
    "ports[].target": 80,
    "privileged": True,
    "profiles": ["p"],
    "pull_policy": "always",
    "read_only": True,
    "restart": "no",
    "scale": 2,
    "secrets": ["s"],
    "secrets[].gid": "5",
    "secrets[].mode": "0440",
    "secrets[].source": "s",
    "secrets[].uid": "5",
    "shm_size": "64m",
    "stdin_open": True,
    "stop_grace_period": "3s",
    "sysctls": {"net.core.somaxconn": 5},
    "tmpfs": "/scratch",
    "tty": True,
    "ulimits": {"nofile": 5},
    "ulimits.*.hard": 5,
    "ulimits.*.soft": 5,
    "use_api_socket": True,
    "user": "1000",
    "volumes": ["v:/data"],
    "volumes[].bind": {"create_host_path": True},
    "volumes[].bind.create_host_path": True,
    "volumes[].read_only": True,
    "volumes[].source": "v",
    "volumes[].target": "/data",
    "volumes[].tmpfs.mode": 1777,
    "volumes[].tmpfs.size": "1m",
    "volumes[].type": "volume",
    "working_dir": "/srv",
}
"""By keys of a service. What is not here is a mapping, a list or a word, as what is below it says, or its name."""
_LISTS = ("cache_from", "cap_add", "cap_drop", "config", "device_cgroup_rules", "devices", "dns_opt", "dns_search",
          "external_links", "gpus", "group_add", "link_local_ips", "preferences", "security_opt", "tags",
          "volumes_from", "aliases", "generic_resources")  # fmt: skip
_MAPPINGS = ("annotations", "args", "driver_opts", "labels", "options", "storage_opt", "additional_contexts")
_BESIDE: dict[str, dict[str, Any]] = {
    "include[]": {"path": "inc.yaml"},
    "services.*.build": {"context": "."},
    "services.*.healthcheck": {"test": "true"},
    "services.*.ports[]": {"target": 80},
    "services.*.volumes[]": {"type": "volume", "source": "v", "target": "/data"},
    "services.*.ulimits.*": {"soft": 4, "hard": 4},
    "services.*.configs[]": {"source": "c"},
    "services.*.secrets[]": {"source": "s"},
    "services.*.build.secrets[]": {"source": "s"},
    "services.*.env_file[]": {"path": "a.env"},
    "services.*.extends": {"service": "other"},
    "services.*.deploy.restart_policy": {"condition": "on-failure"},
    "services.*.deploy": {"replicas": 3},
    "services.*.devices[]": {"source": "/dev/null", "target": "/dev/x"},
    "services.*.depends_on.*": {"condition": "service_started"},
    "secrets.*": {"environment": "V"},
    "configs.*": {"environment": "V"},
}
"""What has to stand beside a key."""
_NAMES = {"services": "web", "networks": "n", "volumes": "v", "secrets": "s", "configs": "c", "models": "m"}
_INNER = {"depends_on": "other", "networks": "n", "ulimits": "nofile", "models": "m"}
_USES: dict[str, list[str]] = {"networks": ["n"], "volumes": ["v:/data"], "secrets": ["s"], "configs": ["c"]}
_KINDS = {
    "volumes[].bind": {"type": "bind", "source": "./x", "target": "/data"},
    "volumes[].tmpfs": {"type": "tmpfs", "target": "/data"},
    "volumes[].image": {"type": "image", "source": "busybox", "target": "/data"},
}


def keys() -> list[str]:
    """Dotted; `*` is any name, `[]` an item of a list."""
    return [line for line in KEYS.read_text().splitlines() if not line.startswith("#")]


def sample(key: str) -> dict[str, Any]:
    """What a file says that has this key, as data of the whole file, without what every file needs."""
    steps = list(_steps(key))
    return dict(_built(steps, 0))


def _steps(key: str) -> Iterator[str]:
    """`services.*.ports[].name` → services, *, ports, [], name."""
    for word in key.split("."):
        yield word.removesuffix("[]")
        if word.endswith("[]"):
            yield "[]"


def _path(steps: list[str]) -> str:
    return ".".join(steps).replace(".[]", "[]")


def _built(steps: list[str], at: int) -> Any:
    """What stands at the first `at` steps."""
    here = _path(steps[:at])
    if at == len(steps):
        return _value(here)
    step = steps[at]
    inside = _built(steps, at + 1)
    if step == "[]":
        return [inside]
    if step == "*":
        names = _NAMES if at == 1 else _INNER
        return {names[steps[at - 1]]: inside}
    return {**_beside(here, _path(steps)), step: inside}


def _beside(here: str, key: str) -> dict[str, Any]:
    if here == "services.*.volumes[]":
        kind = next((kind for kind in _KINDS if key.startswith(f"services.*.{kind}")), "")
        return _KINDS.get(kind, _BESIDE[here])
    if here in ("secrets.*", "configs.*"):
        word = key.removeprefix(f"{here}.").partition(".")[0]
        if word == "name":
            return {"external": True}
        return {} if word in ("content", "environment", "external", "file") else _BESIDE[here]
    return _BESIDE.get(here, {})


def _value(key: str) -> Any:
    own, word = key.removeprefix("services.*."), key.rpartition(".")[2]
    if key in _TOP:
        return _TOP[key]
    if own != key and own in _OF_SERVICE:
        return _OF_SERVICE[own]
    if word in _LISTS:
        return ["x"]
    if word in _MAPPINGS:
        return {"a": "b"}
    below = next((each.removeprefix(f"{key}.") for each in keys() if each.startswith(f"{key}.")), None)
    if below is None:
        return ["x"] if any(each.startswith(f"{key}[]") for each in keys()) else "x"
    return {below.split(".")[0].removesuffix("[]"): "x"}


def file_with(key: str, *, process: bool) -> dict[str, Any]:
    """The smallest file with this key: what it refers to is there, and a service that uses it."""
    own = sample(key)
    services = own.pop("services", {})
    web: dict[str, Any] = {"command": ["x"], "x-kato": {"runtime": "process"}} if process else {}
    if not process and not key.startswith("services.*.build"):
        web = {"image": "busybox"}
    if (section := key.partition(".")[0]) in _USES:
        web[section] = _USES[section]
    needed: dict[str, Any] = {"networks": {"n": None}, "volumes": {"v": None}}
    needed |= {kind: {kind[0]: {"environment": "V"}} for kind in ("secrets", "configs") if kind in key}
    more = {
        "other": {"command": ["other"], "labels": {"of": "other"}},
        "web": {**web, **services.pop("web", {})},
        **services,
    }
    return {"services": more, **needed, **own}


def text_of(data: dict[str, Any]) -> str:
    """YAML, in which each key of a service and each of the file has a line of its own."""
    lines = ["services:"]
    for name, service in data.get("services", {}).items():
        lines += [f"  {name}:", *(f"    {key}: {json.dumps(value)}" for key, value in service.items())]
    return "\n".join(
        [*lines, *(f"{key}: {json.dumps(value)}" for key, value in data.items() if key != "services")]
    )


def without(data: dict[str, Any], key: str) -> dict[str, Any]:
    """The same file without the last step of the key."""
    copy: dict[str, Any] = json.loads(json.dumps(data))
    *steps, last = _steps(key)
    here: Any = copy
    for n, step in enumerate(steps):
        names = _NAMES if n == 1 else _INNER
        here = here[0] if step == "[]" else here[names[steps[n - 1]] if step == "*" else step]
    here.pop(last)
    return copy
