"""Compose's words that Káto knows and does not keep: which are ignored, which are refused, and why."""

_ENGINE = (
    "is a container's, and a process on the host cannot have it; leave it out, or use x-kato: {runtime: docker}"
)
_LIMITS = "is an old word; use deploy.resources"
_LATER = "is not taken yet; leave it out"

WARNED = {
    "container_name": "tasks have names of their own, and there may be several",
    "hostname": "a process has its machine's name",
    "platform": "a process runs as the host does",
    "pull_policy": "a process has no image",
}
"""Keys of a service that lose nothing by being ignored, and why."""

_OLD_LIMITS = dict.fromkeys(
    (
        "cpu_count",
        "cpu_percent",
        "cpu_period",
        "cpu_quota",
        "cpu_shares",
        "cpus",
        "cpuset",
        "mem_limit",
        "mem_reservation",
        "mem_swappiness",
        "memswap_limit",
        "pids_limit",
    ),
    _LIMITS,
)
_NOT_YET = {
    **dict.fromkeys(("develop", "label_file", "models", "post_start", "pre_stop", "provider"), _LATER),
    "links": "is an old word; use depends_on, and the variables <NAME>_HOST and <NAME>_PORT",
    "logging": "cannot be chosen: Káto keeps a task's output, see kato logs; leave it out",
}

REFUSED = {
    **dict.fromkeys(
        (
            "networks",
            "privileged",
            "cap_add",
            "cap_drop",
            "cgroup",
            "cgroup_parent",
            "credential_spec",
            "device_cgroup_rules",
            "devices",
            "dns",
            "dns_opt",
            "dns_search",
            "domainname",
            "external_links",
            "extra_hosts",
            "gpus",
            "group_add",
            "init",
            "ipc",
            "isolation",
            "mac_address",
            "network_mode",
            "oom_kill_disable",
            "oom_score_adj",
            "pid",
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
            "volumes_from",
        ),
        _ENGINE,
    ),
    **_OLD_LIMITS,
    **_NOT_YET,
    "stop_signal": "cannot be chosen: a task is stopped by SIGTERM; leave it out",
}
"""Keys of a process that are known and refused, and why."""

REFUSED_CONTAINER = {
    **_OLD_LIMITS,
    **_NOT_YET,
    **dict.fromkeys(
        (
            "cgroup",
            "cgroup_parent",
            "credential_spec",
            "device_cgroup_rules",
            "external_links",
            "gpus",
            "isolation",
            "mac_address",
            "oom_kill_disable",
            "oom_score_adj",
            "platform",
            "runtime",
            "stdin_open",
            "storage_opt",
            "userns_mode",
            "uts",
            "volumes_from",
        ),
        _LATER,
    ),
    "container_name": "cannot be kept: tasks have names of their own, and there may be several; leave it out",
}
"""Keys of a service in a container that are known and refused, and why."""

REFUSED_PROJECT = {
    "models": _LATER,
    "x-kato": "belongs into a service; move it there",
}
"""Top-level keys that are known and refused, and why."""
