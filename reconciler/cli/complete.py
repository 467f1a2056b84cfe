"""Completion of job names, from a file that every look and every pass leaves in the data directory: no server is asked."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import click

from reconciler import errors

NAME = "names"


def jobs(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001 - what click wants
    """Return the known names that begin like `incomplete`."""
    from reconciler.cli import compose, options

    try:
        settings = compose.settings(ctx.obj if isinstance(ctx.obj, options.Flags) else options.Flags())
        known = (compose.data(settings) / NAME).read_text(encoding="utf-8").splitlines()
    except (errors.PerdureError, OSError, UnicodeDecodeError):
        return []
    return [name for name in known if name.startswith(incomplete)]


def remember(data: Path, names: Iterable[str]) -> None:
    """Leave the names for completion. It is a convenience: failing to is no error."""
    content = "".join(f"{name}\n" for name in names).encode()
    path = data / NAME
    with suppress(OSError):
        if not path.exists() or path.read_bytes() != content:
            aside = path.with_name(f".{NAME}.{os.getpid()}")
            with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as file:
                file.write(content)
            os.replace(aside, path)
