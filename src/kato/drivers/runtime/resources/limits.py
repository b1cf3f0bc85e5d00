"""A task's limits: an App's memory and cpus go in, what is written into its cgroups comes out. Pure.

Memory is a hard limit, swap included (`resourceLimits.mem` raises or lifts it). Cpus are a share, as Mesos has it:
1024 × cpus on cgroup v1, weight 100 × cpus on v2; only `resourceLimits.cpus` sets a hard quota. At most 4096
processes and threads a task, so that a fork bomb stays in its room.
"""

from kato.model.app import App
from kato.model.errors import DriverError

MAX_PIDS = 4096
PERIOD = 100_000
"""Microseconds in which a hard cpu quota is counted."""
OPTIONAL = ("memory.memsw.limit_in_bytes", "memory.swap.max")
"""Not there where the kernel does not count swap."""
MIB = 1 << 20
LEAST_QUOTA, MOST_QUOTA = 0.01, 1e6
"""Cpus: the kernel counts no hard quota below 1 ms in its period, and none far beyond any machine."""
MOST_SHARES = 1 << 18
"""Of cgroup v1, where the kernel ends counting."""
MOST_MEMORY = 1 << 62
"""Bytes: more than any machine has. The kernel takes a number with more digits for a smaller one."""


def settings(app: App, controller: str, version: int, pids: int = MAX_PIDS) -> tuple[tuple[str, str], ...]:
    """What is written into a task's cgroup: (file, value) in order. DriverError for what the kernel refuses."""
    if controller == "cpuacct":
        return ()
    if controller == "pids":
        return (("pids.max", str(pids)),)
    if controller == "memory":
        return _memory(app, version)
    quota = _quota(app)
    if version == 1:
        share = ("cpu.shares", str(min(MOST_SHARES, max(2, round(1024 * app.cpus)))))
        if quota is None:
            return (share,)
        return (share, ("cpu.cfs_period_us", str(PERIOD)), ("cpu.cfs_quota_us", str(quota)))
    weight = ("cpu.weight", str(min(10_000, max(1, round(100 * app.cpus)))))
    return (weight,) if quota is None else (weight, ("cpu.max", f"{quota} {PERIOD}"))


def _quota(app: App) -> int | None:
    """The hard quota in microseconds of a period; None for none. DriverError for what the kernel does not take."""
    limit = (app.resource_limits or {}).get("cpus")
    if limit is None or isinstance(limit, str):
        return None
    if not LEAST_QUOTA <= limit <= MOST_QUOTA:
        raise DriverError(
            f"Its resourceLimits.cpus is {limit:g}, and the kernel takes {LEAST_QUOTA:g} to {MOST_QUOTA:g}. "
            'Write a number in this range, or "unlimited".'
        )
    return round(limit * PERIOD)


def memory_limit(app: App) -> float | None:
    """MiB that the task may use at most; None for no limit."""
    asked = (app.resource_limits or {}).get("mem", app.mem)
    if isinstance(asked, str):
        return None
    return max(asked, app.mem) or None


def _memory(app: App, version: int) -> tuple[tuple[str, str], ...]:
    limit = memory_limit(app)
    if limit is None:
        return ()
    size = str(round(min(limit * MIB, MOST_MEMORY)))
    if version == 1:
        return (("memory.limit_in_bytes", size), ("memory.memsw.limit_in_bytes", size))
    return (("memory.max", size), ("memory.swap.max", "0"))
