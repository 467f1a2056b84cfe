"""Who runs the jobs: an unprivileged user when the agent is root, else the agent's own user."""

from __future__ import annotations

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

from reconciler import errors

DEFAULT = "nobody"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A user other than the agent's own."""

    name: str
    uid: int
    gid: int

    @property
    def pair(self) -> tuple[int, int]:
        """User and group."""
        return self.uid, self.gid


def resolve(name: str) -> Account | None:
    """Return the account that runs jobs; None when the agent is not root: jobs then run as the agent's own user.

    Raises `errors.UsageError` for an unknown user and for root: jobs never run as root.
    """
    if os.geteuid() != 0:
        return None
    name = name or DEFAULT
    try:
        entry = pwd.getpwnam(name)
    except KeyError as error:
        raise errors.UsageError(
            f"there is no user {name!r} to run jobs as",
            remedy="Create it (useradd --system), or name another one: --user, or `agents.user` of the embedded agent.",
        ) from error
    if entry.pw_uid == 0:
        raise errors.UsageError(
            "jobs never run as root", remedy="Name an unprivileged user: --user, or `agents.user` of the embedded agent."
        )
    return Account(name=name, uid=entry.pw_uid, gid=entry.pw_gid)


def own_name() -> str:
    """Return the name of the agent's own user; a number where it has none."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def own(path: Path, account: Account | None) -> None:
    """Give a file or folder to the account; links are not followed."""
    if account is not None:
        os.chown(path, account.uid, account.gid, follow_symlinks=False)


def own_tree(root: Path, account: Account | None) -> None:
    """Give a folder and everything below it to the account. Only for trees that nobody else can reach meanwhile."""
    if account is None:
        return
    own(root, account)
    for folder, folders, files in os.walk(root):
        for name in [*folders, *files]:
            own(Path(folder) / name, account)


def can_enter(path: Path, account: Account | None) -> bool:
    """Whether the account may pass through every folder up to and including `path`."""
    return account is None or all(_passes(folder, account) for folder in [path, *path.parents])


def _passes(folder: Path, account: Account) -> bool:
    try:
        status = folder.stat()
    except FileNotFoundError:
        return True  # made by us, later
    if status.st_uid == account.uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == account.gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)
