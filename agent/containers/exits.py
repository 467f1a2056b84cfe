"""How an attempt's container ended: rules in order, the first that applies wins. Pure."""

from __future__ import annotations

import signal

from agent.containers import books, seam
from reconciler.core import observed, spec

Kind = observed.ExitKind

FIRST, LAST = 129, 128 + 64
"""Exit statuses by which an engine tells of a signal."""
KILLED = 128 + signal.SIGKILL
"""What an engine says of a container that its own checkpoint ended."""

PAST_US = "its engine has begun it from its beginning, past perdure-runc, and it was ended. Run `perdure-agent install`"


def ends(taken: observed.Taken, record: books.Record) -> bool:
    """Whether a container ends with this checkpoint: what it did afterwards, if anything, is not part of the run."""
    return taken.purpose in spec.ENDING or (taken.request != "" and taken.request == record.served)


def decide(detail: seam.Detail | None, record: books.Record, *, saved: bool) -> observed.Exit:
    """Return how it ended. `detail` is None where the engine does not know the container any more; `saved`: a checkpoint
    after which it was to end is in the store."""
    if record.ending is books.Ending.PAST_US:
        return observed.Exit(kind=Kind.NOT_STARTED, detail=PAST_US)
    unseen = detail is None or not detail.witnessed
    if saved and (detail is None or unseen or detail.code == KILLED):
        return observed.Exit(kind=Kind.SIGNALED, signal=9, detail="ended by its own checkpoint", stopped=True)
    stopped = record.ending in (books.Ending.STOP, books.Ending.ENGINE)
    if detail is None or unseen:
        why = "its container was removed" if detail is None else "its container engine was away"
        if detail is not None and detail.error:
            why = "somebody has told its container engine to start it again"
        return observed.Exit(kind=Kind.UNKNOWN, detail=f"{why}, and nobody saw how it ended", stopped=stopped)
    number = detail.code - 128 if FIRST <= detail.code <= LAST else None
    code = detail.code if number is None else None
    if record.ending is books.Ending.TIMEOUT:
        return observed.Exit(kind=Kind.TIMEOUT, code=code, signal=number)
    if detail.out_of_memory and detail.code != 0 and not stopped:
        return observed.Exit(kind=Kind.OUT_OF_MEMORY, code=code, signal=number, detail="the kernel ended it for memory")
    if number is not None:
        return observed.Exit(kind=Kind.SIGNALED, signal=number, detail=_why(record), stopped=stopped)
    return observed.Exit(kind=Kind.EXITED, code=code, detail=_why(record), stopped=stopped)


def _why(record: books.Record) -> str:
    """Return why it was ended, where that was its engine's doing."""
    if record.ending is not books.Ending.ENGINE:
        return ""
    told = "its container engine was told to end it"
    return f"{told}, and the checkpoint before that failed: {record.unsaved}" if record.unsaved else told
