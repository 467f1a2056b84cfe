"""A program that fails twice before it works: what a retry budget is for."""

from __future__ import annotations

import os

if __name__ == "__main__":
    attempt = int(os.environ.get("PERDURE_ATTEMPT", "1"))
    if attempt < 3:
        raise SystemExit(f"attempt {attempt}: the service was not ready")
    print(f"attempt {attempt}: it worked", flush=True)
