"""Run by criu at `post-dump`, when all images are written and the program still stands: asks whether it may end, or go on.

`python -IS hook.py SOCKET SECONDS`. Exit status 0: the checkpoint counts. Anything else (refused, nobody there, the asker
died, no answer in time) has CRIU undo what it did, and the program goes on. Standard library only: nothing of the agent's
environment may be missing here.
"""

from __future__ import annotations

import socket
import sys

YES = b"1"


def ask(path: str, seconds: float) -> bool:
    """Return whether the answer was yes."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(seconds)
        try:
            connection.connect(path)
            return connection.recv(1) == YES
        except OSError:
            return False


if __name__ == "__main__":
    sys.exit(0 if ask(sys.argv[1], float(sys.argv[2])) else 1)
