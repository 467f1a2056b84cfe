"""Run in a node: commands in turn, each timed. `python -m tests.bench.interposer_worker ROUNDS COMMANDS`, these as JSON."""

from __future__ import annotations

import json
import subprocess
import sys
import time


def main(rounds: int, commands: list[list[str]]) -> list[list[float]]:
    """Return the seconds of each command, round by round; who goes first changes from round to round."""
    taken: list[list[float]] = [[] for _ in commands]
    for one in range(rounds):
        order = list(range(len(commands)))
        for index in order if one & 1 else reversed(order):
            began = time.perf_counter()
            subprocess.run(commands[index], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            taken[index].append(time.perf_counter() - began)
    return taken


if __name__ == "__main__":
    json.dump(main(int(sys.argv[1]), json.loads(sys.argv[2])), sys.stdout)
