"""What the agent must not forget: its host's state in one file, each attempt's in another, replaced whole and durably.

An attempt's file is written before anything is done for it and removed after everything is undone, so whatever a crash leaves
has its entry.
"""

from __future__ import annotations

import dataclasses
import enum
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field

from agent import places
from reconciler import errors
from reconciler.core import codec, observed, spec
from reconciler.seams import durable

MOST_CHECKPOINTS = 50
"""Newest checkpoints of an attempt that are reported; the store knows all of them."""
MOST_SERVED = 200
MOST_FORGOTTEN = 1000


class Stage(enum.Enum):
    """How far an attempt has come. It goes back only where its machine started anew before its program had begun."""

    ACCEPTED = "accepted"
    PREPARED = "prepared"
    """Its number is claimed, its folders are ready."""
    RESTORED = "restored"
    """Its checkpoint, if any, lies where the program will look for it."""
    STARTED = "started"
    """A supervisor was asked to start it. Whether it did, its own files say."""
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One attempt."""

    assignment: spec.Assignment
    stage: Stage = Stage.ACCEPTED
    boot: str = ""
    """In which boot of the machine it was laid out: a power cut may leave only the names of what was written before it."""
    started_at: float | None = None
    ended_at: float | None = None
    exit: observed.Exit | None = None
    checkpoints: tuple[observed.Taken, ...] = ()
    request: observed.RequestReport | None = None
    served: tuple[str, ...] = ()
    """Ids of requests that were taken or given up: none of them is begun again."""
    stopping: str = ""
    """Why we end it; empty: we do not."""
    conditions: Mapping[str, str] = field(default_factory=dict)
    """Sentences by subject."""
    v: int = 1

    @property
    def ref(self) -> spec.AttemptRef:
        """The attempt's name."""
        return self.assignment.spec.ref

    @property
    def spec(self) -> spec.AttemptSpec:
        """What it runs."""
        return self.assignment.spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What the host remembers besides its attempts."""

    agent: str
    """Names this data directory: whoever claims an attempt's number in the store says this."""
    session: int = 0
    accepted: int = 0
    """Generation of the newest assignments taken over."""
    notice: observed.Notice | None = None
    draining: bool = False
    forgotten: tuple[spec.AttemptRef, ...] = ()
    """The attempts removed last: a reconciler that was paused may still ask for one, and must not have it begun again."""
    v: int = 1


def forgetting(host: Host, ref: spec.AttemptRef) -> Host:
    """Return the host's state once it is about to forget an attempt."""
    return dataclasses.replace(host, forgotten=(*host.forgotten, ref)[-MOST_FORGOTTEN:])


class Journal:
    """The files. Only the agent's own loop uses it."""

    def __init__(self, where: places.Places) -> None:
        """Nothing is read before `open`."""
        self._places = where
        self.host = Host(agent="")
        self.entries: dict[spec.AttemptRef, Entry] = {}
        self.damaged: dict[spec.AttemptRef, str] = {}
        """Attempts whose entry cannot be read, with the reason. An assignment that names one again mends it."""
        self.lost = ""
        """What the host's own file said and cannot say any more, in a sentence; empty: nothing."""

    def open(self, now: float) -> None:
        """Read everything and begin a new session. Raises `errors.Unavailable`."""
        self._read_host(now)
        for folder in sorted((self._places.data / "attempts").iterdir()):
            self._read_entry(folder.name)

    def save_host(self, host: Host) -> None:
        """Replace the host's state. Raises `errors.Unavailable`: the old one stands."""
        if host != self.host:
            durable.write_atomic(self._places.host, codec.encode(host))
            self.host = host

    def save(self, entry: Entry) -> None:
        """Replace an attempt's entry. Raises `errors.Unavailable`: the old one stands."""
        if self.entries.get(entry.ref) == entry:
            return
        place = self._places.attempt(entry.ref)
        if not place.private.is_dir():
            place.private.mkdir(mode=0o700)
            durable.sync_directory(place.private.parent)
        durable.write_atomic(place.entry, codec.encode(entry))
        self.entries[entry.ref] = entry
        self.damaged.pop(entry.ref, None)

    def drop(self, ref: spec.AttemptRef) -> None:
        """Forget an attempt, but for its name: the folder first loses its entry, then the rest."""
        self.save_host(forgetting(self.host, ref))
        place = self._places.attempt(ref)
        durable.remove(place.entry)
        shutil.rmtree(place.private, ignore_errors=True)
        self.entries.pop(ref, None)

    def _read_host(self, now: float) -> None:
        data = durable.read(self._places.host)
        host = Host(agent=secrets.token_hex(8))
        if data is not None:
            # A new name claims nothing that the old one had claimed: at worst an attempt is refused, never run twice.
            try:
                host = codec.decode(data, Host)
            except errors.Damaged as error:
                self.lost = (
                    f"{self._places.host} could not be read and was begun anew ({error.message}): "
                    "if this host was being drained or was noticed to go away, say so again"
                )
        self.host = host
        # Seconds keep sessions growing also after the data directory was lost.
        session = max(host.session + 1, int(now))
        self.save_host(dataclasses.replace(host, session=session))

    def _read_entry(self, name: str) -> None:
        run, _, number = name.rpartition("-")
        if not run or not number.isdecimal():
            return
        ref = spec.AttemptRef(run=run, attempt=int(number))
        place = self._places.attempt(ref)
        try:
            data = durable.read(place.entry)
            if data is None and not place.supervisor.exists():
                shutil.rmtree(place.private, ignore_errors=True)  # its removal, or its making, was cut short
                return
            self.entries[ref] = codec.decode(data or b"", Entry)
        except (errors.Damaged, errors.Unavailable) as error:  # one that cannot be read keeps no other from being served
            self.damaged[ref] = f"{place.entry}: {error.message}"
