"""How `perdure` and `perdure-agent` begin, before anything that takes its time is imported. `ending` takes over from here."""

from __future__ import annotations

import signal


def quietly() -> None:
    """Let Ctrl-C end this process without a word until `ending.run` listens, and again once that is done.

    Python's own answer is a stack trace of the import that it came in. Where SIGINT is ignored it stays so.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
