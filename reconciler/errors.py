"""What went wrong, where, and what to do next.

Every error a person can meet is one of these. The message says what happened; `where` names a file, a line, an object or a
server; `remedy` is the next step. Exceptions of foreign libraries are mapped to these once, at the edge of the adapter that
talks to the library, with the original chained.

    PerdureError
    ├── UsageError            the command line or the configuration is wrong
    ├── InvalidInput          manifests, plans, images or tokens that cannot be accepted
    ├── Unavailable           something outside does not answer now; trying again may help
    ├── Refused               something outside answered no; trying again will not help
    │   └── KeyMissing        a key is not on this machine; another may have it
    ├── Damaged               bytes we own are not what was written
    └── Busy                  another process holds what this one needs
"""

from __future__ import annotations

import errno

IN_ITS_PLACE = frozenset({errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ELOOP})
"""What a system says of a name where something else lies than the file or folder of ours that belongs there."""


class PerdureError(Exception):
    """Base of all expected errors; shown to people without a stack trace."""

    exit_code = 2

    def __init__(self, message: str, *, where: str = "", remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.remedy = remedy

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text}\n  {self.remedy}" if self.remedy else text

    @property
    def line(self) -> str:
        """The same in one line, as records, conditions and logs have it."""
        return str(self).replace("\n  ", ". ")


class UsageError(PerdureError):
    """The command line or the configuration is wrong."""


class InvalidInput(PerdureError):
    """A manifest, plan, image or token that cannot be accepted as it is."""


class Unavailable(PerdureError):
    """Something outside does not answer now; trying again later may help."""


class Refused(PerdureError):
    """Something outside answered no; trying the same again will not help."""


class KeyMissing(Refused):
    """A key that is needed is not on this machine: another may have it, and somebody can put it here."""


class Damaged(PerdureError):
    """Bytes that we own are incomplete or not what was written."""


class Busy(PerdureError):
    """Another process holds what this one needs (a lock, a directory, an attempt)."""


def incomplete(error: ImportError) -> PerdureError | None:
    """Return what to tell where a package is not what the lock asks for; None where the import is one of our own, a defect.

    A checkout was updated, and its environment was not.
    """
    package = (error.name or "").partition(".")[0]
    if package in ("", "reconciler", "agent"):
        return None
    return UsageError(
        f"the Python package {package} is missing here, or too old: {error}",
        remedy="Run `make setup` in the checkout; where perdure is installed by pip, install this version again.",
    )
