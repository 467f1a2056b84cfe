"""Secrets by name, from files that only root or the agent can read. A value is never part of a message or of a command."""

from __future__ import annotations

import os
import re
import shlex
import stat
from collections.abc import Iterable
from pathlib import Path

from reconciler import errors

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
MOST = 64 * 1024
"""Bytes of one secret: what an environment holds with room to spare."""


def read(folder: Path, tenant: str, names: Iterable[str]) -> dict[str, str]:
    """Return the values by name. FOLDER/TENANT/NAME belongs to one tenant, FOLDER/NAME to all of them.

    One newline at the end of a file is not part of the value. Raises `errors.Refused` naming the first secret that is missing
    or empty, or whose file others could read or change.
    """
    return {name: _value(folder, tenant, name) for name in names}


def _value(folder: Path, tenant: str, name: str) -> str:
    if not NAME.fullmatch(name) or name.startswith("PERDURE_"):
        raise errors.Refused(f"{name!r} cannot be the name of a secret", remedy="Use the name of an environment variable.")
    own = folder / tenant / name if tenant and NAME.fullmatch(tenant.replace("-", "_")) else None
    path = own if own is not None and os.path.lexists(own) else folder / name
    for parent in {folder, path.parent}:
        _check_folder(parent, name)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise errors.Refused(
            f"the secret {name} is missing on this host",
            where=str(path),
            remedy=f"Put its value there: install -d -m 700 {shlex.quote(str(path.parent))} && {_written(path)}",
        ) from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise errors.Refused(
                f"what lies in the place of the secret {name} is no plain file",
                where=str(path),
                remedy=f"Move it away, and put the value there: {_written(path)}",
            )
        if status.st_uid not in (0, os.geteuid()) or status.st_mode & 0o077:
            raise _loose(path, status, f"the file of the secret {name}", "chmod 600")
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(MOST + 1)
    finally:
        os.close(descriptor)
    if len(data) > MOST or b"\0" in data:
        raise errors.Refused(
            f"the secret {name} cannot be an environment variable: it is longer than {MOST >> 10} KiB, or has a NUL",
            where=str(path),
            remedy="Put its value there again; keep large ones in files of the program's own.",
        )
    if data in (b"", b"\n"):  # what a full disk or an unset variable leaves
        raise errors.Refused(f"the secret {name} is empty", where=str(path), remedy=f"Put its value there: {_written(path)}")
    try:
        return data.decode().removesuffix("\n")
    except UnicodeDecodeError:
        raise errors.Refused(
            f"the secret {name} is not UTF-8 text",
            where=str(path),
            remedy="Put its value there again; encode bytes, say in base64.",
        ) from None


def _check_folder(folder: Path, name: str) -> None:
    try:
        status = folder.stat()
    except OSError:
        return  # the missing file is what will be told
    if status.st_uid not in (0, os.geteuid()) or status.st_mode & 0o022:
        raise _loose(folder, status, f"the folder of the secret {name}", "chmod 700")


def _written(path: Path) -> str:
    """Return the command that takes the value from stdin."""
    return f"install -m 600 /dev/stdin {shlex.quote(str(path))}"


def _loose(path: Path, status: os.stat_result, what: str, command: str) -> errors.Refused:
    quoted = shlex.quote(str(path))
    owned = status.st_uid in (0, os.geteuid())
    return errors.Refused(
        f"{what} must belong to root or the agent's user, and to nobody else",
        where=str(path),
        remedy=f"{command} {quoted}" if owned else f"chown root {quoted} && {command} {quoted}",
    )
