"""The desired state to act on: the newest revision that can be applied, and what is to be said when that is not the newest.

A source that cannot be read, and a revision that is refused as a whole, leave the last good one in force. After a restart the
last good one is the revision that the ledger was written for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from reconciler import errors
from reconciler.contracts import source
from reconciler.core import model

Load = Callable[[source.Tree, source.Revision, model.Desired | None], model.Desired]
"""Reads one revision on top of the last good one; what is wrong with it stands in `Desired.problems` and `refused`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What to act on; `desired` is None where nothing good is known yet."""

    desired: model.Desired | None
    notice: str = ""
    """Why it is not the newest; empty: it is."""
    remark: str = ""
    """Something the source says once."""


class Desires:
    """Reads revisions; remembers the last good one, and the last that was not."""

    def __init__(self, read: source.Source, load: Load) -> None:
        self._source = read
        self._load = load
        self._good: model.Desired | None = None
        self._bad: tuple[str, str] = ("", "")

    def wish(self, applied: str) -> Wish:
        """Fetch, and return the desired state to act on. `applied` is the revision that the ledger was last written for."""
        fetched = self._source.fetch()
        if isinstance(fetched, source.Stale):
            newest, notice, remark = fetched.last, f"{fetched.reason}: {fetched.detail}", ""
        else:
            newest, notice, remark = fetched, "", fetched.notice
        if newest is not None and newest.id == self._bad[0]:
            notice = notice or self._bad[1]
        elif newest is not None and (self._good is None or self._good.revision != newest.id):
            problem = self._read(newest, applied)
            notice = notice or problem
        return Wish(desired=self._good, notice=notice, remark=remark)

    def _read(self, newest: source.Revision, applied: str) -> str:
        """Load a revision and make it the good one, unless it is refused: then return why."""
        try:
            loaded = self._load(self._source.tree(newest.id), newest, self._good)
            if loaded.problems and self._good is None and applied not in ("", newest.id):
                self._good = self._before(applied)
                loaded = self._load(self._source.tree(newest.id), newest, self._good)
        except errors.PerdureError as error:
            return str(error)
        if not loaded.refused:
            self._good, self._bad = loaded, ("", "")
            return ""
        self._bad = (newest.id, f"revision {newest.id[:12]} is refused: {loaded.refused}")
        return self._bad[1]

    def _before(self, applied: str) -> model.Desired | None:
        """Return the last good revision as the ledger names it; None where it cannot be read any more."""
        try:
            loaded = self._load(self._source.tree(applied), source.Revision(id=applied, ref=applied), None)
        except errors.PerdureError:
            return None
        return None if loaded.refused else loaded
