"""What a container may not ask of the kernel: its capabilities flow in; the runtime's filter comes out, as data.

What Docker's default profile keeps from containers (its documentation names each call and why) is kept from them
here: what reaches beyond the container, is old, or widens what can be attacked. Everything else is allowed: a list
of what is forbidden needs no change for each program and kernel that comes.
"""

import platform
from collections.abc import Collection, Mapping
from typing import Any

Filter = dict[str, Any]

_EPERM, _ENOSYS = 1, 38
ALWAYS = (
    "add_key",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "keyctl",
    "migrate_pages",
    "move_pages",
    "nfsservctl",
    "request_key",
    "sysfs",
    "_sysctl",
    "uselib",
    "userfaultfd",
    "ustat",
    "vm86",
    "vm86old",
)
"""Nobody may ask for these."""
UNLESS: Mapping[str, tuple[str, ...]] = {
    "SYS_ADMIN": (
        "bpf",
        "fanotify_init",
        "fsconfig",
        "fsmount",
        "fsopen",
        "fspick",
        "lookup_dcookie",
        "mount",
        "mount_setattr",
        "move_mount",
        "open_tree",
        "perf_event_open",
        "pivot_root",
        "quotactl",
        "quotactl_fd",
        "setdomainname",
        "sethostname",
        "setns",
        "swapoff",
        "swapon",
        "umount",
        "umount2",
        "unshare",
    ),
    "DAC_READ_SEARCH": ("open_by_handle_at",),
    "SYS_BOOT": ("kexec_file_load", "kexec_load", "reboot"),
    "SYS_MODULE": (
        "create_module",
        "delete_module",
        "finit_module",
        "get_kernel_syms",
        "init_module",
        "query_module",
    ),
    "SYS_NICE": ("get_mempolicy", "mbind", "set_mempolicy", "set_mempolicy_home_node"),
    "SYS_PACCT": ("acct",),
    "SYS_PTRACE": ("kcmp", "pidfd_getfd"),
    "SYS_RAWIO": ("ioperm", "iopl"),
    "SYS_TIME": ("clock_adjtime", "clock_adjtime64", "clock_settime", "clock_settime64", "settimeofday", "stime"),
    "SYS_TTY_CONFIG": ("vhangup",),
    "SYSLOG": ("syslog",),
}
"""What is forbidden to who lacks a capability, which the kernel would mostly refuse as well."""
_NAMESPACES = 0x7E020000
"""The flags of clone(2) that make namespaces."""
_ARCHITECTURES = {
    "x86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"),
    "aarch64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
}


def profile(capabilities: Collection[str], machine: str | None = None) -> Filter | None:
    """The filter; None on a processor whose calls nobody has looked at here."""
    known = _ARCHITECTURES.get(machine or platform.machine())
    if known is None:
        return None
    names = {*ALWAYS}
    names |= {name for capability, calls in UNLESS.items() if capability not in capabilities for name in calls}
    rules: list[Filter] = [{"names": sorted(names), "action": "SCMP_ACT_ERRNO", "errnoRet": _EPERM}]
    if "SYS_ADMIN" not in capabilities:
        # clone3 takes its flags where no filter can look; libc takes clone where there is no clone3.
        rules.append({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": _ENOSYS})
        for bit in (1 << n for n in range(32) if _NAMESPACES >> n & 1):
            flag = {"index": 0, "value": bit, "valueTwo": bit, "op": "SCMP_CMP_MASKED_EQ"}
            rules.append({"names": ["clone"], "action": "SCMP_ACT_ERRNO", "errnoRet": _EPERM, "args": [flag]})
    return {"defaultAction": "SCMP_ACT_ALLOW", "architectures": list(known), "syscalls": rules}
