"""A snapshot from the state ref: everything in one exchange the first time, then only what differs from the one before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from reconciler import errors
from reconciler.contracts.ledger import Snapshot
from reconciler.core import codec, record
from reconciler.ledger import wire
from reconciler.seams.git import objects
from reconciler.seams.git.mirror import Mirror

T = TypeVar("T")

PLAIN_FILE = "100644"


def cold(mirror: Mirror, ref: str, head: str) -> Snapshot:
    """Return the snapshot at commit `head` of `ref`. Raises `errors.Damaged` naming ref and path."""
    top = {row.path for row in objects.rows(mirror.git("ls-tree", "-z", "--full-tree", head))}
    if top and not top & wire.TOP:
        raise _damaged(ref, sorted(top)[0], "this tree is not a ledger")
    rows = list(objects.rows(mirror.git("ls-tree", "-r", "-z", "--full-tree", head, "--", *wire.READ)))
    for row in rows:
        if row.mode != PLAIN_FILE:
            raise _damaged(ref, row.path, "it is no plain file")
    return _with(mirror, ref, Snapshot(head=head), {row.path: row.oid for row in rows})


def warm(mirror: Mirror, ref: str, previous: Snapshot, head: str) -> Snapshot:
    """Return the snapshot at `head`, sharing with `previous` what has not changed. Raises `errors.Damaged`."""
    printed = mirror.git("diff-tree", "-r", "-z", "--no-renames", "--raw", previous.head, head, "--", *wire.READ)
    fields = printed.decode(errors="surrogateescape").split("\0")
    changed: dict[str, str] = {}
    for about, path in zip(fields[0::2], fields[1::2], strict=False):
        _, mode, _, oid, status = about.removeprefix(":").split(" ")
        if status != "D" and mode != PLAIN_FILE:
            raise _damaged(ref, path, "it is no plain file")
        changed[path] = "" if status == "D" else oid
    snapshot = Snapshot(
        head=head,
        records=previous.records,
        joins=previous.joins,
        revoked=previous.revoked,
        observed=previous.observed,
        instance=previous.instance,
    )
    return _with(mirror, ref, snapshot, changed)


def _with(mirror: Mirror, ref: str, before: Snapshot, changed: Mapping[str, str]) -> Snapshot:
    """Return `before` with the files of `changed` (path → object id, empty: removed)."""
    contents = mirror.read(dict.fromkeys(oid for oid in changed.values() if oid))
    records, joins = dict(before.records), dict(before.joins)
    revoked, observed, instance = before.revoked, before.observed, before.instance
    for path, oid in changed.items():
        try:
            data = contents[oid] if oid else b""
            if run := wire.run_of(path):
                _put(records, run, wire.record_from(data, run) if oid else None)
            elif token := wire.join_of(path):
                _put(joins, token, codec.decode(data, record.Join) if oid else None)
            elif path == wire.REVOKED:
                revoked = codec.decode(data, tuple[str, ...]) if oid else ()
            elif path == wire.OBSERVED:
                observed = data
            elif path == wire.INSTANCE:
                instance = codec.decode(data, dict[str, str]) if oid else {}
            else:
                raise errors.Damaged("it does not belong into a ledger")
        except KeyError as error:
            raise _damaged(ref, path, "its content is missing") from error
        except errors.Damaged as error:
            raise _damaged(ref, path, error.message) from error
    return Snapshot(head=before.head, records=records, joins=joins, revoked=revoked, observed=observed, instance=instance)


def _put(values: dict[str, T], name: str, value: T | None) -> None:
    if value is None:
        values.pop(name, None)
    else:
        values[name] = value


def _damaged(ref: str, path: str, problem: str) -> errors.Damaged:
    return errors.Damaged(
        f"the ledger is damaged: {problem}",
        where=f"{ref}:{path}",
        remedy=f"Look at it with `git log -p {ref} -- {path}` in the repository and push the last whole commit to that ref.",
    )
