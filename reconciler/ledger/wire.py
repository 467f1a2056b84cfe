"""How the ledger is written: paths in the state ref's tree, and lines of notes. Pure.

runs/ab/<run>.json       one record a run
joins/<sha256>.json      one join token
revoked.json             hosts whose certificates are refused
observed.json            the published observation
instance.json            state of the instance itself
code/ab/<run>            the Git tree (or blob) of an unfinished run's code: linked, so that no force-push can take it away
notes/<revision>.jsonl   lines that a note had no more room for
"""

from __future__ import annotations

import json
import re

import msgspec

from reconciler import errors
from reconciler.core import codec, record

REVOKED = "revoked.json"
OBSERVED = "observed.json"
INSTANCE = "instance.json"
READ = ("runs", "joins", REVOKED, OBSERVED, INSTANCE)
"""What a snapshot is made of."""

TOP = frozenset({*READ, "code", "notes"})
"""Names at the root of the tree. A tree that has none of them is not ours."""

VERSION = 1
"""Highest version of a record that this release understands."""

_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{1,199}")
_RUN_FILE = re.compile(r"runs/(?P<fan>[^/]{2})/(?P<run>(?P=fan)[^/]*)\.json")
_JOIN_FILE = re.compile(r"joins/(?P<token>[^/]+)\.json")


def state_ref(instance: str) -> str:
    """Return the ref that holds the ledger."""
    return f"refs/perdure/state/{instance}"


def notes_ref(instance: str) -> str:
    """Return the ref that holds the notes."""
    return f"refs/notes/perdure/{instance}"


def run_path(run: str) -> str:
    """Return the path of a run's record. Raises `errors.InvalidInput` when `run` cannot be a file's name."""
    return f"runs/{_named(run)[:2]}/{run}.json"


def code_path(run: str) -> str:
    """Return the path at which a run's code is linked."""
    return f"code/{_named(run)[:2]}/{run}"


def join_path(token: str) -> str:
    """Return the path of a join token."""
    return f"joins/{_named(token)}.json"


def moved_path(revision: str) -> str:
    """Return the path of the lines that a revision's note had no more room for."""
    return f"notes/{_named(revision)}.jsonl"


def note_paths(revision: str) -> tuple[str, ...]:
    """Return the paths a note can have in the notes' tree, ours first: git-notes fans out by how many notes there are."""
    rest = revision[2:]
    return (f"{revision[:2]}/{rest}", revision, f"{revision[:2]}/{rest[:2]}/{rest[2:]}")


def run_of(path: str) -> str:
    """Return the run whose record has this path; empty: none has."""
    match = _RUN_FILE.fullmatch(path)
    return match["run"] if match else ""


def join_of(path: str) -> str:
    """Return the token whose entry has this path; empty: none has."""
    match = _JOIN_FILE.fullmatch(path)
    return match["token"] if match else ""


def record_from(data: bytes, run: str) -> record.Record:
    """Return the record of `run`. Raises `errors.Damaged` when it is not whole, not that run's, or of a newer version."""
    found = codec.decode(data, record.Record)
    if found.run != run:
        raise errors.Damaged(f"it is the record of another run ({found.run[:80]})")
    if found.v > VERSION:
        raise errors.Damaged(f"it was written by a newer release (version {found.v}, this one knows {VERSION})")
    return found


def encode_line(line: record.Line) -> bytes:
    """Return one line of a note: JSON, the sentence first, then the version; members that say nothing are left out."""
    plain = codec.plain(line)
    members = {"say": line.say, "v": line.v, "what": line.what, "at": line.at}
    for name in ("instance", "tenant", "job", "replica", "run", "attempt", "revision", "data"):
        if plain[name] or (name == "replica" and line.run):
            members[name] = plain[name]
    return json.dumps(members, ensure_ascii=False, separators=(", ", ": ")).encode(errors="replace")


def decode_line(raw: bytes) -> record.Line | None:
    """Return the line, or None for one that somebody else has written."""
    try:
        return msgspec.json.decode(raw, type=record.Line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _named(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise errors.InvalidInput("this cannot be the name of a file in the ledger", where=name[:80])
    return name
