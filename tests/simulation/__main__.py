"""Run seeds from the command line: `python -m tests.simulation [--seed N [-v]] [--seeds FROM:TO] [--count]`."""

from __future__ import annotations

import argparse
import collections
import sys
import time

from tests.simulation import seed as seeds
from tests.simulation import tour


def main() -> int:
    """Run what was asked for; return 1 when a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description="The crash simulation.")
    parser.add_argument("--seed", type=int, help="run one seed")
    parser.add_argument("--seeds", default="0:100", help="run a range of seeds, FROM:TO")
    parser.add_argument("--tour", action="store_true", help="go through every point of the tour")
    parser.add_argument("--count", action="store_true", help="say how many points the tour has")
    parser.add_argument("-v", "--verbose", action="store_true", help="print every step")
    asked = parser.parse_args()
    if asked.count:
        return _count()
    first, last = (asked.seed, asked.seed + 1) if asked.seed is not None else map(int, asked.seeds.split(":"))
    runs = map(tour.walk, tour.points()) if asked.tour else map(seeds.run, range(first, last))
    began, done, broken = time.monotonic(), 0, 0
    for outcome in runs:
        done += 1
        broken += bool(outcome.broken)
        if asked.verbose:
            print(seeds.tell(outcome.trace))
        if outcome.broken:
            print(outcome.broken if asked.verbose else outcome)
    print(f"{done} runs, {broken} broken, {time.monotonic() - began:.1f} s", file=sys.stderr)
    return 1 if broken else 0


def _count() -> int:
    points = tour.points()
    kinds = collections.Counter(
        f"{'commit' if point.cut else point.what.partition(':')[0].rstrip('0123456789')}: "
        f"{point.fate.value if point.fate else point.cut.what if point.cut else ''}"
        for point in points
    )
    for kind, count in sorted(kinds.items()):
        print(f"{count:6}  {kind}")
    print(f"{len(points):6}  points in all")
    return 0


if __name__ == "__main__":
    sys.exit(main())
