"""`python -m agent`, and what is installed as `perdure-agent`."""

from __future__ import annotations

from reconciler.seams import beginning


def start() -> None:
    """Run `perdure-agent` with the process's own arguments; never returns."""
    beginning.quietly()
    from agent import cli

    cli.main()


if __name__ == "__main__":
    start()
