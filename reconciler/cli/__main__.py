"""`python -m reconciler.cli`, and what is installed as `perdure`."""

from __future__ import annotations

from reconciler.seams import beginning


def start() -> None:
    """Run `perdure` with the process's own arguments; never returns."""
    beginning.quietly()
    from reconciler.cli import main

    main.main()


if __name__ == "__main__":
    start()
