"""Compose's words that Káto knows and does not keep: which are ignored, which are refused, and why."""

_ENGINE = (
    "is a container's, and a process on the host cannot have it; leave it out, or use x-kato: {runtime: docker}"
)
_LIMITS = "is not taken: use deploy.resources, whose cpus become a share and a quota"
_LATER = "is not taken; leave it out"
_WINDOWS = "is for containers of Windows; leave it out"

_ALIKE = {
    "annotations": "only newer engines have them",
    "attach": "kato up tells what happens, not what is written; see kato logs",
    "develop": "kato up watches no files; run it again",
    "logging": "Káto keeps the output of tasks itself; see kato logs",
}
WARNED = {
    **_ALIKE,
    "container_name": "tasks have names of their own, and there may be several",
    "hostname": "a process has its machine's name",
    "platform": "a process runs as the host does",
    "pull_policy": "a process has no image",
}
"""Keys of a process that lose nothing by being ignored, and why."""
WARNED_CONTAINER = {
    **_ALIKE,
    "container_name": "tasks have names of their own, and there may be several; on its networks it is found by it",
}
"""The same of a service in a container."""

_ALWAYS = {
    **dict.fromkeys(("models", "provider", "use_api_socket"), _LATER),
    **dict.fromkeys(
        ("post_start", "pre_stop"), "is not taken: no command runs beside a start or stop; leave it out"
    ),
    **dict.fromkeys(("credential_spec", "cpu_count", "cpu_percent", "isolation"), _WINDOWS),
    **dict.fromkeys(("cpu_period", "cpu_quota", "cpu_rt_period", "cpu_rt_runtime", "cpu_shares"), _LIMITS),
    "blkio_config": "is not taken: reading and writing are not limited; leave it out",
    "external_links": "is not taken; join the network of that project, and name it with external: true",
    "gpus": "is not taken: Káto shares out no devices yet; leave it out",
    "mem_swappiness": "is not taken: a limit of memory leaves no swap; leave it out",
    "pull_refresh_after": "is not taken; use pull_policy: always, or kato up again",
    "volumes_from": "is not taken; name the volume in both services",
}
REFUSED = {
    **dict.fromkeys(
        (
            "cap_add",
            "cap_drop",
            "cgroup",
            "cgroup_parent",
            "cpuset",
            "device_cgroup_rules",
            "devices",
            "dns",
            "dns_opt",
            "dns_search",
            "domainname",
            "extra_hosts",
            "group_add",
            "init",
            "ipc",
            "mac_address",
            "memswap_limit",
            "network_mode",
            "networks",
            "oom_kill_disable",
            "oom_score_adj",
            "pid",
            "pids_limit",
            "privileged",
            "read_only",
            "runtime",
            "security_opt",
            "shm_size",
            "stdin_open",
            "storage_opt",
            "sysctls",
            "tmpfs",
            "tty",
            "ulimits",
            "userns_mode",
            "uts",
        ),
        _ENGINE,
    ),
    **_ALWAYS,
    "stop_signal": "cannot be chosen: a task is stopped by SIGTERM; leave it out",
}
"""Keys of a process that are known and refused, and why."""

REFUSED_CONTAINER = {
    **_ALWAYS,
    "mac_address": "is not taken: several tasks cannot share one; leave it out",
    "platform": "is not taken: an image is run for its node's own; leave it out",
}
"""Keys of a service in a container that are known and refused, and why."""

NEEDS_DAEMON = (
    "cgroup",
    "cgroup_parent",
    "cpuset",
    "device_cgroup_rules",
    "memswap_limit",
    "oom_kill_disable",
    "oom_score_adj",
    "pids_limit",
    "runtime",
    "stdin_open",
    "storage_opt",
    "userns_mode",
    "uts",
)
"""Keys of a service in a container that only Docker's engine can keep."""

REFUSED_PROJECT = {
    "models": _LATER,
    "x-kato": "belongs into a service; move it there",
}
"""Top-level keys that are known and refused, and why."""
