"""`python -m reconciler.cli`: the same as `perdure`."""

from __future__ import annotations

from reconciler.cli import main

main.main()
