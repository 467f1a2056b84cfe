"""Output that no store has outlives its attempt on its host, for a while and within bounds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import kept, logs, places
from agent.supervisor import output
from reconciler.core import codec, spec
from tests.agent.host import Host


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    one = Host(tmp_path)
    yield one
    one.close()


def here(data: Path) -> places.Places:
    found = places.Places(data=data, jobs=data / "jobs")
    for folder in (data / "attempts", found.kept):
        folder.mkdir(parents=True, exist_ok=True)
    return found


def written(data: Path, number: int, text: bytes, segment: int = 1000, keep: int = 3) -> places.Attempt:
    place = here(data).attempt(spec.AttemptRef(run="1" * 32, attempt=number))
    place.logs.mkdir(parents=True)
    output.Output(str(place.logs), segment, keep).append(text)
    return place


def everything(place: places.Attempt) -> bytes:
    found, offset = b"", 0
    while (piece := kept.read(place, offset, 7))[1]:
        offset = piece[0] + len(piece[1])
        found += piece[1]
    return found


def test_without_a_store_it_stays_when_the_attempt_goes(host: Host) -> None:
    with host.up():
        ref = host.assign(host.attempt("print('made it')", store=None))
        host.ended(ref)
        place = here(host.data).attempt(ref)
        assert everything(place) == b"made it\n"
        host.change(ref, want=spec.Want.REMOVE)
        host.gone(ref)
        assert not place.private.exists()
        assert everything(place) == b"made it\n"
    with host.up():
        assert everything(place) == b"made it\n"


def test_with_a_store_it_does_not(host: Host) -> None:
    with host.up():
        ref = host.assign(host.attempt("print('made it')"))
        host.ended(ref)
        host.change(ref, want=spec.Want.REMOVE)
        host.gone(ref)
        assert host.log(ref) == b"made it\n"
    assert list(here(host.data).kept.iterdir()) == []


def test_what_a_store_did_not_take_goes_on_where_the_store_ends(tmp_path: Path) -> None:
    place = written(tmp_path, 1, b"0123456789")
    place.shipped.write_bytes(codec.encode(logs.Shipped(local=4, stored=10)))
    assert kept.read(place, 10, 100) == (10, b"456789")
    kept.keep(place)
    assert kept.read(place, 12, 100) == (12, b"6789")
    assert kept.read(place, 16, 100) == (16, b"")


def test_the_oldest_may_be_gone_and_that_is_told_by_the_offset(tmp_path: Path) -> None:
    place = written(tmp_path, 1, bytes(range(48, 98)), segment=10, keep=2)
    assert kept.read(place, 0, 5) == (30, bytes(range(78, 83)))
    assert everything(place) == bytes(range(78, 98))


def test_keeping_again_after_a_crash_loses_nothing(tmp_path: Path) -> None:
    place = written(tmp_path, 1, b"once")
    kept.keep(place)
    kept.keep(place)
    assert everything(place) == b"once"


def test_silence_is_not_kept(tmp_path: Path) -> None:
    place = written(tmp_path, 1, b"")
    kept.keep(place)
    assert not place.kept.exists()


def test_the_old_go_then_the_oldest_beyond_the_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "BYTES", 250)
    for number in range(1, 6):
        place = written(tmp_path, number, b"x" * 100)
        kept.keep(place)
        for _, path in output.segments(str(place.kept)):
            os.utime(path, (number * 86400.0, number * 86400.0))
    folder = here(tmp_path).kept
    kept.trim(folder, 5 * 86400.0)
    assert sorted(each.name[-1] for each in folder.iterdir()) == ["4", "5"]
    kept.trim(folder, 4.5 * 86400.0 + kept.SECONDS)
    assert sorted(each.name[-1] for each in folder.iterdir()) == ["5"]
    kept.trim(folder, 6 * 86400.0 + kept.SECONDS)
    assert list(folder.iterdir()) == []
    kept.trim(tmp_path / "nowhere", 0.0)
