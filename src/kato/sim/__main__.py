"""`python -m kato.sim --seeds 200`: runs the simulation for many seeds, and prints a line for each that breaks."""

import argparse
import sys
import time
import traceback

from kato.sim import simulate


def main() -> int:
    """The number of seeds that broke a promise, as the exit code (at most 100)."""
    parser = argparse.ArgumentParser(prog="python -m kato.sim", description="Simulate cells, seed by seed.")
    parser.add_argument("--seed", type=int, help="one seed, with Káto's log")
    parser.add_argument("--seeds", type=int, default=200, help="how many seeds, from --first on")
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=10.0, help="of faults, on virtual time")
    parser.add_argument("--machines", type=int, default=3)
    given = parser.parse_args()
    seeds = [given.seed] if given.seed is not None else range(given.first, given.first + given.seeds)
    broken = 0
    began = time.perf_counter()
    for seed in seeds:
        try:
            report = simulate(seed, minutes=given.minutes, machines=given.machines, log=given.seed is not None)
            print(report, flush=True)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            broken += 1
            print(f"seed {seed} broke: {error!r}", flush=True)
            if given.seed is not None:
                traceback.print_exc()
    print(f"{len(seeds)} seeds, {broken} broken, {time.perf_counter() - began:.1f} s")
    return min(broken, 100)


if __name__ == "__main__":
    sys.exit(main())
