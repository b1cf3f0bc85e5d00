"""Measurements flow in; JSON lines flow out, each with its spread, machine, commit, seed and load.

With SHORT=1 there are fewer runs of every case, and no case is left out.
"""

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHORT = bool(os.environ.get("SHORT"))
OURS = "kato"


def say(
    figure: str,
    unit: str,
    runs: Sequence[float],
    *,
    by: str = OURS,
    target: float | None = None,
    seed: int | None = None,
    **more: object,
) -> None:
    """Prints one figure. target: what the median may be at most; of a rate (`…/s`), what it must be at least.
    by: who was measured, Káto or a rival.
    """
    print(
        json.dumps(
            {
                "figure": figure,
                "by": by,
                "unit": unit,
                "median": rounded(statistics.median(runs)),
                "min": rounded(min(runs)),
                "max": rounded(max(runs)),
                "n": len(runs),
                "target": target,
                "runs": [rounded(run) for run in runs],
                **more,
                **about(),
                "seed": seed,
                "load": os.getloadavg()[0],
            }
        ),
        flush=True,
    )


def absent(figure: str, by: str, remedy: str) -> None:
    """Says that a rival could not be measured."""
    print(json.dumps({"figure": figure, "by": by, "absent": remedy, **about()}), flush=True)


def rounded(value: float) -> float:
    """Four digits are what a measurement is worth."""
    return float(f"{value:.4g}")


@cache
def about() -> dict[str, object]:
    """Where, and of which commit; `+` where the sources differ from it."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    same = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", "src"], cwd=ROOT, check=False).returncode == 0
    return {
        "machine": f"{platform.machine()} Linux {platform.release()}, {os.cpu_count()} cores, {_processor()}",
        "python": platform.python_version(),
        "commit": commit + ("" if same else "+"),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"
