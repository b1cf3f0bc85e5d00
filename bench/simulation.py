"""Seeds go in; simulated seconds for each real second come out. A seed that breaks a promise ends it.

python -m bench.simulation [FIRST]
"""

import logging
import sys
import time

import structlog

from bench.figures import SHORT, say
from kato.sim import simulate

SEEDS = 3 if SHORT else 8


def main(first: int) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    speeds, revisions = [], 0
    for seed in range(first, first + SEEDS):
        began = time.perf_counter()
        report = simulate(seed, minutes=3.0)
        speeds.append(report.seconds / (time.perf_counter() - began))
        revisions += report.revisions
    say("simulated_seconds", "seconds/s", speeds, seed=first, revisions=revisions, machines=3, faults="3 min")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
