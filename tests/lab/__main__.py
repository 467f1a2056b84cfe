"""Builds what the lab needs and is slow to make: `python -m tests.lab [--when-able]`.

Exits with 1 where it cannot; with --when-able only under CI=true, so that `make test` skips the lab's tests elsewhere.
"""

from __future__ import annotations

import os
import sys

from tests.lab import ability, cache, guest, seed


def main(arguments: list[str]) -> int:
    """Builds, or says why not and what mends it."""
    try:
        built = cache.ensure(cache.tell)
        seed.ensure(built)
        guest.ensure(built, cache.tell)
        cache.prune()
    except ability.LabUnable as error:
        print(f"perdure: no lab: {error}", file=sys.stderr)
        return int("--when-able" not in arguments or os.environ.get("CI") == "true")
    if "--when-able" not in arguments:
        print(f"perdure: the lab is ready in {built.place}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
