"""Every benchmark runs in turn; their JSON lines come out as they are made, and at the end a table of all figures.

python -m bench [NAME ...]. BENCH_SHORT=1 runs every case fewer times. The exit code tells whether all of them ran,
not whether the figures are good.
"""

import json
import os
import subprocess
import sys
import time
from typing import Any, NamedTuple

from bench.figures import ROOT, SHORT, about

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
    "simulation": [],
}
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
    for name in names or BENCHES:
        began = time.perf_counter()
        lines, code = run(name)
        rows += [row for line in lines for row in table(name, line)]
        if code:
            broken.append(f"{name} ended with exit code {code}")
        print(f"bench: {name} took {time.perf_counter() - began:.0f} s", file=sys.stderr)
    print()
    print(f"{about()['machine']}, Python {about()['python']}, commit {about()['commit']}", end="")
    print(", short runs" if SHORT else "")
    show(rows)
    for each in broken:
        print(f"bench: {each}", file=sys.stderr)
    return 1 if broken else 0


def run(name: str) -> tuple[list[dict[str, Any]], int]:
    """One benchmark in a process of its own: its lines, printed as they come, and its exit code."""
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
        target = f"<= {line['target']:g}" if line.get("target") is not None else ""
        return [Row(line["figure"], by, target, seen + missed(line["median"], line.get("target")))]
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


def missed(seen: float, target: float | None) -> str:
    return "  MISSED" if target is not None and seen > target else ""


def show(rows: list[Row]) -> None:
    """The table, as wide as its words."""
    heads = Row("figure", "by", "target", "seen: median (min to max)")
    widths = [max(len(row[n]) for row in (heads, *rows)) for n in range(4)]
    for row in (heads, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
