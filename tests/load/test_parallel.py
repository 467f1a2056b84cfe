"""Several processes parse what one would."""

from __future__ import annotations

import os
import pickle
import signal
import sys

import pytest

from reconciler.contracts.source import Entry
from reconciler.load import documents, parallel
from reconciler.load.documents import File
from tests.load import fixtures

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere one process parses")

CONTENTS = {str(n): (fixtures.job(f"j{n}") if n % 3 else "apiVersion: perdure.dev/v1\n").encode() for n in range(50)}
ENTRIES = [Entry(path=f"{oid}.yaml", mode="100644", oid=oid) for oid in CONTENTS]
EXPECTED = [documents.parse(entry.path, entry.oid, CONTENTS[entry.oid]) for entry in ENTRIES]


@pytest.mark.parametrize("count", [1, 2, 3, 50])
def test_the_answer_does_not_depend_on_the_number_of_processes(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "_processes", lambda _files: count)
    assert parallel.parse(ENTRIES, CONTENTS) == EXPECTED


@pytest.mark.parametrize("end", ["killed", "half", "nothing"])
def test_what_a_child_does_not_bring_back_is_parsed_here(end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    here = os.getpid()
    parse = documents.parse

    def dying(path: str, oid: str, data: bytes | None) -> File:
        if os.getpid() != here and oid == "40":
            if end == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise SystemExit(0)
        return parse(path, oid, data)

    def dump(value: object, pipe: object, protocol: int) -> None:
        pipe.write(pickle.dumps(value, protocol)[:100])  # type: ignore[attr-defined]

    monkeypatch.setattr(parallel, "_processes", lambda _files: 2)
    if end == "half":
        monkeypatch.setattr(pickle, "dump", dump)
    else:
        monkeypatch.setattr(documents, "parse", dying)
    assert parallel.parse(ENTRIES, CONTENTS) == EXPECTED


@pytest.mark.parametrize("started", [0, 1])
def test_where_no_further_process_is_to_be_had_the_rest_is_parsed_here(started: int, monkeypatch: pytest.MonkeyPatch) -> None:
    forks: list[int] = []
    fork = os.fork

    def limited() -> int:
        forks.append(len(forks))
        if len(forks) > started:
            raise BlockingIOError("no more processes")
        return fork()

    monkeypatch.setattr(parallel, "_processes", lambda _files: 3)
    monkeypatch.setattr(os, "fork", limited)
    open_before = len(os.listdir("/proc/self/fd"))
    assert parallel.parse(ENTRIES, CONTENTS) == EXPECTED
    assert len(os.listdir("/proc/self/fd")) == open_before


def test_an_interruption_leaves_no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_given: object) -> list[File]:
        raise KeyboardInterrupt

    monkeypatch.setattr(parallel, "_processes", lambda _files: 2)
    monkeypatch.setattr(parallel, "_parse", interrupted)
    with pytest.raises(KeyboardInterrupt):
        parallel.parse(ENTRIES, CONTENTS)


def test_few_files_are_parsed_by_one_process() -> None:
    assert parallel._processes(parallel.FEWEST - 1) == 1
    assert parallel.parse([], {}) == []
