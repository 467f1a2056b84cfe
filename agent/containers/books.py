"""What the agent must not forget of a container: one file beside the attempt's journal, written before what it permits."""

from __future__ import annotations

import dataclasses
import enum
import threading
from collections.abc import Callable
from dataclasses import dataclass

from agent import places
from reconciler import errors
from reconciler.core import codec, spec
from reconciler.seams import durable

FILE = "container.json"


class Ending(enum.Enum):
    """Why a container is ended; the first reason stands."""

    NONE = ""
    STOP = "stop"
    """The reconciler, or a person through it, asks."""
    TIMEOUT = "timeout"
    ENGINE = "engine"
    """Its engine was told to end it: `docker stop`, its own shutdown, the removal of a service."""
    PAST_US = "past us"
    """It was to go on from a checkpoint, and its engine has begun it from its beginning: the interposer was not called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One attempt's container."""

    image: str = ""
    """Id of the image it is made from."""
    digest: str = ""
    """The image as its registry knows it; empty for one that was made on this host."""
    container: str = ""
    """The engine's id of it."""
    begun: bool = False
    """The engine was told to start it, or was granted its `create`: from here on it may have run."""
    granted: bool = False
    """A `create` was granted. It is granted once."""
    failed: str = ""
    """Why a granted `create` has led to no container."""
    bundle: str = ""
    """Where its engine keeps its bundle."""
    root: str = ""
    """Where its engine has the real runtime keep what it knows of containers; empty: not known, as of earlier versions."""
    volumes: tuple[str, ...] = ()
    """Names of the volumes that its engine has made for it alone."""
    stop_signal: str = ""
    """The image's own stop signal; empty: SIGTERM."""
    restore: str = ""
    """Folder with the checkpoint that it continues from, laid out as a whole."""
    layer: str = ""
    """Its writable layer on this host, once it was seen alive."""
    counted: int = 0
    """Bytes of its steps (`agent.containers.counting`) that came with its checkpoint."""
    ending: Ending = Ending.NONE
    unsaved: str = ""
    """Why there is no checkpoint from before its engine ended it, where one was wanted."""
    served: str = ""
    """Id of the checkpoint request after which it ends."""
    stored: str = ""
    """Id of the one of those whose checkpoint is in the store: what it does afterwards is not part of the run."""
    v: int = 1

    @property
    def exactly(self) -> str:
        """What names its image and no other: as its registry knows it, else by id."""
        return self.digest or self.image


class Books:
    """The records by attempt. May be used by many threads at once."""

    def __init__(self, where: places.Places) -> None:
        self._places = where
        self._lock = threading.RLock()
        self._records: dict[spec.AttemptRef, Record] = {}

    def get(self, ref: spec.AttemptRef) -> Record:
        """Return an attempt's record; an empty one before anything was written. Raises `errors.Damaged`."""
        with self._lock:
            if ref not in self._records:
                data = durable.read(self._places.attempt(ref).private / FILE)
                if data is None:
                    return Record()
                self._records[ref] = codec.decode(data, Record)
            return self._records[ref]

    def change(self, ref: spec.AttemptRef, change: Callable[[Record], Record]) -> Record:
        """Replace a record by what `change` makes of it; on return it is on the disk. Raises `errors.Unavailable`.

        Whatever `change` raises leaves the record as it was.
        """
        with self._lock:
            old = self.get(ref)
            new = change(old)
            if new != old:
                place = self._places.attempt(ref)
                if not place.private.is_dir():
                    raise errors.Unavailable("its journal is not there", where=str(ref))
                durable.write_atomic(place.private / FILE, codec.encode(new))
                self._records[ref] = new
            return new

    def set(self, ref: spec.AttemptRef, **values: object) -> Record:
        """Replace members of a record."""
        return self.change(ref, lambda old: dataclasses.replace(old, **values))  # type: ignore[arg-type]

    def end(self, ref: spec.AttemptRef, why: Ending) -> Record:
        """Write down why it is ended, unless a reason stands already."""
        return self.change(ref, lambda old: old if old.ending is not Ending.NONE else dataclasses.replace(old, ending=why))

    def forget(self, ref: spec.AttemptRef) -> None:
        """Let go of a record; its file goes with the attempt's journal."""
        with self._lock:
            self._records.pop(ref, None)
