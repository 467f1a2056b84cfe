"""Run as `python -I -S …/agent/supervisor FOLDER`: isolated from the user's site packages, which it does not need."""

from __future__ import annotations

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from agent.supervisor import watch

if __name__ == "__main__":
    # Whatever the agent's process had open and did not close for us (a listening socket, say) must not live on in us.
    os.closerange(3, max((int(name) for name in os.listdir("/dev/fd")), default=3) + 1)
    try:
        sys.exit(watch.Supervisor(sys.argv[1]).run())
    except OSError as error:
        sys.exit(f"{error.filename}: {error.strerror}" if error.filename else str(error))
