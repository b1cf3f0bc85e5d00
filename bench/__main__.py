"""Every benchmark runs in turn; their JSON lines come out as they are made, and at the end a table of all figures.

python -m bench [NAME ...]. SHORT=1 runs every case fewer times, and what mostly waits side by side. The exit code
tells whether every figure that is promised came out and no request failed; how long anything took is not judged.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from bench.figures import OURS, ROOT, SHORT, about

Lines = list[dict[str, Any]]

BENCHES = {
    "decide": [],
    "voting": [],
    "healing": [],
    "upgrade": [],
    "supervisors": [],
    "keeper": ["30", "50"] if SHORT else ["100", "200"],
    "balancer": ["50"] if SHORT else ["200"],
    "store": [],
    "api": ["--seconds", "1"] if SHORT else ["--seconds", "3"],
    "containers": [],
    "names": [],
    "crowd": [],
    "simulation": [],
}
PROMISED = {
    "decide": ["decide_50k", "decide_100k_one_change", "drill_10k"],
    "voting": ["up_voting_serving", "idle_memory_cell", "idle_cpu", "heal_voting_results"],
    "healing": ["heal_old"],
    "upgrade": ["upgrade_keepalive_failed", "upgrade_fresh_failed", "upgrade_posts_failed"],
    "supervisors": ["keeper_pss", "keeper_pss_alone"],
    "api": ["api_apps", "api_writes_p99", "kato_ls"],
    "containers": ["start_containers", "start_container", "heal_container"],
    "names": ["dns_answer", "dns_answer_edns", "dns_change_gone", "dns_change_healthy"],
}
"""The figures of docs/promises.md."""
ALONE = "upgrade"
"""Counts failed requests: on a machine that is busy with others some would take too long, and count as failed."""
ASIDE = {
    "bench",
    "what",
    "figure",
    "by",
    "machine",
    "python",
    "commit",
    "seed",
    "load",
    "apps",
    "tasks",
    "clients",
    "leaders",
}


class Row(NamedTuple):
    """One line of the table."""

    figure: str
    by: str
    target: str
    seen: str


def main(names: list[str]) -> int:
    if unknown := set(names) - set(BENCHES):
        print(f"There is no benchmark {min(unknown)!r}; there are {', '.join(BENCHES)}.", file=sys.stderr)
        return 2
    rows: list[Row] = []
    broken = []
    for name, lines, code in measured(names or list(BENCHES)):
        rows += [row for line in lines for row in table(name, line)]
        broken += [f"{name} ended with exit code {code}"] if code else []
        broken += faults(name, lines)
    print()
    print(f"{about()['machine']}, Python {about()['python']}, commit {about()['commit']}", end="")
    print(", short runs" if SHORT else "")
    show(rows)
    for each in broken:
        print(f"bench: {each}", file=sys.stderr)
    return 1 if broken else 0


def measured(names: Sequence[str]) -> Iterator[tuple[str, Lines, int]]:
    """Each one's name, lines and exit code: one after another; short, all at once but the one that runs alone."""
    groups = [[name for name in names if (name == ALONE) == alone] for alone in (False, True)]
    for group in filter(None, groups if SHORT else [[name] for name in names]):
        with ThreadPoolExecutor(len(group)) as pool:
            yield from ((name, *found) for name, found in zip(group, pool.map(run, group), strict=True))


def faults(name: str, lines: Lines) -> list[str]:
    """What was promised and did not come out, and every count of requests that is beyond its target."""
    ours = {line.get("figure"): line for line in lines if line.get("by", OURS) == OURS and "absent" not in line}
    counted = [line for line in ours.values() if line.get("unit") == "requests" and line["target"] is not None]
    return [f"{name}: {figure} did not come out" for figure in PROMISED.get(name, []) if figure not in ours] + [
        f"{name}: {line['figure']} is {line['max']:g}, and may be {line['target']:g}"
        for line in counted
        if line["max"] > line["target"]
    ]


def run(name: str) -> tuple[Lines, int]:
    """One benchmark in a process of its own: its lines, printed as they come, and its exit code."""
    began = time.perf_counter()
    words = [sys.executable, "-m", f"bench.{name}", *BENCHES[name]]
    paths = [str(ROOT / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    lines = []
    with subprocess.Popen(words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            if line.startswith("{"):
                lines.append(json.loads(line))
    print(f"bench: {name} took {time.perf_counter() - began:.0f} s", file=sys.stderr)
    return lines, process.returncode


def table(name: str, line: dict[str, Any]) -> list[Row]:
    """The rows of one line: a figure with its spread, or several numbers that a benchmark says at once."""
    by = line.get("by", "kato")
    if "absent" in line:
        return [Row(line["figure"], by, "", f"not installed ({line['absent']})")]
    if "median" in line:
        seen = f"{line['median']:g} {line['unit']}"
        if line["n"] > 1:
            seen += f" ({line['min']:g} to {line['max']:g}, n={line['n']})"
        rate = line["unit"].endswith("/s")
        target = f"{'>=' if rate else '<='} {line['target']:g}" if line.get("target") is not None else ""
        return [Row(line["figure"], by, target, seen + missed(line["median"], line.get("target"), rate))]
    if "seconds" in line:
        limit = line.get("limit")
        seen = f"{line['seconds']:g} s{missed(line['seconds'], limit)}"
        return [Row(line["figure"], by, f"<= {limit:g}" if limit is not None else "", seen)]
    if "per_second" in line:
        return [Row(line["what"], by, "", f"{line['per_second']:g} requests/s, p99 {line['p99_ms']:g} ms")]
    return [Row(f"{name} {key}", by, "", f"{value:g}") for key, value in line.items() if counts(key, value)]


def counts(key: str, value: object) -> bool:
    """Whether it is a figure and not what it is about."""
    return key not in ASIDE and isinstance(value, int | float)


def missed(seen: float, target: float | None, rate: bool = False) -> str:
    return "  MISSED" if target is not None and (seen < target if rate else seen > target) else ""


def show(rows: list[Row]) -> None:
    """The table, as wide as its words."""
    heads = Row("figure", "by", "target", "seen: median (min to max)")
    widths = [max(len(row[n]) for row in (heads, *rows)) for n in range(4)]
    for row in (heads, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
