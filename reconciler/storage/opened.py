"""Stores by their manifest, each opened once for as long as the folder of keys stays as it is."""

from __future__ import annotations

import threading
from pathlib import Path

from reconciler.contracts import store
from reconciler.core import model
from reconciler.storage import keys
from reconciler.storage.path import PathStore


class Opened:
    """Opens stores. A key that was added, taken away or replaced counts from the next call on; nothing is started anew for it.

    May be called by several threads at once.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self._lock = threading.Lock()
        self._marks: keys.Marks = ()
        self._stores: dict[model.StoreSpec, store.Store] = {}

    def __call__(self, declared: model.StoreSpec) -> store.Store:
        """Return the store that a manifest declares. Raises as `keys.read_keys`."""
        with self._lock:
            marks = keys.marks(self._folder)
            if marks != self._marks:
                self._stores.clear()
            if declared not in self._stores:
                self._stores[declared] = PathStore(declared, keys.read_keys(self._folder))
            self._marks = marks  # taken before the keys were read: what moves later is seen by the next call
            return self._stores[declared]
