"""Why an attempt is not started."""

from __future__ import annotations

from reconciler import errors
from reconciler.core import observed


class CannotStart(errors.PerdureError):
    """The attempt ends before its program began. Raised by the steps before the start."""

    def __init__(self, message: str, *, fatal: bool = False, damaged: str = "") -> None:
        super().__init__(message)
        self.exit = observed.Exit(kind=observed.ExitKind.NOT_STARTED, detail=message, fatal=fatal, damaged=damaged)


class Superseded(CannotStart):
    """Another agent has claimed the attempt's number: a host that lost its data directory, or one that was replaced.

    It may have run there, so its outcome is unknown, and another attempt may follow.
    """

    def __init__(self) -> None:
        detail = "superseded: an agent that is not this one has claimed the attempt, and may have run it"
        super().__init__(detail)
        self.exit = observed.Exit(kind=observed.ExitKind.UNKNOWN, detail=detail)


def exit_of(error: errors.PerdureError) -> observed.Exit | None:
    """Return the end that an error means before the start; None when trying again may help."""
    if isinstance(error, CannotStart):
        return error.exit
    if isinstance(error, errors.Unavailable | errors.Busy):
        return None
    here = isinstance(error, errors.KeyMissing)  # this host's lack: another has the key, or somebody puts it here
    return observed.Exit(kind=observed.ExitKind.NOT_STARTED, detail=error.line, fatal=not here)
