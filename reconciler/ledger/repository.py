"""The ledger and its notes in a Git repository. The push is the lock: it is accepted, or somebody else was first."""

from __future__ import annotations

import os
import shlex
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from reconciler import errors
from reconciler.contracts.clock import Clock
from reconciler.contracts.ledger import Change, Committed, Conflict, Snapshot
from reconciler.core import codec, record
from reconciler.ledger import notes, reading, wire
from reconciler.seams.git import address, faults, objects, stream
from reconciler.seams.git.mirror import Mirror, Update

ABANDONED = 30.0
"""Seconds after which a lock file on one of our refs was left by a killed process: git holds one for milliseconds."""


class RepositoryLedger:
    """`contracts.ledger.Ledger` over a mirror. Safe to use from several threads."""

    def __init__(self, mirror: Mirror, instance: str, clock: Clock) -> None:
        if problem := address.ref_problem(instance):
            raise errors.UsageError(f"this name of an instance {problem}", where=address.shown(instance)[:80])
        self._mirror = mirror
        self._instance = instance
        self._clock = clock
        self._state = wire.state_ref(instance)
        self._notes = wire.notes_ref(instance)
        self._incoming = f"refs/perdure/incoming/{instance}"
        self._lock = threading.RLock()
        self._snapshot: Snapshot | None = None
        self._noted = ""
        self._cached: dict[str, dict[str, bytes]] = {}

    def read(self) -> Snapshot:
        """Return the newest state on the server."""
        with self._lock:
            try:
                return self._mirror.healed(self._read)
            except faults.Failed as failure:
                raise failure.error() from failure
            except OSError as error:
                raise errors.Unavailable(
                    f"the ledger of {self._mirror.where} cannot be read: {error.strerror or error}",
                    where=str(error.filename or self._mirror.directory),
                    remedy="Check what lies there, who may use it, and free space; or name another folder with --data.",
                ) from error

    def append(self, snapshot: Snapshot, change: Change) -> Committed | Conflict:
        """Write `change` on top of `snapshot`: one fast-import, one push, all or nothing."""
        if change.empty():
            return Committed(snapshot=snapshot)
        with self._lock:
            try:
                current = self._snapshot or self._mirror.healed(self._read)
                if current.head != snapshot.head:
                    return Conflict(detail="the state has moved on since it was read", rival=self._author(current.head))
                with self._mirror.exclusively():
                    return Committed(snapshot=self._write(snapshot, change))
            except faults.Failed as failure:
                self._cached = {}
                return Conflict(detail=failure.detail, rival=self._rival(failure))
            except (errors.Unavailable, errors.Busy, OSError) as error:
                return Conflict(detail=f"nothing was written: {error}")

    def notes(self, revision: str) -> tuple[record.Line, ...]:
        """Return our lines on a revision, oldest first, moved ones included."""
        with self._lock:
            snapshot = self._snapshot or self.read()
            try:
                note = b"".join(self._note(revision).values())
                moved = self._moved(snapshot.head, revision) if notes.has_moved(note) else b""
            except faults.Failed as failure:
                raise failure.error() from failure
            return notes.parse(moved + note)

    def noted(self) -> tuple[str, ...]:
        """Return the revisions that have a note, in no order. All notes are read at once: asking for each is cheap then."""
        with self._lock:
            self.read()
            try:
                every = self._every_note()
            except faults.Failed as failure:
                raise failure.error() from failure
            self._cached |= every
            return tuple(every)

    def _read(self) -> Snapshot:
        """Read. What looks rewound is asked for once more: another process may have pushed since the question."""
        try:
            return self._read_once()
        except errors.Damaged:
            return self._read_once()

    def _read_once(self) -> Snapshot:
        server = self._mirror.listing(self._state, self._notes).refs
        head, noted = server.get(self._state, ""), server.get(self._notes, "")
        if self._snapshot is None or (head, noted) != (self._snapshot.head, self._noted):
            known = head
            if self._mirror.access is not None:
                head, noted, known = self._fetched(head, noted)
            found = self._decoded(head)
            if head != known:
                # Not before it could be read: what is damaged is mended by pushing the last whole commit, which rewinds to it.
                self._mirror.remember(self._state, head)
            self._keep(found, noted)
        return self._snapshot or Snapshot()

    def _fetched(self, head: str, noted: str) -> tuple[str, str, str]:
        """Bring what differs here and return the heads, which may be newer than those asked for, and the state known before."""
        here = self._mirror.refs(self._state, self._notes)
        known = here.get(self._state, "")
        if known and not head:
            raise self._vanished(known)
        refspecs = [f"+{self._state}:{self._incoming}"] if head != known else []
        refspecs += [f"+{self._notes}:{self._notes}"] if noted not in ("", here.get(self._notes)) else []
        if not refspecs:
            return head, noted, known
        self._mirror.fetch(refspecs, shallow=not known, partial=False)
        here = self._mirror.refs(self._incoming, self._notes)
        if head != known:
            # Outside refs/heads git takes whatever the server has, so what must contain the old state is looked at first.
            head = here[self._incoming]
            if known and not self._continues(known, head):
                raise self._vanished(known)
        return head, here.get(self._notes, "") if noted else "", known

    def _continues(self, known: str, head: str) -> bool:
        try:
            return self._mirror.is_ancestor(known, head)
        except faults.Failed:
            if self._mirror.kinds([head]).get(head) == "commit":
                raise
            return False  # somebody has pushed something else there

    def _decoded(self, head: str) -> Snapshot:
        before = self._snapshot
        if not head:
            return Snapshot()
        if before is not None and before.head == head:
            return before
        if before is not None and before.head:
            with suppress(faults.Failed):  # a mirror that was made again does not have the commit of before
                return reading.warm(self._mirror, self._state, before, head)
        return reading.cold(self._mirror, self._state, head)

    def _keep(self, snapshot: Snapshot, noted: str) -> None:
        if noted != self._noted:
            self._cached = {}
        self._snapshot, self._noted = snapshot, noted

    def _write(self, snapshot: Snapshot, change: Change) -> Snapshot:
        files = self._files(snapshot, change)
        noted: dict[str, stream.Blob | stream.Link | None] = {}
        cached = dict(self._cached)
        for revision, lines in change.notes.items():
            before = self._note(revision)
            added = [wire.encode_line(line) for line in lines]
            composed = notes.compose(b"".join(before.values()), added, revision, self._instance)
            ours, *_ = wire.note_paths(revision)
            noted |= {path: None for path in before if path != ours} | {ours: stream.Blob(data=composed.note)}
            cached[revision] = {ours: composed.note}
            if composed.moved:
                moved = self._moved(snapshot.head, revision) + composed.moved
                files[wire.moved_path(revision)] = stream.Blob(data=moved)
        wanted = [(self._state, snapshot.head, change.message, files), (self._notes, self._noted, "Notes of perdure", noted)]
        wanted = [one for one in wanted if one[3]]
        commits = self._mirror.build(self._commit(*one) for one in wanted)
        heads = {ref: commit for (ref, *_), commit in zip(wanted, commits, strict=True)}
        self._mirror.publish([Update(ref=ref, old=old, new=heads[ref]) for ref, old, *_ in wanted])
        self._cached = cached
        self._noted = heads.get(self._notes, self._noted)
        self._snapshot = _applied(replace(snapshot, head=heads.get(self._state, snapshot.head)), change)
        return self._snapshot

    def _commit(
        self, ref: str, parent: str, message: str, files: Mapping[str, stream.Blob | stream.Link | None]
    ) -> stream.Commit:
        return stream.Commit(
            scratch=f"ledger/{'state' if ref == self._state else 'notes'}",
            parent=parent,
            name=f"perdure/{self._instance}",
            mail=_process(),
            at=int(self._clock.now()),
            message=message,
            files=files,
        )

    def _files(self, snapshot: Snapshot, change: Change) -> dict[str, stream.Blob | stream.Link | None]:
        files: dict[str, stream.Blob | stream.Link | None] = {}
        for one in change.records:
            files[wire.run_path(one.run)] = stream.Blob(data=codec.encode(one))
        for join in change.joins:
            files[wire.join_path(join.token)] = stream.Blob(data=codec.encode(join))
        if change.revoked is not None:
            files[wire.REVOKED] = stream.Blob(data=codec.encode(change.revoked))
        if change.observed is not None:
            files[wire.OBSERVED] = stream.Blob(data=change.observed)
        if change.instance is not None:
            files[wire.INSTANCE] = stream.Blob(data=codec.encode(change.instance))
        return files | self._links(snapshot, change)

    def _links(self, snapshot: Snapshot, change: Change) -> dict[str, stream.Link | None]:
        """Link the code of runs that are unfinished from now on, and drop that of runs that no longer are."""
        before = {one.run: _linked(snapshot.records.get(one.run)) for one in change.records}
        after = {one.run: _linked(one) for one in change.records}
        different = [run for run in after if after[run] != before[run]]
        wanted = sorted({after[run] for run in different if after[run]})
        modes = {oid: MODES[kind] for oid, kind in self._mirror.kinds(wanted).items() if kind in MODES}
        if missing := [oid for oid in wanted if oid not in modes]:
            raise errors.Unavailable("the code of a run is not here", where=missing[0], remedy="Fetch the repository again.")
        return {
            wire.code_path(run): stream.Link(oid=after[run], mode=modes[after[run]]) if after[run] else None
            for run in different
        }

    def _note(self, revision: str) -> dict[str, bytes]:
        """Return what is noted on a revision, by path: one path, unless two kinds of writers met."""
        if not address.is_object_id(revision):
            raise errors.InvalidInput("this is not a revision", where=revision[:80])
        if not self._noted:
            return {}
        if revision not in self._cached:
            listing = self._mirror.git("ls-tree", "-z", "--full-tree", self._noted, "--", *wire.note_paths(revision))
            rows = [row for row in objects.rows(listing) if row.kind == "blob"]
            contents = self._mirror.read([row.oid for row in rows])
            self._cached[revision] = {row.path: _ended(contents[row.oid]) for row in rows}
        return self._cached[revision]

    def _every_note(self) -> dict[str, dict[str, bytes]]:
        if not self._noted:
            return {}
        rows = objects.rows(self._mirror.git("ls-tree", "-r", "-z", "--full-tree", self._noted))
        blobs = [(row.path.replace("/", ""), row) for row in rows if row.kind == "blob"]
        contents = self._mirror.read(dict.fromkeys(row.oid for _, row in blobs))
        found: dict[str, dict[str, bytes]] = {}
        for revision, row in blobs:
            if address.is_object_id(revision) and row.oid in contents:
                found.setdefault(revision, {})[row.path] = _ended(contents[row.oid])
        return found

    def _moved(self, head: str, revision: str) -> bytes:
        return b"".join(self._mirror.read([f"{head}:{wire.moved_path(revision)}"]).values()) if head else b""

    def _rival(self, failure: faults.Failed) -> str:
        """Return who was first, by asking the server; a lock that a killed process left there is removed."""
        if failure.kind is not faults.Kind.REJECTED:
            return ""
        self._break_abandoned()
        with suppress(faults.Failed, errors.PerdureError):
            before = self._snapshot.head if self._snapshot else ""
            after = self._mirror.healed(self._read).head
            return self._author(after) if after != before else ""
        return ""

    def _author(self, head: str) -> str:
        if not head:
            return ""
        with suppress(faults.Failed):
            said = self._mirror.git("log", "-1", "--format=%cn %ce", head, "--").decode(errors="replace").strip()
            return said if not said.endswith(f" {_process()}") else ""
        return ""

    def _break_abandoned(self) -> None:
        place = self._mirror.access.address.path if self._mirror.access else None
        if place is None:
            return
        for ref in (self._state, self._notes):
            lock = address.git_directory(place) / f"{ref}.lock"
            with suppress(OSError):
                if time.time() - lock.stat().st_mtime > ABANDONED:
                    lock.unlink()

    def _vanished(self, known: str) -> errors.Damaged:
        push = ["git", f"--git-dir={self._mirror.directory}", "push", str(self._mirror.where), f"+{known}:{self._state}"]
        return errors.Damaged(
            "the ledger was removed or rewound on the server: it no longer contains what was written last",
            where=f"{self._mirror.where} {self._state}",
            remedy=f"Put it back: {shlex.join(push)}",
        )


MODES = {"tree": "040000", "blob": "100644"}


def _linked(one: record.Record | None) -> str:
    """Return the object id that the ledger links for a record; empty: none."""
    return one.code if one is not None and one.phase not in record.TERMINAL else ""


def _applied(snapshot: Snapshot, change: Change) -> Snapshot:
    return Snapshot(
        head=snapshot.head,
        records={**snapshot.records, **{one.run: one for one in change.records}} if change.records else snapshot.records,
        joins={**snapshot.joins, **{one.token: one for one in change.joins}} if change.joins else snapshot.joins,
        revoked=snapshot.revoked if change.revoked is None else change.revoked,
        observed=snapshot.observed if change.observed is None else change.observed,
        instance=snapshot.instance if change.instance is None else dict(change.instance),
    )


def _process() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def _ended(note: bytes) -> bytes:
    return note if note.endswith(b"\n") or not note else note + b"\n"
