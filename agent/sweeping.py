"""What a crash of this host left in the stores is removed when its agent starts, beside its work.

Only in the runs that its journal names: the next writer of a run sweeps too, and the reconciler all of a store, once a day.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable

from agent import journal, setup
from reconciler import errors
from reconciler.core import model

_log = logging.getLogger("perdure.agent")


def begin(about: setup.Setup, entries: Iterable[journal.Entry]) -> threading.Thread:
    """Sweep on a thread of its own: a store that does not answer keeps nobody waiting. Returns the thread."""
    runs: dict[model.StoreSpec, set[str]] = {}
    for entry in entries:
        if entry.spec.store is not None:
            runs.setdefault(entry.spec.store, set()).add(entry.spec.run)
    thread = threading.Thread(target=_sweep, args=(about, runs), name="sweeper", daemon=True)
    thread.start()
    return thread


def _sweep(about: setup.Setup, runs: dict[model.StoreSpec, set[str]]) -> None:
    for declared, names in runs.items():
        try:
            about.open_store(declared).sweep(about.clock.now(), sorted(names))
        except errors.PerdureError as error:
            _log.warning("what a crash may have left in store %s stays for now: %s", declared.name, error)
