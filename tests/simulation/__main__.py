"""Run seeds from the command line: `python -m tests.simulation [--seed N [-v]] [--seeds FROM:TO]`."""

from __future__ import annotations

import argparse
import sys
import time

from tests.simulation import seed as seeds


def main() -> int:
    """Run what was asked for; return 1 when a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description="The crash simulation.")
    parser.add_argument("--seed", type=int, help="run one seed")
    parser.add_argument("--seeds", default="0:100", help="run a range of seeds, FROM:TO")
    parser.add_argument("-v", "--verbose", action="store_true", help="print every step")
    asked = parser.parse_args()
    first, last = (asked.seed, asked.seed + 1) if asked.seed is not None else map(int, asked.seeds.split(":"))
    began, broken = time.monotonic(), 0
    for number in range(first, last):
        outcome = seeds.run(number)
        broken += bool(outcome.broken)
        if asked.verbose:
            print(seeds.tell(outcome.trace))
        if outcome.broken:
            print(f"seed {number}: {outcome.broken}" if asked.verbose else outcome)
    print(f"{last - first} seeds, {broken} broken, {time.monotonic() - began:.1f} s", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
